//! How fast one client may be.
//!
//! Its events have a rate: what is above is refused, it is told once, and then read no further until it has waited
//! for what it took, and for the next one: else who speaks again at once would be refused for ever. Everything else it
//! can send (pings, acknowledgements, packets that mean nothing) costs as well: of that four times as many are read,
//! and nothing is refused.

use super::link::{Link, lock};
use crate::chat::{Bucket, Rate};
use std::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering::*},
    },
    time::{Duration, Instant},
};

/// Frames for each event that is allowed.
const FRAMES: u32 = 4;
/// Longest pause: well below the heartbeat's patience, so that nobody is lost by being slowed.
const PAUSE: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Pace {
    rate: Rate,
    state: Mutex<State>,
    /// Nothing is read until the debt is paid.
    paused: AtomicBool,
}

#[derive(Default)]
struct State {
    events: Bucket,
    frames: Bucket,
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

impl Pace {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, state: Mutex::default(), paused: AtomicBool::new(false) }
    }

    /// Judges one more event; what is refused is paid for, too.
    fn event(&self, now: Instant) -> (Verdict, Duration) {
        let mut state = lock(&self.state);
        if state.told && state.events.is_full(now) {
            state.told = false;
        }
        if state.events.take(self.rate, now) {
            return (Verdict::Take, Duration::ZERO);
        }
        state.events.charge(self.rate, 1, PAUSE, now);
        let wait = state.events.until_next(self.rate, now);
        (Verdict::Refuse { tell: !std::mem::replace(&mut state.told, true) }, wait)
    }

    /// Takes note of frames of any kind.
    fn frames(&self, count: u32, now: Instant) -> Duration {
        lock(&self.state).frames.charge(self.rate.times(FRAMES), count, PAUSE, now)
    }

    /// How long it has still to wait.
    fn debt(&self, now: Instant) -> Duration {
        let mut state = lock(&self.state);
        let events = state.events.until_next(self.rate, now);
        events.max(state.frames.charge(self.rate.times(FRAMES), 0, PAUSE, now))
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
            ticket.turn_away("messages_per_second");
        }
        self.pause(wait);
        verdict
    }

    /// The rate that an event was refused by.
    pub(super) fn too_fast(&self, verdict: Verdict) -> Option<u32> {
        let ticket = self.ticket.get().filter(|_| verdict != Verdict::Take);
        ticket.map(|ticket| ticket.pace.rate.per_second)
    }

    /// So many frames or requests of this client were read.
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
            link.read_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_once_and_again_after_a_rest() {
        let (pace, start) = (Pace::new(Rate { per_second: 10, burst: 3 }), Instant::now());
        let judge = |ms| pace.event(start + Duration::from_millis(ms)).0;
        assert!([judge(0), judge(0), judge(0)].iter().all(|verdict| *verdict == Verdict::Take));
        assert_eq!(judge(0), Verdict::Refuse { tell: true });
        assert_eq!(judge(0), Verdict::Refuse { tell: false });
        // Two were refused and are paid for before the next is taken.
        assert_eq!(judge(250), Verdict::Refuse { tell: false });
        assert!([judge(500), judge(500)].iter().all(|verdict| *verdict == Verdict::Take));
        assert_eq!(judge(500), Verdict::Refuse { tell: false });
        assert!((0..3).all(|_| judge(2000) == Verdict::Take));
        assert_eq!(judge(2000), Verdict::Refuse { tell: true });
    }

    #[test]
    fn who_speaks_again_as_soon_as_it_is_read_is_taken() {
        let (pace, mut now) = (Pace::new(Rate { per_second: 20, burst: 50 }), Instant::now());
        while pace.event(now).0 == Verdict::Take {}
        let (_, wait) = pace.event(now);
        now += wait;
        assert_eq!(pace.debt(now), Duration::ZERO);
        assert_eq!(pace.event(now).0, Verdict::Take);
    }

    #[test]
    fn a_flood_is_paused_for_a_bounded_time() {
        let (pace, now) = (Pace::new(Rate { per_second: 10, burst: 10 }), Instant::now());
        assert_eq!(pace.frames(40, now), Duration::ZERO);
        assert_eq!(pace.frames(40, now), Duration::from_secs(1));
        assert_eq!(pace.frames(1_000_000, now), PAUSE);
        assert_eq!(pace.debt(now + PAUSE), Duration::ZERO);
    }
}
