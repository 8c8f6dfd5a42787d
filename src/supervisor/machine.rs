//! The life of one app, as a state machine. Pure: time is an argument, and what is to be done comes back as effects.
//!
//! ```text
//!               Start              READY=1           Reload              in standby: HandOver
//!     Stopped --------> Starting ----------> Online --------> Reloading --------------------> HandingOver
//!        ^                ^  |  ^               |  ^              |                             |    |
//!        |            due |  |  |          exit |  | refused      |           refused, too late |    | it cannot take
//!        | Stop           |  |  |               |  +--------------+-----------------------------+    | over: Terminate
//!        |              Backoff <---------------+  | READY=1: it has taken over                 |    v
//!        |                |     |                  +--------------------------------------------+  Switching
//!        |                |     | the old one has let go, or is gone: Go                             |
//!        |                |     +--------------------------------------------------------------------+
//!        |                |     | gone, or has let go
//!        +-- all gone -- Stopping <--- Stop, Restart, from anywhere
//! ```
//!
//! At most one child is *on duty*: it was told to go to work, and has neither let go nor ended. A reload starts a
//! second one in *standby*, beside it; children that let go and have not ended yet are *leaving*. The standby is told to
//! take over from the one on duty, with its connections; where it cannot, the one on duty is told to go.
//!
//! One version of an app (program and configuration) is the *good* one; *new* ones have a number, and come on trial. A
//! new one becomes the good one when it has been ready for `min_uptime` on duty ([`Effect::Kept`]). Before that,
//! whatever ends it brings the good one back at once ([`Effect::Refused`]), unless a newer one takes its place: then
//! that one decides. Crashes are always answered with the good one.
//!
//! What wins when two things happen at once:
//! - Stop wins over everything: a standby is killed, a reload refused, a backoff ended. The second stop kills.
//! - A child that ends while it is being stopped has done what it was asked: that is no crash.
//! - The child on duty crashes during a reload: the standby takes over at once, ready or not; it is on trial.
//! - The standby dies while it takes over: the old one has everything still, and goes on. One of the two hangs: the
//!   standby is killed, and should it be the old one that hangs, its probes will tell.
//! - The old one dies while the standby takes over: the standby goes on with what has come.
//! - The standby dies after the old one was told to go: the good version comes when the old one has let go.
//! - A reload during a reload: the newer one wins, the older standby is killed. While it is handed over to, or
//!   switched to, it waits for the outcome. In a backoff, or with a child that is not ready, there is nothing to protect: it is a restart.
//! - A wish to restart with the good version (memory) while another child is coming anyway is met by that child;
//!   while the new version is on trial it speaks against that version, which is condemned. When its successor does
//!   not make it, the next is tried after the delay of the backoff.
//! - Condemned (a hang, the hard memory limit, never ready): killed at once, and treated as a crash.
//! - The clock starts what ended by itself and was to end (a job); what somebody stopped it leaves alone.
//! - A start while anything else than Stopped: it is running already, or will be. (The order to start an app that
//!   waits in a backoff is a restart.)

mod course;
mod reason;
mod terms;
mod wishes;

pub(super) use reason::{Class, Reason};
pub(super) use terms::{Effect, Event, Exit, Id, Number, Rules, State, Which};

use std::time::{Duration, Instant};

/// Between two attempts to kill a child that should be gone.
const KILL_AGAIN: Duration = Duration::from_secs(1);
/// Longest wait for a successor to take over: longer than the two wait for each other.
const HANDOVER: Duration = Duration::from_secs(12);

/// See the module.
#[derive(Debug)]
pub(super) struct Machine {
    rules: Rules,
    state: State,
    since: Instant,
    /// When time alone changes the state.
    deadline: Option<Instant>,
    /// When the child on duty counts as stable.
    stable_at: Option<Instant>,
    duty: Option<Duty>,
    standby: Option<Standby>,
    /// Children that are on their way out, and when to kill them.
    leaving: Vec<(Id, Instant)>,
    /// A reload that waits for the outcome of the one before.
    pending: Option<(Reason, Which)>,
    /// Successors of the good version in a row that did not make it, and when the next may be tried.
    in_vain: u32,
    rests_until: Option<Instant>,
    last_id: Id,
    /// Unstable lives in a row.
    unstable: u32,
    restarts: u32,
    reason: Option<Reason>,
    /// How often it failed, whatever came of it, and how it did last, until it is stable again.
    failures: u32,
    failure: Option<Reason>,
    /// The good version was ready when it ran last, and did not fail soon after.
    works: bool,
    /// The last one ended by itself, and does not come again by itself; the clock may start it.
    ended: bool,
    /// And it ended well.
    finished: bool,
}

#[derive(Debug)]
struct Duty {
    id: Id,
    which: Which,
    since: Instant,
    /// Why it was killed, until it is gone.
    verdict: Option<Reason>,
}

#[derive(Debug)]
struct Standby {
    id: Id,
    which: Which,
    why: Reason,
    /// It stands by; before, `due` is when it must.
    ready: bool,
    due: Instant,
}

type Effects = Vec<Effect>;

impl Machine {
    /// An app that does not run.
    pub(super) fn new(rules: Rules, now: Instant) -> Self {
        Self {
            rules,
            state: State::Stopped,
            since: now,
            deadline: None,
            stable_at: None,
            duty: None,
            standby: None,
            leaving: Vec::new(),
            pending: None,
            in_vain: 0,
            rests_until: None,
            last_id: 0,
            unstable: 0,
            restarts: 0,
            reason: None,
            failures: 0,
            failure: None,
            works: false,
            ended: false,
            finished: false,
        }
    }

    /// Takes one event; `chance` (`0.0..1.0`) is for the backoff's jitter.
    #[must_use]
    pub(super) fn step(&mut self, event: Event, now: Instant, chance: f64) -> Effects {
        match event {
            Event::Start => self.start(now),
            Event::Adopted => self.adopt(now),
            Event::Stop => self.stop(now),
            Event::StopNow => self.stop_now(now),
            Event::Restart(why, which) => self.restart(why, which, now),
            Event::Reload(why, which) => self.reload(why, which, now),
            Event::Condemned(why) => self.condemn(why, now),
            Event::StandsBy(id) => self.stands_by(id, now),
            Event::Ready(id) => self.ready(id, now),
            Event::Released(id) => self.released(id, now),
            Event::Exited(id, exit) => self.exited(id, exit, now, chance),
            Event::Tick => self.tick(now),
        }
    }

    fn put_on_duty(&mut self, which: Which, now: Instant) -> Effects {
        self.last_id += 1;
        let id = self.last_id;
        self.begin(id, which, now);
        vec![Effect::Spawn { id, which, go: true }]
    }

    fn begin(&mut self, id: Id, which: Which, now: Instant) {
        self.duty = Some(Duty { id, which, since: now, verdict: None });
        self.stable_at = None;
        (self.ended, self.finished) = (false, false);
        self.in_vain = 0;
        self.rests_until = None;
        self.enter(State::Starting, now, Some(self.rules.listen_timeout));
    }

    fn again(&mut self, which: Which, now: Instant) -> Effects {
        self.restarts += 1;
        self.put_on_duty(which, now)
    }

    fn adopt(&mut self, now: Instant) -> Effects {
        if self.state == State::Stopped {
            self.last_id += 1;
            self.begin(self.last_id, Which::Good, now);
        }
        Vec::new()
    }

    fn enter(&mut self, state: State, now: Instant, timeout: Option<Duration>) {
        self.state = state;
        self.since = now;
        self.deadline = timeout.map(|timeout| now + timeout);
    }

    /// Takes new rules over; they hold from the next state on.
    pub(super) fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// When to send the next [`Event::Tick`].
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let standby = self.standby.iter().filter(|standby| !standby.ready).map(|standby| standby.due);
        let leaving = self.leaving.iter().map(|(_, due)| *due);
        self.deadline.into_iter().chain(self.stable_at).chain(standby).chain(leaving).min()
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// The child on duty, and since when.
    pub(super) fn duty(&self) -> Option<(Id, Instant)> {
        self.duty.as_ref().map(|duty| (duty.id, duty.since))
    }

    /// How often it was started again.
    pub(super) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Why it was started again last.
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_ref().map(|reason| reason.text.as_str())
    }

    /// Why it is on its way: as [`Machine::reason`], but of a reload before it has come to anything.
    pub(super) fn cause(&self) -> Option<&Reason> {
        self.standby.as_ref().map(|standby| &standby.why).or(self.reason.as_ref())
    }

    /// Of which kind that was.
    pub(super) fn reason_class(&self) -> Option<Class> {
        self.reason.as_ref().map(|reason| reason.class)
    }

    /// How often it failed, and how it did last, until it is stable again.
    pub(super) fn failures(&self) -> (u32, Option<&Reason>) {
        (self.failures, self.failure.as_ref())
    }

    /// It has been ready for long enough to count as well.
    pub(super) fn is_stable(&self) -> bool {
        self.state == State::Online && self.stable_at.is_none()
    }

    /// Unstable lives in a row, and how many of them are still no crash loop.
    pub(super) fn unstable(&self) -> (u32, u32) {
        (self.unstable, self.rules.policy.max_restarts)
    }

    /// When the next child is started, while that is waited for.
    pub(super) fn next_start(&self) -> Option<Instant> {
        self.deadline.filter(|_| self.state == State::Backoff)
    }

    /// When the new version that is on duty will have proved itself.
    pub(super) fn on_trial_until(&self) -> Option<Instant> {
        self.stable_at.filter(|_| self.duty.as_ref().is_some_and(|duty| duty.which != Which::Good))
    }

    /// Whether the good version worked when it ran last, or is good only as there was none before.
    pub(super) fn works(&self) -> bool {
        self.works
    }

    /// Whether it ended by itself, and waits for whoever starts it again.
    pub(super) fn has_ended(&self) -> bool {
        self.state == State::Stopped && self.ended
    }

    /// Whether it did what it was there for, and ended.
    pub(super) fn has_finished(&self) -> bool {
        self.state == State::Stopped && self.finished
    }

    /// Whether it fails over and over.
    pub(super) fn is_crash_looping(&self) -> bool {
        self.rules.policy.loops(self.unstable)
    }

    /// The word for where it is.
    pub(super) fn word(&self) -> &'static str {
        match self.state {
            State::Stopped => "stopped",
            State::Starting | State::Backoff if self.is_crash_looping() => "crash-looping",
            State::Starting => "starting",
            State::Online => "online",
            State::Reloading | State::HandingOver | State::Switching => "reloading",
            State::Stopping(Some(_)) => "restarting",
            State::Stopping(None) => "stopping",
            State::Backoff => "waiting",
        }
    }
}

#[cfg(test)]
mod tests;
