//! What the supervisor says of itself to who started it: systemd, or another chatctl that waits (sd_notify(3)). Without
//! `NOTIFY_SOCKET` all of it goes nowhere.

use super::{machine::State, unit::Unit};
use sd_notify::{NotifyState, notify};
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// See the module.
#[derive(Default)]
pub(super) struct Upward {
    ready: bool,
    reloading: bool,
    status: String,
}

impl Upward {
    /// Whether everything was ready once.
    pub(super) fn was_ready(&self) -> bool {
        self.ready
    }

    /// `READY=1`: every app is ready, or what was being reloaded is decided.
    pub(super) fn ready(&mut self) {
        self.ready = true;
        self.reloading = false;
        tell(&[NotifyState::Ready]);
    }

    /// `RELOADING=1`, with the time: systemd waits for the `READY=1` after it.
    pub(super) fn reloading(&mut self) {
        if let Ok(now) = NotifyState::monotonic_usec_now()
            && self.ready
        {
            self.reloading = true;
            tell(&[NotifyState::Reloading, now]);
        }
    }

    /// `STOPPING=1`.
    pub(super) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// Follows the apps: `STATUS=` when it changes, and whether a reload is under way.
    pub(super) fn follow(&mut self, units: &[Unit], stopping: bool) {
        let status = summary(units.iter().map(|unit| (unit.name(), unit.machine.word())));
        if status != self.status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
        let reloading = units.iter().any(|unit| unit.is(State::Reloading));
        match (self.reloading, reloading && !stopping) {
            (false, true) => self.reloading(),
            (true, false) if !stopping => self.ready(),
            _ => {}
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // Who wanted to know may be gone.
    let _ = notify(states);
}

/// One line: `2 apps online`, or what is not.
fn summary<'a>(apps: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let (online, other): (Vec<_>, Vec<_>) = apps.partition(|(_, state)| *state == "online");
    let count = online.len();
    let mut text = format!("{count} app{} online", if count == 1 { "" } else { "s" });
    for (name, state) in other {
        text.push_str(&format!(", {name} {state}"));
    }
    text
}

/// What systemd waits for, when it watches.
pub(super) struct Watchdog(Option<Interval>);

impl Watchdog {
    /// As `WATCHDOG_USEC` asks: twice in that time (sd_watchdog_enabled(3)).
    pub(super) fn new() -> Self {
        let every = sd_notify::watchdog_enabled().filter(|time| *time > Duration::from_millis(1));
        Self(every.map(|time| {
            let mut interval = interval(time / 2);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        }))
    }

    /// Waits until it is time again; for ever when nobody watches.
    pub(super) async fn due(&mut self) {
        match &mut self.0 {
            Some(interval) => drop(interval.tick().await),
            None => std::future::pending().await,
        }
    }
}

/// `WATCHDOG=1`. To be called by the loop that is watched, and by nothing else: what hangs must not be heard.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn people_read_what_is_not_well() {
        assert_eq!(summary([("a", "online")].into_iter()), "1 app online");
        let apps = [("a", "online"), ("b", "crash-looping"), ("c", "online"), ("d", "stopped")];
        assert_eq!(summary(apps.into_iter()), "2 apps online, b crash-looping, d stopped");
    }
}
