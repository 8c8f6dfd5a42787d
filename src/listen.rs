//! Where clients connect: how it is bound, by a server that runs alone and by a supervisor alike; and what either is
//! handed by who started it. The home of listenfd.

use listenfd::ListenFd;
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
};

/// Connections that may wait in the kernel while nobody accepts, as during a restart.
const BACKLOG: i32 = 4096;

/// Why an address cannot be had, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub(crate) struct Unavailable {
    address: SocketAddr,
    error: io::Error,
}

impl Unavailable {
    /// Somebody listens there already.
    pub(crate) fn is_taken(&self) -> bool {
        self.error.kind() == io::ErrorKind::AddrInUse
    }

    fn text(&self) -> String {
        let Self { address, error } = self;
        match error.kind() {
            io::ErrorKind::AddrInUse => {
                let port = address.port();
                format!(
                    "{address} is in use by another program: stop it (`ss -ltnp sport = :{port}` names it), or listen elsewhere"
                )
            }
            io::ErrorKind::PermissionDenied => {
                format!("{address}: ports below 1024 need root or CAP_NET_BIND_SERVICE")
            }
            io::ErrorKind::AddrNotAvailable => format!("{address}: this machine has no such address"),
            _ => format!("cannot listen on {address}: {error}"),
        }
    }
}

/// Listens there.
///
/// # Errors
/// The address cannot be had.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, Unavailable> {
    let bound = TcpListener::bind(address).and_then(|listener| widen(&listener).map(|()| listener));
    bound.map_err(|error| Unavailable { address, error })
}

/// Lets as many wait as may be necessary.
///
/// # Errors
/// It is no socket that listens.
pub(crate) fn widen(listener: &TcpListener) -> io::Result<()> {
    Ok(rustix::net::listen(listener, BACKLOG)?)
}

/// Sockets found in `LISTEN_FDS` (systemd's socket activation protocol, sd_listen_fds(3)): TCP sockets are where clients
/// connect, the first Unix socket is the control API, and a second one is where to wait for one's turn.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// Where clients connect, each with its name. A server has one, a supervisor one for each app.
    pub(crate) chats: Vec<(String, TcpListener)>,
    /// Where the supervisor asks for `/stats`.
    pub(crate) control: Option<UnixListener>,
    /// Where the supervisor says that it is this server's turn; without it, it always is.
    pub(crate) go: Option<UnixStream>,
}

impl Inherited {
    /// Takes them over. Must be called before the process has threads: it edits the environment.
    pub(crate) fn from_env() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut fds = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..fds.len() {
            let name = names.next().unwrap_or_default();
            if let Ok(Some(listener)) = fds.take_tcp_listener(index) {
                inherited.chats.push((name.to_owned(), listener));
            } else if inherited.control.is_none()
                && let Ok(Some(listener)) = fds.take_unix_listener(index)
            {
                inherited.control = Some(listener);
            } else if inherited.go.is_none()
                && let Ok(Some(stream)) = fds.take_unix_listener(index)
            {
                // Any Unix stream socket passes for a listener there.
                inherited.go = Some(UnixStream::from(OwnedFd::from(stream)));
            }
        }
        inherited
    }

    /// The one that a server has.
    pub(crate) fn chat(&mut self) -> Option<TcpListener> {
        (!self.chats.is_empty()).then(|| self.chats.remove(0).1)
    }
}
