//! The child: one `chatctl serve` process, its inherited sockets, its readiness, its end.
//!
//! It is spoken to as systemd speaks to a service: `LISTEN_FDS` with the listener and the control socket, and
//! `NOTIFY_SOCKET`, on which it says `READY=1`.

use super::{
    logs::Log,
    unix::{self, Readiness},
};
use crate::control::client;
use anyhow::{Context, Result};
use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::{
    collections::BTreeMap,
    io,
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::{net::UnixListener, process::CommandExt, process::ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};
use tokio::process::Command;

/// Connections that may wait in the kernel while no child accepts.
const BACKLOG: i32 = 4096;

/// What every start of an app has in common.
pub(super) struct Launch {
    /// The program, by its path: one that was replaced meanwhile is picked up.
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
}

/// The sockets of an app, held for its life: what connects while no child is there waits in them.
pub(super) struct Sockets {
    pub(super) chat: TcpListener,
    control: UnixListener,
    notify_path: PathBuf,
}

impl Sockets {
    /// Binds them; `run` is the folder of the Unix sockets.
    ///
    /// # Errors
    /// Says which socket, why, and what to do.
    pub(super) fn bind(app: &str, address: std::net::SocketAddr, run: &Path) -> Result<Self> {
        let chat = TcpListener::bind(address).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                anyhow::anyhow!("{address} is in use by another program: stop it, or listen elsewhere")
            }
            io::ErrorKind::PermissionDenied => {
                anyhow::anyhow!("{address}: ports below 1024 need root or CAP_NET_BIND_SERVICE")
            }
            _ => anyhow::anyhow!("cannot listen on {address}: {error}"),
        })?;
        rustix::net::listen(&chat, BACKLOG)?;
        let control = unix::listener(&client::stats_socket(run, app))?;
        let notify_path = run.join(format!("{app}.notify"));
        unix::fits(&notify_path)?;
        Ok(Self { chat, control, notify_path })
    }
}

/// A running child.
pub(super) struct Child {
    pub(super) pid: u32,
    process: tokio::process::Child,
    readiness: Readiness,
}

/// What a child does by itself.
pub(super) enum News {
    /// It said that it is ready.
    Ready,
    /// It is gone, and how.
    Exited(String),
}

impl Child {
    /// Starts one.
    ///
    /// # Errors
    /// The program cannot be run, or its sockets and pipes not made.
    pub(super) fn spawn(launch: &Launch, sockets: &Sockets, log: &Log) -> Result<Self> {
        let readiness = Readiness::bind(&sockets.notify_path)?;
        let (out, out_writer) = io::pipe()?;
        let (err, err_writer) = io::pipe()?;
        let mut command = std::process::Command::new(&launch.program);
        command
            .args(&launch.arguments)
            .envs(&launch.env)
            .env("NOTIFY_SOCKET", &sockets.notify_path)
            .env("LISTEN_FDS", "2")
            .env("LISTEN_FDNAMES", "chat:control")
            .env_remove("LISTEN_PID")
            .stdin(Stdio::null())
            .stdout(out_writer)
            .stderr(err_writer)
            .process_group(0);
        command.fd_mappings(vec![
            FdMapping { parent_fd: OwnedFd::from(sockets.chat.try_clone()?), child_fd: 3 },
            FdMapping { parent_fd: OwnedFd::from(sockets.control.try_clone()?), child_fd: 4 },
        ])?;
        let process = Command::from(command)
            .spawn()
            .with_context(|| format!("cannot run {}", launch.program.display()))?;
        log.follow("out", out)?;
        log.follow("err", err)?;
        let pid = process.id().context("the child has no pid")?;
        Ok(Self { pid, process, readiness })
    }

    /// Waits for what it does next; after [`News::Exited`] there is nothing more.
    pub(super) async fn news(&mut self) -> News {
        tokio::select! {
            status = self.process.wait() => {
                // What it started and left behind goes with it.
                let _ = Self::signal_group(self.pid, Signal::KILL);
                News::Exited(match status {
                    Ok(status) => describe(status),
                    Err(error) => format!("cannot be waited for: {error}"),
                })
            }
            () = self.readiness.ready() => News::Ready,
        }
    }

    /// Asks it to go.
    pub(super) fn terminate(pid: u32) {
        if let Some(pid) = raw(pid) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Ends it and its process group.
    pub(super) fn kill(pid: u32) {
        let _ = Self::signal_group(pid, Signal::KILL);
    }

    fn signal_group(pid: u32, signal: Signal) -> rustix::io::Result<()> {
        raw(pid).map_or(Ok(()), |pid| kill_process_group(pid, signal))
    }
}

fn raw(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
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
