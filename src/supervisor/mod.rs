//! The supervisor: keeps the children of chat.toml alive and ready.
//!
//! ```text
//! exit, READY=1, memory, files, signals, probes -> driver -> machine.step(event, now) -> effects -> child
//! ```
//!
//! Promises: the listening sockets outlive every child, so a client that connects during a restart waits and is not
//! refused; never two children on duty; every restart has a reason that a person can read; nothing is lost of what a
//! child wrote. It must never import the server: they meet as processes.

mod backoff;
mod ceiling;
mod child;
mod cron;
mod detach;
mod driver;
pub(crate) mod events;
pub(crate) mod follow;
mod health;
pub(crate) mod hooks;
pub(crate) mod keeper;
pub(crate) mod logs;
mod machine;
mod memory;
mod metrics;
mod occasions;
mod orders;
mod probe;
mod quiet;
mod reload;
mod report;
mod reread;
mod signals;
mod sockets;
mod state_dir;
pub(crate) mod tree;
mod trial;
mod unit;
mod unix;
mod upward;
mod version;
mod watch;
mod words;
mod workplace;

pub(crate) use detach::{OwnLog, detach};
pub(crate) use memory::of_the_machine as memory_of_the_machine;

use crate::{
    config::Config,
    control::{self, client::CONTROL, server::Ask, types::Happened},
    error::Failure,
};
use anyhow::Context;
use driver::{Driver, Incoming};
use events::Events;
use signals::Signals;
use sockets::Doors;
use state_dir::StateDir;
use std::{net::TcpListener, path::PathBuf, sync::Arc};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use unit::Unit;
use workplace::Workplace;

/// Longest wait for the keepers to write what was written last.
const LAST_LINES: std::time::Duration = std::time::Duration::from_secs(5);

/// Supervises the enabled apps until told to stop. `background`: it was detached, and gives up when an app does not
/// come up the first time, because somebody waits for the outcome. `handed`: sockets to listen on, by name, as systemd
/// hands them over.
///
/// # Errors
/// Nothing was started (exit code 2, all reasons at once), or the first start failed in the background.
pub(crate) async fn run(
    config: Config,
    background: bool,
    handed: Vec<(String, TcpListener)>,
) -> Result<(), Failure> {
    let signals =
        Signals::register().map_err(|error| Failure::failed(format_args!("no signals: {error}")))?;
    let state = Arc::new(StateDir::open(&config.state_dir)?);
    // Full: who has something to tell waits, and what each tells keeps its order.
    let (reports, reported) = mpsc::channel(256);
    let (questions, asked) = mpsc::channel(16);
    let events = Events::open(&config.state_dir)
        .map_err(|error| Failure::usage(format_args!("cannot write the history: {error}")))?;
    let place = Arc::new(Workplace::new(state.clone(), events, reports, Doors::handed(handed))?);
    tree::adopt_orphans();
    place.hooks.set(&config.hooks);
    let units = units(&config, &place)?;
    if let Some(address) = config.metrics {
        metrics::start(address, questions.clone(), state.run())?;
    }
    place.doors.say_what_nobody_takes(&config);
    let done = CancellationToken::new();
    let happenings = place.events.listeners();
    let counter =
        Counter { path: config.state_dir.join(CONTROL), run: state.run(), questions, happenings, done };
    counter.open().map_err(|error| Failure::usage(format_args!("{error:#}")))?;
    let (keepers, hooks) = (place.keepers.clone(), place.hooks.clone());
    let (path, done) = (counter.path.clone(), counter.done.clone());
    let outcome = Driver::new(config, place, units, counter, background)?
        .run(Incoming { signals, reported, asked })
        .await;
    if state.is_there() {
        let _ = std::fs::remove_file(&path);
    }
    hooks.finish().await;
    tree::kill_all(&keeper::NAME.to_string_lossy());
    // All that was written is in the logs when the keepers are gone.
    keepers.close();
    let _ = tokio::time::timeout(LAST_LINES, keepers.wait()).await;
    // The lock goes first: who was told that it is over may start the next at once.
    state.let_go();
    done.cancel();
    tokio::task::yield_now().await;
    outcome.map_err(|failed| failed.told())
}

/// Everything an app needs, made before any is started: all that is wrong is said at once.
fn units(config: &Config, place: &Arc<Workplace>) -> Result<Vec<Unit>, Failure> {
    let (mut units, mut problems) = (Vec::new(), Vec::new());
    for app in config.enabled() {
        match Unit::new(config, app, place) {
            Ok(unit) => units.push(unit),
            Err(error) => problems.push(format!("{}: {error:#}", app.name)),
        }
    }
    if !problems.is_empty() {
        return Err(Failure::usage(format_args!("nothing was started\n{}", problems.join("\n"))));
    }
    if units.is_empty() {
        return Err(Failure::usage("the configuration has no enabled app"));
    }
    Ok(units)
}

/// Where people ask.
struct Counter {
    path: PathBuf,
    run: PathBuf,
    questions: mpsc::Sender<Ask>,
    happenings: broadcast::Sender<Happened>,
    /// Cancelled when there is nothing more to ask.
    done: CancellationToken,
}

impl Counter {
    /// Opens it, for its owner alone.
    fn open(&self) -> anyhow::Result<()> {
        let listener = unix::listener(&self.path)?;
        let (questions, happenings) = (self.questions.clone(), self.happenings.clone());
        let (run, done) = (self.run.clone(), self.done.clone());
        control::server::start(listener, questions, happenings, run, done)
            .context("cannot serve the control API")
    }
}
