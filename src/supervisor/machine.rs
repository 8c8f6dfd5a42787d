//! The life of one app, as a state machine. Pure: time is an argument, and what is to be done comes back as effects.
//!
//! ```text
//!                    Start                READY=1
//!        Stopped ------------> Starting ------------> Online
//!           ^  ^                 |  |                  |  |
//!           |  |  exit, no       |  | exit             |  | exit
//!           |  +--autorestart----+--)------------------+  |
//!           |                       v                     |
//!           |                   Backoff <-----------------+
//!           |                       | due -> Starting     |
//!           | Stop                  |                     | memory, change, SIGHUP, not ready
//!           +-----------------------+                     v
//!           |                                     Stopping(Restart) -- exit --> Starting, at once
//!           +---- exit ---- Stopping(Stop) <--- Stop, from anywhere
//! ```
//!
//! What wins when two things happen at once:
//! - Stop wins over everything: a stop during a backoff or a restart ends in Stopped.
//! - A child that exits while it is being stopped has done what it was asked: that is no crash.
//! - A wish to restart while the child is Starting is kept and carried out by stopping it; in Backoff or
//!   Stopping(Restart) a new child is coming anyway, and the wish is only noted as the reason.
//! - A start while anything else than Stopped: it is running already, or will be.
//! - Changes of files wait for quiet (`watch_delay`, at most ten times that); a restart meanwhile settles them.
//!
//! Never are there two children: `Spawn` comes only when the last one's exit has been seen. Every restart has a reason.

use super::backoff::Policy;
use std::time::{Duration, Instant};

/// A never quiet tree is restarted after so many times the quiet it was to have.
const RESTLESS: u32 = 10;

/// What the configuration says about the life of an app.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) policy: Policy,
    pub(super) autorestart: bool,
    pub(super) min_uptime: Duration,
    pub(super) listen_timeout: Duration,
    pub(super) kill_timeout: Duration,
    pub(super) watch_delay: Duration,
}

/// Where an app is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Not running, and not to be.
    Stopped,
    /// The child runs, but has not said that it is ready.
    Starting,
    /// The child is ready.
    Online,
    /// The child was told to go; `restart`: another one follows.
    Stopping { restart: bool },
    /// No child; the next comes when the delay is over.
    Backoff,
}

/// What happens to an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// It is to run.
    Start,
    /// It is not to run.
    Stop,
    /// It is to be stopped without waiting any longer.
    StopNow,
    /// It is to be restarted gracefully, for this reason.
    Restart(String),
    /// A watched file changed.
    Changed(String),
    /// The child said that it is ready.
    Ready,
    /// The child is gone (or could not be started), and how.
    Exited(String),
    /// Nothing but time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Start a child.
    Spawn,
    /// Ask the child to go (SIGTERM).
    Terminate,
    /// End the child and its process group (SIGKILL).
    Kill,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Machine {
    rules: Rules,
    state: State,
    since: Instant,
    /// When time alone changes the state.
    deadline: Option<Instant>,
    /// The first unsettled change of a file, and when it is quiet enough.
    change: Option<Change>,
    /// Unstable lives in a row.
    unstable: u32,
    restarts: u32,
    reason: Option<String>,
}

#[derive(Debug)]
struct Change {
    what: String,
    first: Instant,
    due: Instant,
}

impl Machine {
    /// An app that does not run.
    pub(super) fn new(rules: Rules, now: Instant) -> Self {
        Self {
            rules,
            state: State::Stopped,
            since: now,
            deadline: None,
            change: None,
            unstable: 0,
            restarts: 0,
            reason: None,
        }
    }

    /// Takes one event; `chance` (`0.0..1.0`) is for the backoff's jitter.
    #[must_use]
    pub(super) fn step(&mut self, event: Event, now: Instant, chance: f64) -> Vec<Effect> {
        match event {
            Event::Start => self.start(now),
            Event::Stop => self.stop(now),
            Event::StopNow => self.stop_now(now),
            Event::Restart(reason) => self.restart(reason, now),
            Event::Changed(what) => self.changed(what, now),
            Event::Ready => self.ready(now),
            Event::Exited(how) => self.exited(how, now, chance),
            Event::Tick => self.tick(now),
        }
    }

    fn start(&mut self, now: Instant) -> Vec<Effect> {
        if self.state == State::Stopped { self.spawn(now) } else { Vec::new() }
    }

    fn spawn(&mut self, now: Instant) -> Vec<Effect> {
        // Whatever changed, the new child sees it.
        self.change = None;
        self.enter(State::Starting, now, Some(self.rules.listen_timeout));
        vec![Effect::Spawn]
    }

    fn stop(&mut self, now: Instant) -> Vec<Effect> {
        match self.state {
            State::Stopped | State::Stopping { restart: false } => Vec::new(),
            State::Backoff => {
                self.enter(State::Stopped, now, None);
                Vec::new()
            }
            // It was told to go already; its deadline stays.
            State::Stopping { restart: true } => {
                self.state = State::Stopping { restart: false };
                Vec::new()
            }
            State::Starting | State::Online => self.terminate(false, now),
        }
    }

    fn stop_now(&mut self, now: Instant) -> Vec<Effect> {
        match self.state {
            State::Stopped => Vec::new(),
            State::Backoff => self.stop(now),
            State::Starting | State::Online | State::Stopping { .. } => {
                self.enter(State::Stopping { restart: false }, now, Some(self.rules.kill_timeout));
                vec![Effect::Kill]
            }
        }
    }

    fn restart(&mut self, reason: String, now: Instant) -> Vec<Effect> {
        match self.state {
            State::Stopped | State::Stopping { restart: false } => Vec::new(),
            State::Backoff | State::Stopping { restart: true } => {
                self.reason = Some(reason);
                Vec::new()
            }
            State::Starting | State::Online => {
                self.reason = Some(reason);
                self.terminate(true, now)
            }
        }
    }

    fn terminate(&mut self, restart: bool, now: Instant) -> Vec<Effect> {
        self.enter(State::Stopping { restart }, now, Some(self.rules.kill_timeout));
        vec![Effect::Terminate]
    }

    fn changed(&mut self, what: String, now: Instant) -> Vec<Effect> {
        if !matches!(self.state, State::Starting | State::Online) {
            return Vec::new();
        }
        let delay = self.rules.watch_delay;
        let change = self.change.get_or_insert(Change { what, first: now, due: now });
        change.due = (now + delay).min(change.first + delay * RESTLESS);
        Vec::new()
    }

    fn ready(&mut self, now: Instant) -> Vec<Effect> {
        if self.state == State::Starting {
            self.enter(State::Online, now, Some(self.rules.min_uptime));
        }
        Vec::new()
    }

    fn exited(&mut self, how: String, now: Instant, chance: f64) -> Vec<Effect> {
        match self.state {
            State::Stopped | State::Backoff => Vec::new(),
            State::Stopping { restart: false } => {
                self.enter(State::Stopped, now, None);
                Vec::new()
            }
            State::Stopping { restart: true } => {
                self.restarts += 1;
                self.spawn(now)
            }
            State::Starting | State::Online => {
                let stable = self.state == State::Online && self.deadline.is_none();
                self.unstable = if stable { 1 } else { self.unstable.saturating_add(1) };
                self.reason = Some(how);
                if !self.rules.autorestart {
                    self.enter(State::Stopped, now, None);
                    return Vec::new();
                }
                self.restarts += 1;
                match self.rules.policy.delay(self.unstable, chance) {
                    Duration::ZERO => self.spawn(now),
                    delay => {
                        self.enter(State::Backoff, now, Some(delay));
                        Vec::new()
                    }
                }
            }
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Effect> {
        if let Some(change) = self.change.take_if(|change| change.due <= now) {
            return self.restart(format!("{} changed", change.what), now);
        }
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return Vec::new();
        }
        self.deadline = None;
        match self.state {
            State::Backoff => self.spawn(now),
            State::Starting => {
                // A life that never began: counts as unstable, or it would be restarted for ever without a pause.
                self.unstable = self.unstable.saturating_add(1);
                self.restart(format!("not ready within {:?}", self.rules.listen_timeout), now)
            }
            State::Online => {
                self.unstable = 0;
                Vec::new()
            }
            State::Stopping { .. } => {
                // Asked again should the first signal get lost: there is no state without a way out.
                self.deadline = Some(now + self.rules.kill_timeout.max(Duration::from_millis(100)));
                vec![Effect::Kill]
            }
            State::Stopped => Vec::new(),
        }
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
        [self.deadline, self.change.as_ref().map(|change| change.due)].into_iter().flatten().min()
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Since when it is in this state.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// How often it was started again.
    pub(super) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Why it was started again last.
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
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
            State::Stopping { restart: true } => "restarting",
            State::Stopping { restart: false } => "stopping",
            State::Backoff => "waiting",
        }
    }
}

#[cfg(test)]
mod tests;
