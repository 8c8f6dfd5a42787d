//! Unix sockets of the supervisor: listeners, and the receiving side of `NOTIFY_SOCKET` (sd_notify(3)).

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use std::{
    fs, io,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
};
use tokio::net::UnixDatagram;

/// The longest path a Unix socket can have (sun_path, less its final zero).
const SOCKET_PATH: usize = 107;

/// Longer than what a process says of itself.
const LONGEST: usize = 4096;

/// A path a Unix socket can have.
pub(super) fn fits(path: &Path) -> Result<()> {
    let len = path.as_os_str().len();
    anyhow::ensure!(
        len <= SOCKET_PATH,
        "{} is {len} bytes long, a socket's path at most {SOCKET_PATH}: choose a shorter state_dir",
        path.display()
    );
    Ok(())
}

/// Listens at `path`, for the owner alone, in the place of what an earlier process left there.
pub(super) fn listener(path: &Path) -> Result<UnixListener> {
    fits(path)?;
    fresh(path)?;
    let listener = UnixListener::bind(path).with_context(|| format!("cannot bind {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot protect {}", path.display()))?;
    Ok(listener)
}

/// Connects to a socket, and does not wait for it: who does not accept does not hold up anybody.
///
/// # Errors
/// Nobody listens there, or nobody has accepted for long.
pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

/// What a process says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// It has all it needs and waits to be told to go to work.
    StandsBy,
    /// It is at work.
    Ready,
    /// It was told to go, and has let go of what only one may hold.
    Released,
}

/// Where a process that was given the path as `NOTIFY_SOCKET` says how far it is.
pub(super) struct Notices {
    socket: UnixDatagram,
    status: Option<String>,
}

impl Notices {
    /// Binds it, in the place of an earlier one: what was said there cannot be taken for the new process's word.
    pub(super) fn bind(path: &Path) -> Result<Self> {
        fits(path)?;
        fresh(path)?;
        let socket = UnixDatagram::bind(path).context("cannot bind the readiness socket")?;
        Ok(Self { socket, status: None })
    }

    /// Waits for the next one, with what was said of the state since the one before (`STATUS=`). Nothing is lost when it
    /// is dropped and called again.
    pub(super) async fn next(&mut self) -> (Notice, Option<String>) {
        loop {
            if let Some(notice) = self.hear().await {
                return (notice, self.status.take());
            }
        }
    }

    /// Waits for the next thing that is said, which may be of its state only. Nothing is lost when it is dropped and called
    /// again.
    pub(super) async fn hear(&mut self) -> Option<Notice> {
        let mut message = [0; LONGEST];
        let len = self.socket.recv(&mut message).await.unwrap_or(0);
        self.read(&message[..len])
    }

    /// What it said of its state (`STATUS=`) since that was asked for last, as far as it has been heard.
    pub(super) fn said(&mut self) -> Option<String> {
        self.status.take()
    }

    /// What the process said last of its state (`STATUS=`), after all that it said.
    pub(super) fn status(&mut self) -> Option<String> {
        let mut message = [0; LONGEST];
        while let Ok(len) = self.socket.try_recv(&mut message) {
            let _ = self.read(&message[..len]);
        }
        self.status.take()
    }

    fn read(&mut self, message: &[u8]) -> Option<Notice> {
        let lines = || message.split(|byte| *byte == b'\n');
        if let Some(status) = lines().find_map(|line| line.strip_prefix(b"STATUS=")) {
            self.status = Some(String::from_utf8_lossy(status).trim().to_owned()).filter(|s| !s.is_empty());
        }
        lines().find_map(|line| match line {
            b"READY=1" => Some(Notice::Ready),
            b"X_CHATCTL=standby" => Some(Notice::StandsBy),
            b"X_CHATCTL=released" => Some(Notice::Released),
            _ => None,
        })
    }
}

fn fresh(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot replace {}", path.display()))
        }
        _ => Ok(()),
    }
}
