//! The sockets a chat server inherits from the supervisor or systemd.

use listenfd::ListenFd;
use std::{
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
};

/// Sockets found in `LISTEN_FDS` (systemd's socket activation protocol, sd_listen_fds(3)): the first TCP socket is
/// where clients connect, the first Unix socket is the control API, and a second one is where to wait for one's turn.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// Where clients connect.
    pub(crate) chat: Option<TcpListener>,
    /// Where the supervisor asks for `/stats`.
    pub(crate) control: Option<UnixListener>,
    /// Where the supervisor says that it is this server's turn; without it, it always is.
    pub(crate) go: Option<UnixStream>,
}

impl Inherited {
    /// Takes them over. Must be called before the process has threads: it edits the environment.
    pub(crate) fn from_env() -> Self {
        let mut fds = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..fds.len() {
            if inherited.chat.is_none()
                && let Ok(Some(listener)) = fds.take_tcp_listener(index)
            {
                inherited.chat = Some(listener);
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
}
