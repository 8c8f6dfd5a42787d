//! What an address owes: who was made to wait goes on where it stopped, and not afresh, when it comes again.
//!
//! A newcomer from an address of which somebody was made to wait begins with what that one had left. Its neighbours, who
//! share the address, lose the burst by it and nothing else: they have the whole rate, and the [`FIRST_WORDS`] that a
//! page says when it opens. An address is forgotten when what it owes would have been paid by waiting; that somebody
//! comes never makes it owe more.
//!
//! Bounded: of more than [`MOST`] that owe at a time, the last to come are not remembered, and have their burst again.

use crate::{
    chat::{Bucket, Rate},
    slack::give_back,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// Addresses that are remembered.
const MOST: usize = 4096;
/// Those that have paid are looked for whenever there are so many, or twice as many as were left the last time.
const FEW: usize = 64;
/// Whoever comes can say so many at once: as a page that opens, and joins its rooms.
const FIRST_WORDS: u32 = 10;

/// What one client has left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) events: Bucket,
    pub(super) frames: Bucket,
}

/// The same, as one process tells another: for how long each has been used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Missing {
    events: Duration,
    frames: Duration,
}

impl Missing {
    /// What there is of it, now.
    pub(super) fn left(self, now: Instant) -> Left {
        Left { events: Bucket::without(self.events, now), frames: Bucket::without(self.frames, now) }
    }
}

impl Left {
    /// What is not there; `None`: nothing is missing.
    pub(super) fn missing(&self, now: Instant) -> Option<Missing> {
        let missing = || Missing { events: self.events.missing(now), frames: self.frames.missing(now) };
        (!self.is_all(now)).then(missing)
    }

    /// Whether nothing is missing.
    pub(super) fn is_all(&self, now: Instant) -> bool {
        self.events.is_full(now) && self.frames.is_full(now)
    }
}

/// See the module.
pub(super) struct Debts<Address> {
    events: Rate,
    frames: Rate,
    left: HashMap<Address, Left>,
    tidied: usize,
}

impl<Address: Eq + Hash> Debts<Address> {
    /// Nobody owes anything; so fast one client may be.
    pub(super) fn new(events: Rate, frames: Rate) -> Self {
        Self { events, frames, left: HashMap::new(), tidied: 0 }
    }

    /// Somebody at this address was made to wait, and has so much left.
    pub(super) fn note(&mut self, address: Address, left: Left, now: Instant) {
        if let Some(known) = self.left.get_mut(&address) {
            known.events = known.events.max(left.events);
            known.frames = known.frames.max(left.frames);
            return;
        }
        if self.left.len() >= MOST.min(FEW.max(self.tidied * 2)) {
            self.left.retain(|_, left| !left.is_all(now));
            self.tidied = self.left.len();
            give_back(&mut self.left);
        }
        if self.left.len() < MOST {
            self.left.insert(address, left);
        }
    }

    /// Everybody who owes something.
    pub(super) fn all(&self, now: Instant) -> Vec<(Address, Missing)>
    where
        Address: Clone,
    {
        let owing = |(address, left): (&Address, &Left)| Some((address.clone(), left.missing(now)?));
        self.left.iter().filter_map(owing).collect()
    }

    /// What a newcomer from this address begins with.
    pub(super) fn of(&mut self, address: &Address, now: Instant) -> Left {
        let Some(left) = self.left.get(address) else { return Left::default() };
        if left.is_all(now) {
            self.left.remove(address);
            return Left::default();
        }
        Left {
            events: left.events.with_at_least(self.events, FIRST_WORDS, now),
            frames: left.frames.with_at_least(self.frames, FIRST_WORDS, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const RATE: Rate = Rate { per_second: 10, burst: 100 };
    const EACH: Duration = Duration::from_millis(100);

    fn debts() -> Debts<u32> {
        Debts::new(RATE, RATE.times(4))
    }

    /// How many events one with this much left can say at once.
    fn at_once(mut left: Left, now: Instant) -> usize {
        (0..1000).filter(|_| left.events.take(RATE, now)).count()
    }

    fn spent(count: u32, now: Instant) -> Left {
        let mut left = Left::default();
        left.events.charge(RATE, count, Duration::from_secs(5), now);
        left
    }

    #[test]
    fn who_comes_again_goes_on_where_it_stopped() {
        let (mut debts, start) = (debts(), Instant::now());
        debts.note(1, spent(120, start), start);
        // After so many tenths of a second at 10 a second.
        for (tenths, here) in [(0, 10), (20, 10), (30, 10), (50, 30), (100, 80), (119, 99), (120, 100)] {
            let now = start + EACH * tenths;
            assert_eq!(at_once(debts.of(&1, now), now), here, "after {tenths} tenths");
            assert_eq!(at_once(debts.of(&2, now), now), 100, "another address");
        }
        assert!(debts.left.is_empty(), "what is paid is forgotten");
    }

    #[test]
    fn the_next_process_knows_them() {
        let (mut before, mut after, start) = (debts(), debts(), Instant::now());
        (1..4).for_each(|address| before.note(address, spent(address * 30, start), start));
        let now = start + Duration::from_secs(4);
        let told = serde_json::to_string(&before.all(now)).unwrap();
        for (address, missing) in serde_json::from_str::<Vec<(u32, Missing)>>(&told).unwrap() {
            after.note(address, missing.left(now), now);
        }
        assert_eq!(after.left.len(), 2, "the first has paid");
        for (address, here) in [(1, 100), (2, 80), (3, 50), (4, 100)] {
            assert_eq!(at_once(after.of(&address, now), now), here, "{address}");
            assert_eq!(after.of(&address, now), before.of(&address, now));
        }
        let broken = Missing { events: Duration::MAX, frames: Duration::ZERO };
        assert!(broken.left(now).is_all(now));
    }

    #[test]
    fn of_two_at_one_address_the_one_who_owes_more_counts() {
        let (mut debts, now) = (debts(), Instant::now());
        for count in [60, 80, 20] {
            debts.note(1, spent(count, now), now);
        }
        assert_eq!(at_once(debts.of(&1, now), now), 20);
    }

    #[test]
    fn it_is_bounded_and_finds_room_when_debts_are_paid() {
        let (mut debts, start) = (debts(), Instant::now());
        (0..10_000).for_each(|number| debts.note(number, spent(100, start), start));
        assert_eq!(debts.left.len(), MOST);
        assert_eq!(at_once(debts.of(&9999, start), start), 100, "there was no room for it");
        let later = start + Duration::from_secs(60);
        debts.note(9999, spent(100, later), later);
        assert_eq!(debts.left.len(), 1);
        assert!(debts.left.capacity() < MOST / 4, "memory is given back");
        assert_eq!(at_once(debts.of(&9999, later), later), 10);
    }

    proptest! {
        /// Whatever was noted and whoever asks, no newcomer has more than a burst, or less than its first words and the
        /// rate; and asking changes nothing.
        #[test]
        fn neighbours_lose_the_burst_and_never_the_rate(
            steps in prop::collection::vec((0u32..3, 0u32..400, 0u64..5_000), 1..50),
        ) {
            let (mut debts, mut now) = (debts(), Instant::now());
            for (who, count, pause) in steps {
                debts.note(who, spent(count, now), now);
                now += Duration::from_millis(pause);
                let left = debts.of(&who, now);
                prop_assert_eq!(debts.of(&who, now), left);
                let first = at_once(left, now);
                prop_assert!((FIRST_WORDS as usize..=100).contains(&first));
                let mut steady = left;
                for n in 1..50u32 {
                    prop_assert!(steady.events.take(RATE, now + EACH * n));
                }
            }
        }
    }
}
