//! Waiting for quiet: many changes in a row are one. Pure: time is an argument.

use std::time::{Duration, Instant};

/// What is never quiet is taken as it is after so many times the quiet it was to have.
const RESTLESS: u32 = 10;

/// The first of some changes, and when all of them have been quiet for long enough.
#[derive(Debug, Default)]
pub(super) struct Quiet(Option<Change>);

#[derive(Debug)]
struct Change {
    what: String,
    first: Instant,
    due: Instant,
}

impl Quiet {
    /// Something changed; it is to be quiet for `delay`.
    pub(super) fn disturb(&mut self, what: String, delay: Duration, now: Instant) {
        let change = self.0.get_or_insert(Change { what, first: now, due: now });
        change.due = (now + delay).min(change.first + delay * RESTLESS);
    }

    /// What changed first, once it is quiet.
    pub(super) fn take(&mut self, now: Instant) -> Option<String> {
        self.0.take_if(|change| change.due <= now).map(|change| change.what)
    }

    /// When to look again.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.0.as_ref().map(|change| change.due)
    }

    /// Whatever changed has been seen to.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(500);

    #[test]
    fn many_changes_are_one_named_after_the_first() {
        let (mut quiet, begun) = (Quiet::default(), Instant::now());
        let at = |ms| begun + Duration::from_millis(ms);
        for n in 0..20 {
            quiet.disturb(format!("file{n}"), DELAY, at(n * 50));
            assert_eq!(quiet.take(at(n * 50 + 49)), None);
        }
        assert_eq!(quiet.take(at(19 * 50 + 499)), None);
        assert_eq!(quiet.take(at(19 * 50 + 500)).as_deref(), Some("file0"));
        assert_eq!((quiet.take(at(60_000)), quiet.wake_at()), (None, None));
    }

    #[test]
    fn what_is_never_quiet_is_taken_all_the_same() {
        let (mut quiet, begun) = (Quiet::default(), Instant::now());
        let taken = (0..60).filter(|n| {
            let now = begun + Duration::from_millis(n * 100);
            quiet.disturb("busy".into(), DELAY, now);
            quiet.take(now).is_some()
        });
        assert_eq!(taken.count(), 1);
    }
}
