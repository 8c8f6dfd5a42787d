//! How long to wait before a child is started again. Pure: the random number is an argument.
//!
//! After a stable life (ready for `min_uptime`) the first restart is at once. For the n-th unstable life in a row:
//!
//! ```text
//! delay(1) = 0
//! delay(n) = min(14 s, exp_backoff_restart_delay * 2^(n-2)) * (0.9 .. 1.0 by chance)
//! delay(n) = 14 s * (0.9 .. 1.0)      once n exceeds max_restarts: crash-looping
//! ```
//!
//! With the defaults that is at most 12 starts in the first minute of a crash loop, and a mended cause is noticed
//! within 15 s. `restart_delay` replaces all of it. It never gives up.

use std::time::Duration;

/// The longest delay.
pub(super) const LONGEST: Duration = Duration::from_secs(14);

/// What the configuration says about restarts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// First delay of the backoff.
    pub(super) initial: Duration,
    /// Replaces the backoff.
    pub(super) fixed: Option<Duration>,
    /// Unstable lives in a row that are still no crash loop.
    pub(super) max_restarts: u32,
}

impl Policy {
    /// The delay after the `unstable`-th unstable life in a row (0: the life was stable); `chance` is in `0.0..1.0`.
    pub(super) fn delay(&self, unstable: u32, chance: f64) -> Duration {
        if let Some(fixed) = self.fixed {
            return fixed;
        }
        let Some(doublings) = unstable.checked_sub(2) else { return Duration::ZERO };
        let factor = 2u32.checked_pow(doublings).unwrap_or(u32::MAX);
        let delay =
            if self.loops(unstable) { LONGEST } else { self.initial.saturating_mul(factor).min(LONGEST) };
        delay.mul_f64(1.0 - 0.1 * chance.clamp(0.0, 1.0))
    }

    /// Whether so many unstable lives in a row are a crash loop.
    pub(super) fn loops(&self, unstable: u32) -> bool {
        unstable > self.max_restarts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEFAULT: Policy = Policy { initial: Duration::from_millis(100), fixed: None, max_restarts: 16 };

    #[test]
    fn the_first_is_at_once_and_the_rest_double() {
        let ms = |n| DEFAULT.delay(n, 0.0).as_millis();
        assert_eq!(
            [0, 1, 2, 3, 4, 9, 10, 16, 17, u32::MAX].map(ms),
            [0, 0, 100, 200, 400, 12_800, 14_000, 14_000, 14_000, 14_000]
        );
        let fixed = Policy { fixed: Some(Duration::from_secs(3)), ..DEFAULT };
        assert_eq!([0, 1, 20].map(|n| fixed.delay(n, 1.0).as_secs()), [3, 3, 3]);
    }

    proptest! {
        #[test]
        fn a_crash_loop_starts_at_most_12_times_in_its_first_minute(chances in prop::collection::vec(0.0f64..=1.0, 20)) {
            let (mut now, mut starts) = (Duration::ZERO, 1);
            for (n, chance) in (1..).zip(chances) {
                let delay = DEFAULT.delay(n, chance);
                prop_assert!(delay < Duration::from_secs(15));
                now += delay;
                starts += u32::from(now < Duration::from_secs(60));
            }
            prop_assert!(starts <= 12, "{starts} starts");
        }
    }
}
