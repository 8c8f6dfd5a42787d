//! What a machine is told, what it asks for, and where it is: the words its diagram is written in.

use super::reason::Reason;
use crate::supervisor::backoff::Policy;
use std::time::Duration;

/// What the configuration says about the life of an app.
#[derive(Debug, Clone)]
pub(in crate::supervisor) struct Rules {
    pub(in crate::supervisor) policy: Policy,
    pub(in crate::supervisor) autorestart: bool,
    pub(in crate::supervisor) stop_exit_codes: Vec<i32>,
    pub(in crate::supervisor) min_uptime: Duration,
    pub(in crate::supervisor) listen_timeout: Duration,
    pub(in crate::supervisor) kill_timeout: Duration,
    /// Its program can stand by; one that cannot is reloaded by a restart.
    pub(in crate::supervisor) stands_by: bool,
}

/// Names a child among all that one machine ever asked for.
pub(in crate::supervisor) type Id = u64;

/// Names a version among all that were ever tried.
pub(in crate::supervisor) type Number = u64;

/// Which version of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervisor) enum Which {
    /// The one that is known to work.
    Good,
    /// One that is to prove itself first.
    New(Number),
}

impl Which {
    /// What follows when it is given up.
    pub(super) fn refused(self, why: &str) -> Option<Effect> {
        match self {
            Self::Good => None,
            Self::New(number) => Some(Effect::Refused(number, why.to_owned())),
        }
    }
}

/// Where an app is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervisor) enum State {
    /// Not running, and not to be.
    Stopped,
    /// The child on duty has not said that it is ready.
    Starting,
    /// The child is ready.
    Online,
    /// The child is ready, and its successor is being started beside it.
    Reloading,
    /// Its successor takes over from the child, with its connections.
    HandingOver,
    /// The child was told to go; its successor stands by.
    Switching,
    /// Every child was told to go; the version that follows, if any.
    Stopping(Option<Which>),
    /// No child; the next comes when the delay is over.
    Backoff,
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::supervisor) struct Exit {
    /// Its exit code, unless a signal ended it.
    pub(in crate::supervisor) code: Option<i32>,
    /// In words.
    pub(in crate::supervisor) how: String,
}

/// What happens to an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::supervisor) enum Event {
    /// It is to run.
    Start,
    /// A child is on duty already: an earlier supervisor started it.
    Adopted,
    /// It is not to run.
    Stop,
    /// It is to be stopped without waiting any longer.
    StopNow,
    /// It is to be stopped and started.
    Restart(Reason, Which),
    /// A successor is to take over without a gap.
    Reload(Reason, Which),
    /// The child on duty must not go on.
    Condemned(Reason),
    /// A child has all it needs, and waits for its turn; said once more: it could not take over.
    StandsBy(Id),
    /// A child is at work.
    Ready(Id),
    /// A child that was told to go has let go of what only one may hold.
    Released(Id),
    /// A child is gone (or could not be started).
    Exited(Id, Exit),
    /// Nothing but time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::supervisor) enum Effect {
    /// Start a child; not `go`: it stands by.
    Spawn { id: Id, which: Which, go: bool },
    /// Tell a child that stands by to go to work.
    Go(Id),
    /// Tell a child that stands by to take over from the one on duty, and go to work.
    HandOver(Id),
    /// Ask a child to go (SIGTERM).
    Terminate(Id),
    /// End a child and all it started (SIGKILL).
    Kill(Id),
    /// This new version has proved itself: it is the good one now.
    Kept(Number),
    /// This new version did not make it, and why; what worked before it is, or comes, back.
    Refused(Number, String),
    /// A successor of the same version did not make it, and why; the child on duty goes on.
    NotReplaced(String),
}
