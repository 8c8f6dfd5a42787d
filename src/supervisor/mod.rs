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
mod child;
mod detach;
mod driver;
pub(crate) mod logs;
mod machine;
mod memory;
mod reload;
mod signals;
mod state_dir;
mod unit;
mod unix;
mod watch;

pub(crate) use detach::detach;

use crate::{
    config::Config,
    control::{self, client::CONTROL},
    error::Failure,
};
use anyhow::Context;
use driver::{Driver, Incoming};
use signals::Signals;
use state_dir::StateDir;
use std::{os::unix::fs::PermissionsExt, os::unix::net::UnixListener};
use tokio::sync::mpsc;
use unit::{Unit, Workplace};

/// Supervises the enabled apps until told to stop. `background`: it was detached, and gives up when an app does not
/// come up the first time, because somebody waits for the outcome.
///
/// # Errors
/// Nothing was started (exit code 2, all reasons at once), or the first start failed in the background.
pub(crate) async fn run(config: Config, background: bool) -> Result<(), Failure> {
    let signals =
        Signals::register().map_err(|error| Failure::failed(format_args!("no signals: {error}")))?;
    let state = StateDir::open(&config.state_dir)?;
    // Full: who has something to tell waits, and what each tells keeps its order.
    let (reports, reported) = mpsc::channel(256);
    let (changes, changed) = mpsc::channel(256);
    let (questions, asked) = mpsc::channel(16);
    let place = Workplace::new(state.run(), reports)?;
    let units = units(&config, &state, &place)?;
    let path = config.state_dir.join(CONTROL);
    let listener = control_socket(&path).map_err(|error| Failure::usage(format_args!("{error:#}")))?;
    control::server::start(listener, questions, state.run())
        .map_err(|error| Failure::failed(format_args!("cannot serve the control API: {error}")))?;
    let outcome = Driver::new(config, place, units, changes, background)?
        .run(Incoming { signals, reported, changed, asked })
        .await;
    let _ = std::fs::remove_file(&path);
    outcome
}

/// Everything an app needs, made before any is started: all that is wrong is said at once.
fn units(config: &Config, state: &StateDir, place: &Workplace) -> Result<Vec<Unit>, Failure> {
    let (mut units, mut problems) = (Vec::new(), Vec::new());
    for app in config.enabled() {
        state.clear_orphan(&app.name, app.kill_timeout);
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

fn control_socket(path: &std::path::Path) -> anyhow::Result<UnixListener> {
    let listener = unix::listener(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot protect {}", path.display()))?;
    Ok(listener)
}
