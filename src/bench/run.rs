//! One run of the generator: what all of its connections share.

use super::{
    Scenario, Transport,
    process::{self, Usage},
    talk::{Identity, Talk},
    tally::Tally,
    target::Target,
};
use crate::config::Profile;
use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Serialize, Serializer};
use std::{
    cell::{Cell, RefCell},
    fmt,
    io::{IsTerminal, Write},
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{sync::Notify, time::sleep_until};
use tokio_util::sync::CancellationToken;

/// Bytes that are read at once. It grows for a packet that is larger.
const READ: usize = 64 << 10;
/// Descriptors that are no connections.
const OTHER_FILES: u64 = 64;
/// Between two looks at how far it is.
const TICK: Duration = Duration::from_millis(250);

/// Where everything is read into.
pub(super) type Scratch = RefCell<Vec<u8>>;

/// Against which server, and how it is spoken to.
#[derive(Debug, Serialize)]
pub(crate) struct Against {
    /// Where it is.
    pub(crate) url: String,
    /// How its events are written.
    #[serde(serialize_with = "name")]
    pub(crate) profile: Profile,
    pub(crate) transport: Transport,
    /// The name of the event that carries a message.
    pub(crate) event: String,
    /// The name of the one that joins a room; `None`: nobody has to.
    pub(crate) join: Option<String>,
    /// What clients prove who they are with. A secret: it is in no report.
    #[serde(skip)]
    pub(crate) auth: Option<serde_json::Map<String, serde_json::Value>>,
    /// Connections made in a second; `None`: as many as the server takes.
    pub(crate) connect_rate: Option<f64>,
    /// The server's process, where it is on this machine.
    #[serde(skip)]
    pub(crate) pid: Option<u32>,
}

/// See the module.
pub(super) struct Run {
    pub(super) against: Against,
    pub(super) target: Target,
    pub(super) talk: Talk,
    /// How a message begins.
    pub(super) beginning: Vec<u8>,
    /// Where in a packet the last mark was.
    pub(super) hint: Cell<usize>,
    pub(super) scratch: Scratch,
    pub(super) tally: RefCell<Tally>,
    /// Ends it early: somebody does not want to wait any longer, or nobody is left.
    pub(super) stop: CancellationToken,
    pub(super) interrupted: Cell<bool>,
    /// Whether anybody says anything.
    pub(super) speaks: Cell<bool>,
    /// Whether all are going: that their connections end is no trouble.
    pub(super) leaves: Cell<bool>,
    /// Something happened that is waited for.
    pub(super) changed: Notify,
    began: Instant,
    shows: bool,
}

impl Run {
    /// Looks whether it can be done.
    ///
    /// # Errors
    /// There is no server, no such process, or there are not enough descriptors.
    pub(super) fn prepare(against: Against, scenario: &Scenario) -> Result<Self> {
        let each = against.transport.connections();
        allow_files(u64::from(scenario.connections()) * u64::from(each) + OTHER_FILES)?;
        let target = Target::find(&against.url, scenario.ports().saturating_mul(each))?;
        let began = Instant::now();
        // What runs one after the other, or side by side, is told apart by when and by whom.
        let clock = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let run =
            clock.subsec_nanos().rotate_left(8) ^ u32::try_from(clock.as_secs() & 0xffff_ffff).unwrap_or(0);
        let talk = Talk {
            profile: against.profile,
            event: against.event.clone(),
            join: against.join.clone(),
            auth: against.auth.clone(),
            size: scenario.size(),
            run: run ^ std::process::id(),
        };
        let run = Self {
            beginning: talk.beginning(),
            against,
            target,
            talk,
            hint: Cell::default(),
            scratch: RefCell::new(vec![0; READ]),
            tally: RefCell::default(),
            stop: CancellationToken::new(),
            interrupted: Cell::new(false),
            speaks: Cell::new(false),
            leaves: Cell::new(false),
            changed: Notify::new(),
            began,
            shows: std::io::stderr().is_terminal(),
        };
        run.against.pid.map(process::usage).transpose()?;
        Ok(run)
    }

    /// ns since the run began.
    pub(super) fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    pub(super) fn at(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Who the client with this number is. Names and rooms of two runs do not meet.
    pub(super) fn identity(&self, number: u32, room: usize) -> Identity {
        let run = self.talk.run;
        Identity { name: format!("b{number}"), room: format!("bench-{run:x}-{room}") }
    }

    /// What the server has used until now; `None`: it is not known which process it is, or it is gone. That it did not
    /// outlive the measurement is a result, and the rest of it is worth something too.
    pub(super) fn usage(&self) -> Option<Usage> {
        let usage = process::usage(self.against.pid?);
        usage
            .map_err(|why| {
                self.tally.borrow_mut().trouble(format_args!("the server did not live on: {why:#}"))
            })
            .ok()
    }

    /// From now on Ctrl-C ends the measurement, not the program: what has been measured is worth something.
    pub(super) fn stop_when_interrupted(self: &Rc<Self>) {
        let run = self.clone();
        tokio::task::spawn_local(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                run.interrupted.set(true);
                run.stop.cancel();
            }
        });
    }

    /// Waits so long, and shows how far it is; whether nothing came between.
    pub(super) async fn pause(&self, time: Duration, shown: impl Fn(&Tally) -> String) -> bool {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let next = if self.shows { end.min(Instant::now() + TICK) } else { end };
            tokio::select! {
                () = self.stop.cancelled() => return false,
                () = sleep_until(next.into()) => self.show(shown(&self.tally.borrow())),
            }
        }
        true
    }

    /// Waits until it is so, but not longer than this; looks when something has changed.
    pub(super) async fn until(
        &self,
        longest: Duration,
        is_so: impl Fn() -> bool,
        shown: impl Fn(&Tally) -> String,
    ) {
        let changes = async {
            while !is_so() {
                self.changed.notified().await;
            }
        };
        tokio::select! {
            () = changes => {}
            _ = self.pause(longest, shown) => {}
        }
    }

    /// Shows how far it is, where somebody looks.
    pub(super) fn show(&self, what: impl fmt::Display) {
        if self.shows {
            // ECMA-48, EL: the line is written anew.
            let _ = write!(std::io::stderr(), "\r\x1b[K{what}");
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.show("");
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn name<S: Serializer>(profile: &Profile, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(profile.as_str())
}

/// Lets this process have so many files open.
fn allow_files(wanted: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let own = Rlimit { current: limit.maximum.map(|maximum| maximum.max(wanted)), ..limit };
    if limit.maximum.is_none_or(|maximum| maximum >= wanted) {
        return setrlimit(Resource::Nofile, own).context("the limit of open files cannot be raised");
    }
    // The superuser may raise its own limit.
    if setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: Some(wanted) }).is_err() {
        let maximum = limit.maximum.unwrap_or_default();
        bail!(
            "so many connections need {wanted} open files, and this process may have {maximum}: see `ulimit -Hn`, limits.conf(5)"
        );
    }
    Ok(())
}
