//! Restarts by the clock. The home of croner and chrono.

use chrono::{DateTime, Local};
use croner::{Cron, parser::CronParser};
use std::time::{Duration, Instant};

/// The clock is looked at as often as this at least: it may be set, by hand or in spring.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// A schedule, and its next time.
pub(super) struct Schedule {
    text: String,
    cron: Cron,
    next: Option<DateTime<Local>>,
    /// When to look at the clock again.
    look: Instant,
}

impl Schedule {
    /// From a text that the configuration has checked.
    pub(super) fn new(text: &str) -> Option<Self> {
        let cron = CronParser::new().parse(text).ok()?;
        let mut schedule = Self { text: text.to_owned(), cron, next: None, look: Instant::now() };
        schedule.plan(Local::now());
        Some(schedule)
    }

    /// Its text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether its time has come, once each time.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Local::now();
        let due = self.next.is_some_and(|next| next <= now);
        self.plan(now);
        due
    }

    fn plan(&mut self, now: DateTime<Local>) {
        self.next = self.cron.find_next_occurrence(&now, false).ok();
        let left = self.next.and_then(|next| (next - now).to_std().ok());
        self.look = Instant::now() + left.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY));
    }

    /// How long it is until its time comes.
    pub(super) fn left(&self) -> Option<Duration> {
        (self.next? - Local::now()).to_std().ok()
    }

    /// When to look again.
    pub(super) fn wake_at(&self) -> Instant {
        self.look
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_time_comes_once() {
        let mut schedule = Schedule::new("0 4 * * *").unwrap();
        assert!(!schedule.is_due());
        schedule.next = Some(Local::now());
        assert!(schedule.is_due() && !schedule.is_due());
        assert!(schedule.left().is_some_and(|left| left <= Duration::from_secs(25 * 3600)));
        assert!(schedule.wake_at() <= Instant::now() + LOOK_EVERY);
    }
}
