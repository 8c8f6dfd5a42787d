//! The journal's clock: how long ago something was, across processes, whatever is done to the wall clock meanwhile.
//!
//! It counts from the machine's start, also while the machine sleeps. Only over a restart of the machine the wall
//! clock has to tell how long that took.

use rustix::time::{ClockId, clock_gettime};
use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

/// What the clock shows, in milliseconds.
pub(super) fn now() -> i64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}

/// Milliseconds since 1970.
pub(super) fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Between two times of the same clock; nothing, when they are the wrong way round.
pub(super) fn between(earlier: i64, later: i64) -> Duration {
    Duration::from_millis(u64::try_from(later.saturating_sub(earlier)).unwrap_or(0))
}

/// Which start of the machine this is (random(4)); empty: it cannot be known.
static BOOT: LazyLock<String> = LazyLock::new(|| {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.trim().to_owned()
});

/// Reads what [`Moment::now`] needs, while it may be read.
pub(in super::super) fn learn_this_boot() {
    LazyLock::force(&BOOT);
}

/// A moment that the next process finds on its own clock again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    /// Of which start of the machine the clock is; empty: it cannot be known.
    pub(super) boot: String,
    pub(super) clock: i64,
    pub(super) wall: i64,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { boot: BOOT.clone(), clock: now(), wall: wall_clock() }
    }

    /// What the clock of this moment shows at a later one.
    pub(super) fn clock_at(&self, later: &Self) -> i64 {
        if self.boot == later.boot && !self.boot.is_empty() {
            later.clock
        } else {
            self.clock.saturating_add(later.wall.saturating_sub(self.wall).max(0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_counts_only_over_a_restart_of_the_machine() {
        let moment = |boot: &str, clock, wall| Moment { boot: boot.into(), clock, wall };
        let then = moment("a", 5000, 1_000_000);
        for (later, expect) in [
            (moment("a", 6000, 1_001_000), 6000),
            (moment("a", 6000, 9_000_000), 6000), // put forward
            (moment("a", 6000, 0), 6000),         // put back
            (moment("b", 10, 1_030_000), 35_000),
            (moment("b", 10, 0), 5000), // nobody knows: no time at all
        ] {
            assert_eq!(then.clock_at(&later), expect, "{later:?}");
        }
        assert_eq!(
            moment("", 5000, 1000).clock_at(&moment("", 10, 2000)),
            6000,
            "not known to be the same start"
        );
        assert_eq!(between(1000, 3000), Duration::from_secs(2));
        assert_eq!(between(3000, 1000), Duration::ZERO);
    }

    #[test]
    fn it_goes_on() {
        let before = now();
        assert!(before > 0 && now() >= before);
        assert!(!Moment::now().boot.is_empty());
    }
}
