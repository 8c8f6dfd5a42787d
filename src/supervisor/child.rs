//! The child: one `chatctl serve` process, its inherited sockets, what it says of itself, its end.
//!
//! It is spoken to as systemd speaks to a service: `LISTEN_FDS` with the listener, the control socket and the stream
//! on which it is told to go to work, and `NOTIFY_SOCKET`, on which it says `X_CHATCTL=standby`, `READY=1` and
//! `X_CHATCTL=released`.

use super::{
    logs::Log,
    machine::Exit,
    tree,
    unix::{Notice, Notices},
    version::Version,
};
use anyhow::{Context, Result};
use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::{
            net::UnixStream,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::{Path, PathBuf},
    process::ExitStatus,
};
use tokio::process::Command;

/// A running child.
pub(super) struct Child {
    pub(super) pid: u32,
    process: tokio::process::Child,
    notices: Notices,
    notify_path: PathBuf,
}

/// What a child does by itself.
pub(super) enum News {
    /// It said something of itself.
    Said(Notice),
    /// It is gone, and how.
    Exited(Exit),
}

impl Child {
    /// Starts one; it stands by until a byte is written to the stream that comes with it. `notify_path` is where it
    /// says how far it is.
    ///
    /// # Errors
    /// The program cannot be run, or its sockets and pipes not made.
    pub(super) fn spawn(version: &Version, notify_path: PathBuf, log: &Log) -> Result<(Self, UnixStream)> {
        let notices = Notices::bind(&notify_path)?;
        let (out, out_writer) = io::pipe()?;
        let (err, err_writer) = io::pipe()?;
        let (go, its_go) = UnixStream::pair()?;
        let program = version.executable();
        let mut command = std::process::Command::new(&program);
        command
            .arg0("chatctl")
            .args(version.arguments())
            .envs(&version.app.env)
            .env("NOTIFY_SOCKET", &notify_path)
            .env("LISTEN_FDS", "3")
            .env("LISTEN_FDNAMES", "chat:control:go")
            .env_remove("LISTEN_PID")
            .stdin(version.text()?)
            .stdout(out_writer)
            .stderr(err_writer)
            .process_group(0);
        command.fd_mappings(vec![
            FdMapping { parent_fd: OwnedFd::from(version.sockets.chat.try_clone()?), child_fd: 3 },
            FdMapping { parent_fd: OwnedFd::from(version.sockets.control.try_clone()?), child_fd: 4 },
            FdMapping { parent_fd: OwnedFd::from(its_go), child_fd: 5 },
        ])?;
        let process = Command::from(command)
            .spawn()
            .with_context(|| format!("cannot run {}", named(&program, &version.app.name)))?;
        log.follow("out", out)?;
        log.follow("err", err)?;
        let pid = process.id().context("the child has no pid")?;
        Ok((Self { pid, process, notices, notify_path }, go))
    }

    /// Waits for what it does next; after [`News::Exited`] there is nothing more.
    pub(super) async fn news(&mut self) -> News {
        tokio::select! {
            status = self.process.wait() => {
                // What it started and left behind goes with it.
                tree::kill(self.pid);
                tree::kill_strays(&format!("NOTIFY_SOCKET={}", self.notify_path.display()));
                let _ = std::fs::remove_file(&self.notify_path);
                News::Exited(match status {
                    Ok(status) => Exit { code: status.code(), how: describe(status) },
                    Err(error) => Exit { code: None, how: format!("cannot be waited for: {error}") },
                })
            }
            notice = self.notices.next() => News::Said(notice),
        }
    }
}

/// Tells a child that stands by to go to work. One that is gone will be missed soon enough.
pub(super) fn go(mut stream: &UnixStream) {
    let _ = stream.write_all(b"g");
}

/// Asks a child to go.
pub(super) fn terminate(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

fn named(program: &Path, app: &str) -> String {
    if program.starts_with("/proc") {
        format!("the held program of {app}")
    } else {
        program.display().to_string()
    }
}

/// How a process ended, in words.
fn describe(status: ExitStatus) -> String {
    let core = if status.core_dumped() { ", core dumped" } else { "" };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}{}{core}", signal_name(signal)),
        (None, None) => status.to_string(),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        3 => " (SIGQUIT)",
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        15 => " (SIGTERM)",
        _ => "",
    }
}
