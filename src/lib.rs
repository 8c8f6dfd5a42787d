//! chatctl: a Socket.IO chat in production, in one binary.
//!
//! # Architecture
//!
//! ```text
//! main -> commands -> { server, supervisor, control, migrate, check, systemd, bench } -> { chat, machine, backoff, listen, certificate, http_client } -> config
//! ```
//!
//! - `chatctl supervise` holds the listening sockets and keeps one child process per app alive.
//! - The child is `chatctl serve`: the chat server. It finds its listener in `LISTEN_FDS` and says
//!   `READY=1` on `NOTIFY_SOCKET`, the protocols systemd speaks, so it runs under systemd alone as well.
//! - A keeper process an app writes the log and holds the sockets too: the chat outlives its supervisor.
//! - `chatctl status` and its like ask the supervisor over a Unix socket in the state directory.
//!
//! # Invariants
//!
//! - `server` and `supervisor` never import each other: they meet as processes.
//! - `chat`, `supervisor::machine` and `supervisor::backoff` know no runtime, no socket and no clock: time is
//!   an argument. A test scans the sources and holds this.
//! - Each foreign crate has one home: clap in `cli`, notify in `supervisor::watch`, sysinfo in
//!   `supervisor::memory`, croner in `supervisor::cron`, ratatui in `top`, socketioxide's parsers in `server::edge`, rusqlite in `server::recovery`,
//!   landlock in `server::sandbox`, libc in `heap`.
//! - Nothing is sent or acknowledged before it is in the journal; the journal never stops the chat.
//! - Every queue is bounded and says what happens when it is full. No message is dropped in silence.
//! - No unsafe code, but for two calls, in `heap`.

mod bench;
mod certificate;
mod chat;
mod check;
mod cli;
mod commands;
mod config;
mod control;
mod error;
mod frames;
mod heap;
mod http_client;
mod listen;
mod lock;
mod migrate;
mod owner;
mod server;
mod slack;
mod supervisor;
mod systemd;
mod top;
#[cfg(feature = "workbench")]
#[doc(hidden)]
pub mod workbench;

use std::process::ExitCode;

/// The program, from its first line to its exit code. It must be called before the process has a second thread.
pub fn run() -> ExitCode {
    // Inherited sockets must be taken before any runtime or thread exists: taking them edits the environment.
    let inherited = listen::Inherited::from_env();
    match commands::run(cli::parse(), inherited) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
