//! Where the commands' own log goes: standard error, as `[log]` says; levels also by `RUST_LOG` (`debug`, or
//! `info,chatctl::server=trace`: no patterns, for which regular expressions would have to be in the program).
//!
//! What clients say and the ids by which they come back are secrets. chatctl itself writes messages only under the
//! target [`MESSAGES`], and the libraries below it may write anything below a warning: both are left out, whatever
//! `RUST_LOG` says, unless `[log] messages` allows them.

use crate::config::{Log, LogFormat};
use std::{
    io::{self, Write},
    sync::Mutex,
};
use tracing::{Level, Metadata};
use tracing_subscriber::{
    Layer,
    filter::{Targets, filter_fn},
    fmt,
    fmt::writer::{BoxMakeWriter, MakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// The target under which messages are written.
const MESSAGES: &str = "chatctl::messages";

/// Starts logging. `timed`: lines carry their time; not so under a supervisor, which puts its own before each. JSON
/// always does.
pub(super) fn start(log: &Log, timed: bool) {
    let writer = if is_journal() { BoxMakeWriter::new(Journal) } else { BoxMakeWriter::new(io::stderr) };
    start_with(log, timed, writer, super::takes_colour(&io::stderr()));
}

/// Starts logging to a file of one's own, in whole lines.
pub(super) fn start_in(file: impl Write + Send + 'static, log: &Log) {
    start_with(log, true, BoxMakeWriter::new(Mutex::new(file)), false);
}

/// Whether standard error is systemd's journal (`JOURNAL_STREAM`, systemd.exec(5)): who starts others hands on the
/// variable, and not the stream.
fn is_journal() -> bool {
    let is = || {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        let (device, inode) = stream.split_once(':')?;
        let own = rustix::fs::fstat(io::stderr()).ok()?;
        Some((own.st_dev, own.st_ino) == (device.parse().ok()?, inode.parse().ok()?))
    };
    is() == Some(true)
}

/// Standard error with the priority before each line, as the journal takes it (sd-daemon(3)).
struct Journal;

/// Of one event.
struct Prioritised(&'static [u8]);

impl<'a> MakeWriter<'a> for Journal {
    type Writer = Prioritised;

    fn make_writer(&'a self) -> Prioritised {
        Prioritised(b"<6>")
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Prioritised {
        Prioritised(match *event.level() {
            Level::ERROR => b"<3>",
            Level::WARN => b"<4>",
            Level::INFO => b"<6>",
            _ => b"<7>",
        })
    }
}

impl Write for Prioritised {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let lines = event.split_inclusive(|byte| *byte == b'\n');
        // At once: no other thread's lines come between.
        io::stderr().write_all(&lines.flat_map(|line| [self.0, line]).collect::<Vec<_>>().concat())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
