//! How fast is too fast: a token bucket.
//!
//! Kept as the moment at which it would be full again (the generic cell rate algorithm, ITU-T I.371, "virtual
//! scheduling"): one time, no refilling.

use std::time::{Duration, Instant};

/// So many a second for ever, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// 0: as many as anybody wants.
    pub(crate) per_second: u32,
    /// At least 1 counts.
    pub(crate) burst: u32,
}

impl Rate {
    /// More of both.
    pub(crate) fn times(self, factor: u32) -> Self {
        Self { per_second: self.per_second.saturating_mul(factor), burst: self.burst.saturating_mul(factor) }
    }

    /// What one costs.
    fn each(self) -> Duration {
        Duration::from_secs(1) / self.per_second.max(1)
    }

    /// What a full bucket holds.
    fn whole(self) -> Duration {
        self.each() * self.burst.max(1)
    }
}

/// What one sender, or one room, has left. Begins full. The more is missing, the greater it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bucket {
    /// When it is full again; `None`: it always was.
    full: Option<Instant>,
}

impl Bucket {
    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let taken = self.missing(now) + rate.each();
        let there = rate.per_second == 0 || taken <= rate.whole();
        if there && rate.per_second > 0 {
            self.full = Some(now + taken);
        }
        there
    }

    /// Takes `count` in any case; what is not there is owed, up to `most`. Gives how long it takes until nothing is.
    pub(crate) fn charge(&mut self, rate: Rate, count: u32, most: Duration, now: Instant) -> Duration {
        if rate.per_second == 0 {
            return Duration::ZERO;
        }
        let taken = (self.missing(now) + rate.each() * count).min(rate.whole() + most);
        self.full = Some(now + taken);
        taken.saturating_sub(rate.whole())
    }

    /// How long until nothing is owed.
    pub(crate) fn owed(&self, rate: Rate, now: Instant) -> Duration {
        if rate.per_second == 0 { Duration::ZERO } else { self.missing(now).saturating_sub(rate.whole()) }
    }

    /// How long until there is one to take.
    pub(crate) fn until_next(&self, rate: Rate, now: Instant) -> Duration {
        (self.missing(now) + rate.each()).saturating_sub(rate.whole())
    }

    /// Whether nothing is missing.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.missing(now).is_zero()
    }

    /// The same, but with at least so many to take, or all there can be.
    pub(crate) fn with_at_least(&self, rate: Rate, count: u32, now: Instant) -> Self {
        let most = rate.whole().saturating_sub(rate.each() * count);
        Self { full: Some(now + self.missing(now).min(most)) }
    }

    /// One in which so much is missing.
    pub(crate) fn without(missing: Duration, now: Instant) -> Self {
        Self { full: now.checked_add(missing) }
    }

    /// How long until it is full.
    pub(crate) fn missing(&self, now: Instant) -> Duration {
        self.full.map_or(Duration::ZERO, |full| full.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rates() -> impl Strategy<Value = Rate> {
        (1u32..2000, 1u32..5000).prop_map(|(per_second, burst)| Rate { per_second, burst })
    }

    proptest! {
        /// In no stretch of time do more pass than the burst and what the rate gives meanwhile.
        #[test]
        fn never_more_than_burst_and_rate(rate in rates(), pauses in prop::collection::vec(0u64..5_000, 1..400)) {
            let (mut bucket, mut now, mut passed) = (Bucket::default(), Instant::now(), Vec::new());
            for pause in pauses {
                now += Duration::from_micros(pause);
                if bucket.take(rate, now) {
                    passed.push(now);
                }
            }
            for (first, from) in passed.iter().enumerate() {
                for (last, to) in passed.iter().enumerate().skip(first) {
                    let most = f64::from(rate.burst) + (*to - *from).as_secs_f64() * f64::from(rate.per_second);
                    prop_assert!((last - first + 1) as f64 <= most + 1.0);
                }
            }
        }

        /// Who keeps to the rate is never refused, however long it goes on.
        #[test]
        fn who_keeps_to_it_is_never_refused(rate in rates(), count in 1usize..500) {
            let (mut bucket, start) = (Bucket::default(), Instant::now());
            for n in 0..count {
                let now = start + Duration::from_secs_f64(n as f64 / f64::from(rate.per_second)) + Duration::from_micros(1);
                prop_assert!(bucket.take(rate, now));
            }
        }

        /// A whole burst passes at once, and not one more.
        #[test]
        fn a_burst_passes_at_once(rate in rates()) {
            let (mut bucket, now) = (Bucket::default(), Instant::now());
            prop_assert_eq!((0..=rate.burst).filter(|_| bucket.take(rate, now)).count(), rate.burst as usize);
            prop_assert!(bucket.is_full(now + rate.whole()));
        }

        /// What is owed is bounded, and paid by waiting as long as was said.
        #[test]
        fn debts_are_bounded_and_paid_by_waiting(rate in rates(), charges in prop::collection::vec(0u32..100_000, 1..20)) {
            let (mut bucket, now, most) = (Bucket::default(), Instant::now(), Duration::from_secs(5));
            let waits: Vec<_> = charges.iter().map(|count| bucket.charge(rate, *count, most, now)).collect();
            prop_assert!(waits.is_sorted() && waits.iter().all(|wait| *wait <= most));
            let wait = waits[waits.len() - 1];
            prop_assert_eq!(bucket.owed(rate, now), wait);
            prop_assert_eq!(bucket.owed(rate, now + wait), Duration::ZERO);
        }
    }

    proptest! {
        /// Whatever is owed, so many are there to take at once, and never more than there would have been else.
        #[test]
        fn a_start_is_granted_and_no_more(rate in rates(), charged in 0u32..10_000, granted in 0u32..20) {
            let (mut bucket, now) = (Bucket::default(), Instant::now());
            bucket.charge(rate, charged, Duration::from_secs(5), now);
            let mut start = bucket.with_at_least(rate, granted, now);
            let passed = (0..=rate.burst).filter(|_| start.take(rate, now)).count() as u32;
            let left = rate.burst.saturating_sub(charged);
            prop_assert_eq!(passed, left.max(granted.min(rate.burst)));
        }
    }

    #[test]
    fn none_is_as_fast_as_anybody_wants() {
        let (mut bucket, rate, now) = (Bucket::default(), Rate { per_second: 0, burst: 1 }, Instant::now());
        assert!((0..1000).all(|_| bucket.take(rate, now)));
        assert_eq!(bucket.charge(rate, 1000, Duration::MAX, now), Duration::ZERO);
    }
}
