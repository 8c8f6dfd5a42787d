//! Where the commands' own log goes: standard error, as `[log]` says; levels also by `RUST_LOG` (`debug`, or
//! `info,chatctl::server=trace`: no patterns, for which regular expressions would have to be in the program).
//!
//! What clients say and the ids by which they come back are secrets. chatctl itself writes messages only under the
//! target [`MESSAGES`], and the libraries below it may write anything below a warning: both are left out, whatever
//! `RUST_LOG` says, unless `[log] messages` allows them.

use crate::config::{Log, LogFormat};
use std::{
    io::{IsTerminal, Write},
    sync::Mutex,
};
use tracing::Level;
use tracing_subscriber::{
    Layer,
    filter::{Targets, filter_fn},
    fmt,
    fmt::writer::BoxMakeWriter,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// The target under which messages are written.
const MESSAGES: &str = "chatctl::messages";

/// Starts logging. `timed`: lines carry their time; not so under a supervisor, which puts its own before each. JSON
/// always does.
pub(super) fn start(log: &Log, timed: bool) {
    start_with(log, timed, BoxMakeWriter::new(std::io::stderr), std::io::stderr().is_terminal());
}

/// Starts logging to a file of one's own, in whole lines.
pub(super) fn start_in(file: impl Write + Send + 'static, log: &Log) {
    start_with(log, true, BoxMakeWriter::new(Mutex::new(file)), false);
}

fn start_with(log: &Log, timed: bool, writer: BoxMakeWriter, coloured: bool) {
    let messages = log.messages;
    let discreet = filter_fn(move |what| {
        let own = what.target().starts_with(env!("CARGO_PKG_NAME")) && what.target() != MESSAGES;
        messages || own || *what.level() <= Level::WARN
    });
    let said = std::env::var("RUST_LOG").ok().filter(|said| !said.is_empty());
    let filter = said.and_then(|said| said.parse().ok());
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(log.level));
    let lines = fmt::layer().with_writer(writer).with_ansi(coloured);
    let lines = match (log.format, timed) {
        (LogFormat::Json, _) => lines.json().flatten_event(true).with_current_span(false).boxed(),
        (LogFormat::Text, true) => lines.boxed(),
        (LogFormat::Text, false) => lines.without_time().boxed(),
    };
    // A second start in one process keeps the first.
    let _ = tracing_subscriber::registry().with(lines.with_filter(discreet).with_filter(filter)).try_init();
}
