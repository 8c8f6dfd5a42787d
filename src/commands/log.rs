//! Where the commands' own log goes: standard error, levels by `RUST_LOG`.

use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging. `timed`: lines carry their time; not so under a supervisor, which puts its own before each.
pub(super) fn start(timed: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log =
        fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    // A second start in one process keeps the first.
    let _ = if timed { log.try_init().is_ok() } else { log.without_time().try_init().is_ok() };
}
