//! The child: one `chatctl serve` process, its inherited sockets, what it says of itself, its end.
//!
//! It is spoken to as systemd speaks to a service: `LISTEN_FDS` with the listener, the control socket and the stream
//! on which it is told to go to work, and `NOTIFY_SOCKET`, on which it says `X_CHATCTL=standby`, `READY=1` and
//! `X_CHATCTL=released`.

use super::{
    machine::Exit,
    tree,
    unix::{Notice, Notices},
    version::Version,
};
use crate::{config::KillSignal, control::descriptors};
use anyhow::{Context, Result};
use command_fds::{CommandFdExt, FdMapping};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{
        Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process, kill_process_group, pidfd_open,
        setpriority_process, setrlimit,
    },
};
use std::{
    ffi::OsStr,
    io::Write,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            net::UnixStream,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::{Path, PathBuf},
    process::ExitStatus,
    thread,
};
use tokio::{process::Command, task::JoinHandle};

/// A running child.
pub(super) struct Child {
    pub(super) pid: u32,
    process: Process,
    notices: Notices,
    notify_path: PathBuf,
}

enum Process {
    Own(Box<tokio::process::Child>),
    /// An earlier supervisor started it: its end is seen, not how.
    Adopted(JoinHandle<()>),
}

/// What a child does by itself.
pub(super) enum News {
    /// It said something of itself, and in words (`STATUS=`) where it says more.
    Said(Notice, Option<String>),
    /// It is gone, how, and what it said of it before (`STATUS=`).
    Exited(Exit, Option<String>),
}

impl Child {
    /// Starts one; it stands by until a byte is written to the stream that comes with it. `notify_path` is where it
    /// says how far it is.
    ///
    /// # Errors
    /// The program cannot be run, or its sockets and pipes not made.
    pub(super) fn spawn(version: &Version, notify_path: PathBuf) -> Result<(Self, UnixStream)> {
        let notices = Notices::bind(&notify_path)?;
        let held = version.held().context("its sockets were given up")?;
        let (go, its_go) = UnixStream::pair()?;
        let mut command = version.command(&notify_path)?;
        command
            .envs(&version.app.env)
            .env("NOTIFY_SOCKET", &notify_path)
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            // systemd's watchdog is the supervisor's, if anybody's.
            .env_remove("WATCHDOG_USEC")
            .env_remove("WATCHDOG_PID")
            .stdout(held.out.try_clone()?)
            .stderr(held.err.try_clone()?)
            .process_group(0);
        if let Some(chat) = &held.sockets.chat {
            command.env("LISTEN_FDS", "3").env("LISTEN_FDNAMES", "chat:control:go");
            let fds =
                [chat.try_clone()?.into(), held.sockets.control.try_clone()?.into(), OwnedFd::from(its_go)];
            let mappings =
                fds.into_iter().zip(3..).map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
            command.fd_mappings(mappings.collect())?;
        }
        let named = format!("cannot run {}", command.get_program().display());
        let start = || with_nofile(version.app.nofile, || Command::from(command).spawn());
        let process = with_nice(version.app.nice, start)??.context(named)?;
        let pid = process.id().context("the child has no pid")?;
        Ok((Self { pid, process: Process::Own(Box::new(process)), notices, notify_path }, go))
    }

    /// Takes over one that runs already.
    ///
    /// # Errors
    /// It is gone, or its readiness socket not to be had.
    pub(super) fn adopt(pid: u32) -> Result<Self> {
        let process = pidfd_open(pid_of(pid).context("no pid")?, PidfdFlags::empty())?;
        let process = tokio::task::spawn_blocking(move || {
            while let Err(Errno::INTR) = poll(&mut [PollFd::new(&process, PollFlags::IN)], None) {}
        });
        let environ = std::fs::read(format!("/proc/{pid}/environ"))?;
        let notify =
            environ.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(b"NOTIFY_SOCKET="));
        let notify_path = PathBuf::from(OsStr::from_bytes(notify.context("it has no readiness socket")?));
        let notices = Notices::bind(&notify_path)?;
        Ok(Self { pid, process: Process::Adopted(process), notices, notify_path })
    }

    /// Where it says how far it is.
    pub(super) fn notify_path(&self) -> &Path {
        &self.notify_path
    }

    /// Waits for what it does next; after [`News::Exited`] there is nothing more.
    pub(super) async fn news(&mut self) -> News {
        tokio::select! {
            exit = self.process.ended() => {
                // What it started and left behind goes with it.
                tree::kill(self.pid);
                tree::kill_strays(&format!("NOTIFY_SOCKET={}", self.notify_path.display()));
                let _ = std::fs::remove_file(&self.notify_path);
                News::Exited(exit, self.notices.status())
            }
            (notice, status) = self.notices.next() => News::Said(notice, status),
        }
    }
}

impl Process {
    async fn ended(&mut self) -> Exit {
        match self {
            Self::Own(process) => match process.wait().await {
                Ok(status) => Exit { code: status.code(), how: describe(status) },
                Err(error) => Exit { code: None, how: format!("cannot be waited for: {error}") },
            },
            Self::Adopted(process) => {
                let _ = process.await;
                Exit {
                    code: None,
                    how: "ended; how is not known, an earlier supervisor started it".to_owned(),
                }
            }
        }
    }
}

/// Tells a child that stands by to go to work. One that is gone will be missed soon enough.
pub(super) fn go(mut stream: &UnixStream) {
    let _ = stream.write_all(b"g");
}

/// Tells a child that files have changed which it reads by itself.
pub(super) fn hang_up(pid: u32) {
    if let Some(pid) = pid_of(pid) {
        let _ = kill_process(pid, Signal::HUP);
    }
}

/// Tells a child that stands by to take over from the one whose control socket this is connected to.
pub(super) fn hand_over(stream: &UnixStream, from: &UnixStream) {
    // One that is gone will be missed soon enough.
    let _ = descriptors::send(stream, b"h", &[from.as_fd()]);
}

/// Asks a child to go. Two signals come from a terminal else, where everything that runs there is meant: so are they
/// sent to the child's whole group.
pub(super) fn terminate(pid: u32, by: KillSignal) {
    let Some(pid) = pid_of(pid) else { return };
    let _ = match by {
        KillSignal::Int => kill_process_group(pid, Signal::INT),
        KillSignal::Quit => kill_process_group(pid, Signal::QUIT),
        KillSignal::Term => kill_process(pid, Signal::TERM),
        KillSignal::Hup => kill_process(pid, Signal::HUP),
        KillSignal::Usr1 => kill_process(pid, Signal::USR1),
        KillSignal::Usr2 => kill_process(pid, Signal::USR2),
    };
}

fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Does it under another limit of open files, which what is started meanwhile inherits.
fn with_nofile<T>(limit: Option<u64>, start: impl FnOnce() -> T) -> Result<T> {
    let Some(limit) = limit else { return Ok(start()) };
    let own = getrlimit(Resource::Nofile);
    let maximum = own.maximum.map(|maximum| maximum.max(limit));
    setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum })
        .with_context(|| format!("nofile = {limit} is more than this supervisor may give"))?;
    let started = start();
    setrlimit(Resource::Nofile, own)?;
    Ok(started)
}

/// Does it at another priority, which what is started meanwhile inherits: what is given to a program that runs already
/// comes too late for what it has done by then, and for its threads. On a thread of its own, since a priority is a
/// thread's (nice(2), "C library/kernel differences"), and who has lowered its own may not be able to raise it again.
fn with_nice<T: Send>(nice: Option<i32>, start: impl FnOnce() -> T + Send) -> Result<T> {
    let Some(nice) = nice else { return Ok(start()) };
    let runtime = tokio::runtime::Handle::current();
    let start = move || {
        let _context = runtime.enter();
        setpriority_process(None, nice)
            .with_context(|| format!("nice = {nice} takes more rights than this supervisor has"))?;
        Ok(start())
    };
    let started = thread::scope(|scope| scope.spawn(start).join());
    started.unwrap_or_else(|_| Err(anyhow::anyhow!("a bug: it could not be started")))
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
