//! How fast one client may be.
//!
//! Its events have a rate. What is above is refused, it is told once, and what was refused counts for a third: who is a
//! little too fast loses little more than that (at 1.1 times the rate 95 % of the rate is taken, at twice the rate half
//! of it), and who is thrice too fast is not heard at all. It is read no further for a while, that it can be heard
//! again: as soon as it has nothing more to read, until the next one may pass, for else who speaks again at once would
//! be refused again; and, if it never ends, when it owes [`DEEP`], until all of that is paid.
//!
//! Everything else it can send (pings, acknowledgements, packets that mean nothing) costs as well: of that four times as
//! many are read, and nothing is refused. Bytes cost in the same way: what is long counts as a frame for every [`PIECE`],
//! so that who sends pictures is read as slowly as who sends many words, and loses none.
//!
//! Who was made to wait, and comes again, goes on where it stopped; see [`super::debts`].

use super::{
    debts::Left,
    link::{Link, lock},
};
use crate::{chat::Rate, config::RefusedBy};
use std::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering::*},
    },
    time::{Duration, Instant},
};

/// Frames for each event that is allowed.
const FRAMES: u32 = 4;
/// Bytes that cost as much as another frame.
const PIECE: u64 = 4096;
/// Refused ones that cost as much as one that is taken.
const REFUSED: u32 = 3;
/// Who owes so much is read no further, whatever more there is of it.
const DEEP: Duration = Duration::from_millis(250);
/// Longest pause: well below the heartbeat's patience, so that nobody is lost by being slowed.
const PAUSE: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Pace {
    rate: Rate,
    state: Mutex<State>,
    /// Something was refused, and it has not waited for it yet.
    owes: AtomicBool,
    /// Nothing is read until the debt is paid.
    paused: AtomicBool,
}

struct State {
    left: Left,
    /// It has been told that it is too fast, and was not slow again since.
    told: bool,
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is taken.
    Take,
    /// It is not; whether the client is to be told.
    Refuse { tell: bool },
}

/// How fast a client's frames may be, of which so many events are allowed.
pub(super) fn of_frames(events: Rate) -> Rate {
    events.times(FRAMES)
}

/// As how many frames one with so many bytes counts.
pub(super) fn weight(bytes: u64) -> u32 {
    u32::try_from(bytes / PIECE).unwrap_or(u32::MAX).saturating_add(1)
}

impl Pace {
    /// Of one that begins with this, or owes as much as one can at this rate.
    pub(super) fn new(rate: Rate, mut left: Left, now: Instant) -> Self {
        left.events.charge(rate, 0, PAUSE, now);
        left.frames.charge(of_frames(rate), 0, PAUSE, now);
        let state = Mutex::new(State { left, told: false });
        Self { rate, state, owes: AtomicBool::new(false), paused: AtomicBool::new(false) }
    }

    /// Judges one more event; and how long it takes until the next may pass.
    fn event(&self, now: Instant) -> (Verdict, Duration) {
        let mut state = lock(&self.state);
        if state.told && state.left.events.is_full(now) {
            state.told = false;
        }
        if state.left.events.take(self.rate, now) {
            return (Verdict::Take, Duration::ZERO);
        }
        state.left.events.charge(self.rate.times(REFUSED), 1, PAUSE, now);
        let wait = state.left.events.until_next(self.rate, now);
        (Verdict::Refuse { tell: !std::mem::replace(&mut state.told, true) }, wait)
    }

    /// Takes note of frames of any kind.
    fn frames(&self, count: u32, now: Instant) -> Duration {
        lock(&self.state).left.frames.charge(of_frames(self.rate), count, PAUSE, now)
    }

    /// How long it has still to wait.
    fn debt(&self, now: Instant) -> Duration {
        let state = lock(&self.state);
        let events = state.left.events.until_next(self.rate, now);
        events.max(state.left.frames.owed(of_frames(self.rate), now))
    }

    /// What it has left.
    pub(super) fn left(&self) -> Left {
        lock(&self.state).left
    }

    /// Whether it is read no further just now.
    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Acquire)
    }
}

impl Link {
    /// Judges one more event of this client.
    pub(super) fn judge(self: &Arc<Self>) -> Verdict {
        let Some(ticket) = self.ticket.get() else { return Verdict::Take };
        let (verdict, wait) = ticket.pace.event(Instant::now());
        if verdict != Verdict::Take {
            ticket.turn_away(RefusedBy::MessagesPerSecond);
            ticket.pace.owes.store(true, Release);
        }
        if wait >= DEEP {
            self.pause(wait);
        }
        verdict
    }

    /// There is nothing more to read of this client just now: it waits for what was refused.
    pub(super) fn drained(self: &Arc<Self>) {
        if let Some(ticket) = self.ticket.get().filter(|ticket| ticket.pace.owes.swap(false, AcqRel)) {
            self.pause(ticket.pace.debt(Instant::now()));
        }
    }

    /// It comes from another process, where it may have been made to wait.
    pub(super) fn waits_on(self: &Arc<Self>) {
        if let Some(ticket) = self.ticket.get() {
            self.pause(ticket.pace.debt(Instant::now()));
        }
    }

    /// The rate that an event was refused by.
    pub(super) fn too_fast(&self, verdict: Verdict) -> Option<u32> {
        let ticket = self.ticket.get().filter(|_| verdict != Verdict::Take);
        ticket.map(|ticket| ticket.pace.rate.per_second)
    }

    /// So many frames or requests of this client were read, by their [`weight`].
    pub(super) fn took(self: &Arc<Self>, frames: u32) {
        if let Some(ticket) = self.ticket.get().filter(|_| frames > 0) {
            let wait = ticket.pace.frames(frames, Instant::now());
            self.pause(wait);
        }
    }

    /// Has nothing more of it read until its debt is paid.
    fn pause(self: &Arc<Self>, wait: Duration) {
        let Some(ticket) = self.ticket.get() else { return };
        if wait.is_zero() || ticket.pace.paused.swap(true, AcqRel) {
            return;
        }
        ticket.note(ticket.pace.left());
        tokio::spawn(pay(Arc::downgrade(self), wait));
    }
}

async fn pay(link: Weak<Link>, mut wait: Duration) {
    while !wait.is_zero() {
        tokio::time::sleep(wait).await;
        let Some(link) = link.upgrade() else { return };
        let Some(ticket) = link.ticket.get() else { return };
        wait = ticket.pace.debt(Instant::now());
        if wait.is_zero() {
            ticket.pace.paused.store(false, Release);
            link.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Bucket;

    fn pace(per_second: u32, burst: u32) -> (Pace, Instant) {
        let now = Instant::now();
        (Pace::new(Rate { per_second, burst }, Left::default(), now), now)
    }

    #[test]
    fn told_once_and_again_after_a_rest() {
        let (pace, start) = pace(10, 3);
        let judge = |ms| pace.event(start + Duration::from_millis(ms)).0;
        assert!([judge(0), judge(0), judge(0)].iter().all(|verdict| *verdict == Verdict::Take));
        assert_eq!(judge(0), Verdict::Refuse { tell: true });
        assert!((0..2).all(|_| judge(0) == Verdict::Refuse { tell: false }));
        // Three were refused, and cost as much as one.
        assert_eq!(judge(190), Verdict::Refuse { tell: false });
        assert_eq!(judge(240), Verdict::Take);
        assert_eq!(judge(240), Verdict::Refuse { tell: false });
        assert!((0..3).all(|_| judge(2000) == Verdict::Take));
        assert_eq!(judge(2000), Verdict::Refuse { tell: true });
    }

    #[test]
    fn who_speaks_again_as_soon_as_it_is_read_is_taken() {
        let (pace, mut now) = pace(20, 50);
        while pace.event(now).0 == Verdict::Take {}
        let (_, wait) = pace.event(now);
        now += wait;
        assert_eq!(pace.debt(now), Duration::ZERO);
        assert_eq!(pace.event(now).0, Verdict::Take);
    }

    /// What is taken of a client, in events a second, that speaks evenly and so many times as fast as it may: of the
    /// last ten of twenty seconds, when the burst is over. It is read as the module says: all there is is read, then it
    /// waits, or it owes too much.
    fn taken_of(times: f64) -> f64 {
        let (pace, start) = pace(100, 50);
        let (mut taken, mut paused, mut owes) = (0, start, false);
        let spoken = |n: usize| start + Duration::from_secs_f64(n as f64 / (100.0 * times));
        for n in 0.. {
            let read = spoken(n).max(paused);
            let (verdict, wait) = pace.event(read);
            if read >= start + Duration::from_secs(20) {
                break;
            }
            taken += u32::from(verdict == Verdict::Take && read >= start + Duration::from_secs(10));
            owes |= verdict != Verdict::Take;
            if wait >= DEEP || (owes && spoken(n + 1) > read) {
                (paused, owes) = (read + wait.max(pace.debt(read)), false);
            }
        }
        f64::from(taken) / 10.0
    }

    #[test]
    fn a_little_too_fast_loses_little_and_a_flood_nearly_everything() {
        for (times, least, most) in [
            (0.9, 89.0, 91.0),
            (1.0, 99.0, 101.0),
            (1.1, 94.0, 97.0),
            (1.5, 74.0, 78.0),
            (2.0, 49.0, 53.0),
            (10.0, 1.0, 5.0),
            (1000.0, 1.0, 5.0),
        ] {
            let taken = taken_of(times);
            assert!((least..=most).contains(&taken), "{times} times as fast: {taken} a second");
        }
    }

    #[test]
    fn a_flood_is_paused_for_a_bounded_time() {
        let (pace, now) = pace(10, 10);
        assert_eq!(pace.frames(40, now), Duration::ZERO);
        assert_eq!(pace.frames(40, now), Duration::from_secs(1));
        assert_eq!(pace.frames(1_000_000, now), PAUSE);
        assert_eq!(pace.debt(now + PAUSE), Duration::ZERO);
        assert_eq!(pace.frames(weight(u64::MAX), now), PAUSE);
    }

    /// Those of another process, which may have had other limits.
    #[test]
    fn who_begins_with_debts_pays_them_and_no_more_than_one_can_owe() {
        let (rate, now) = (Rate { per_second: 10, burst: 10 }, Instant::now());
        let owes = |missing| Left { events: Bucket::without(missing, now), ..Left::default() };
        for (missing, debt, there) in
            [(0, 0, 10), (500, 0, 5), (1000, 100, 0), (3000, 2100, 0), (60_000, 5100, 0)]
        {
            let pace = Pace::new(rate, owes(Duration::from_millis(missing)), now);
            assert_eq!(pace.debt(now), Duration::from_millis(debt), "{missing}");
            let taken = (0..10).take_while(|_| pace.event(now).0 == Verdict::Take).count();
            assert_eq!(taken, there, "{missing}");
        }
    }

    #[test]
    fn bytes_cost_as_frames_do() {
        for (bytes, frames) in [(0, 1), (4095, 1), (4096, 2), (1_000_000, 245), (u64::MAX, u32::MAX)] {
            assert_eq!(weight(bytes), frames, "{bytes}");
        }
        // As shipped: sixteen pictures of 1 MB at once, and then 1.6 MB a second.
        let (pace, now) = pace(100, 1000);
        assert!((0..16).all(|_| pace.frames(weight(1_000_000), now).is_zero()));
        let waits = pace.frames(weight(1_000_000), now) + pace.frames(weight(1_600_000), now);
        assert!(waits > Duration::from_secs(1) && waits < Duration::from_secs(2), "{waits:?}");
    }
}
