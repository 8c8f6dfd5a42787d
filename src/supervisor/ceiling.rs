//! What follows from a sample of memory. Pure: time is an argument.
//!
//! Above `max_memory_restart` an app is restarted gracefully, above `max_memory_kill` it is killed. Unless that would
//! not help: what is needed at rest, right after the start, no restart gives back. And when [`IN_VAIN`] restarts in
//! a row each lasted less than [`SHORT`], more of them will not help either: the next is tried after [`PAUSE`].

use std::time::{Duration, Instant};

/// A child that is ready for less than this is at rest: what it uses is what it needs.
const REST: Duration = Duration::from_secs(2);
/// A life that reaches the ceiling earlier than this was not helped by the restart before.
const SHORT: Duration = Duration::from_secs(60);
/// Restarts in a row that did not help, after which none is tried for a while.
const IN_VAIN: u32 = 5;
/// That while.
const PAUSE: Duration = Duration::from_secs(600);

/// What the configuration says, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) restart: Option<u64>,
    pub(super) kill: Option<u64>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Fine,
    /// Nothing, for a restart would not help; a person should know.
    TooLow,
    /// Restart it gracefully: it is above this limit.
    Restart(u64),
    /// Kill it: it is above this limit.
    Kill(u64),
}

/// What is remembered from one sample to the next.
#[derive(Debug, Default)]
pub(super) struct Ceiling {
    /// Most of what the child needed at rest.
    rest: u64,
    /// The child that was judged last, by the time it became ready.
    life: Option<Instant>,
    in_vain: u32,
    paused: Option<Instant>,
    judged: bool,
}

impl Ceiling {
    /// Judges a sample of a child that has been ready since `ready`, or is not yet.
    pub(super) fn judge(
        &mut self,
        memory: u64,
        ready: Option<Instant>,
        limits: Limits,
        now: Instant,
    ) -> Verdict {
        let over = |limit: Option<u64>| limit.filter(|limit| memory > *limit);
        if self.life != ready {
            (self.life, self.rest, self.judged) = (ready, 0, false);
        }
        let at_rest = ready.is_none_or(|ready| now < ready + REST);
        if at_rest {
            self.rest = self.rest.max(memory);
        }
        let helps = |limit: &u64| self.rest <= *limit;
        if let Some(limit) = over(limits.kill).filter(helps) {
            return Verdict::Kill(limit);
        }
        let Some(limit) = over(limits.restart) else { return Verdict::Fine };
        let Some(ready) = ready.filter(|_| helps(&limit)) else { return Verdict::TooLow };
        if self.paused.is_some_and(|until| now < until) {
            return Verdict::TooLow;
        }
        if !self.judged {
            self.judged = true;
            self.in_vain = if now < ready + SHORT { self.in_vain + 1 } else { 0 };
            if self.in_vain > IN_VAIN {
                (self.in_vain, self.paused, self.judged) = (0, Some(now + PAUSE), false);
                return Verdict::TooLow;
            }
        }
        Verdict::Restart(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: u64 = 1 << 20;
    const LIMITS: Limits = Limits { restart: Some(100 * M), kill: Some(200 * M) };

    fn after(begun: Instant, ms: u64) -> Instant {
        begun + Duration::from_millis(ms)
    }

    #[test]
    fn a_leak_is_restarted_and_a_flood_is_killed() {
        let (mut ceiling, begun) = (Ceiling::default(), Instant::now());
        for (memory, ms, verdict) in [
            (20, 100, Verdict::Fine),
            (100, 3000, Verdict::Fine),
            (101, 3200, Verdict::Restart(100 * M)),
            (150, 3400, Verdict::Restart(100 * M)),
            (201, 3600, Verdict::Kill(200 * M)),
        ] {
            assert_eq!(ceiling.judge(memory * M, Some(begun), LIMITS, after(begun, ms)), verdict, "{memory}");
        }
    }

    #[test]
    fn what_it_needs_at_rest_is_no_reason_to_restart() {
        let (mut ceiling, begun) = (Ceiling::default(), Instant::now());
        assert_eq!(ceiling.judge(150 * M, None, LIMITS, begun), Verdict::TooLow);
        for ms in [200, 60_000] {
            assert_eq!(ceiling.judge(150 * M, Some(begun), LIMITS, after(begun, ms)), Verdict::TooLow);
        }
        assert_eq!(ceiling.judge(201 * M, Some(begun), LIMITS, after(begun, 61_000)), Verdict::Kill(200 * M));
        let mut ceiling = Ceiling::default();
        assert_eq!(ceiling.judge(300 * M, Some(begun), LIMITS, after(begun, 100)), Verdict::TooLow);
        assert_eq!(ceiling.judge(300 * M, Some(begun), LIMITS, after(begun, 90_000)), Verdict::TooLow);
    }

    #[test]
    fn restarts_that_do_not_help_end() {
        let (mut ceiling, mut begun, mut restarts) = (Ceiling::default(), Instant::now(), 0);
        for _ in 0..20 {
            let _ = ceiling.judge(20 * M, Some(begun), LIMITS, begun);
            if let Verdict::Restart(_) = ceiling.judge(120 * M, Some(begun), LIMITS, after(begun, 5000)) {
                restarts += 1;
                begun = after(begun, 6000);
            }
        }
        assert_eq!(restarts, IN_VAIN);
        assert_eq!(
            ceiling.judge(120 * M, Some(begun), LIMITS, after(begun, 700_000)),
            Verdict::Restart(100 * M),
            "after a while it is tried again"
        );
    }
}
