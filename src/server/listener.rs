//! The sockets a chat server listens on: inherited from the supervisor or systemd, or bound here.

use std::{net::TcpListener, os::unix::net::UnixListener};

/// Sockets found in `LISTEN_FDS`, told apart by `LISTEN_FDNAMES`.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// `chat`: where clients connect.
    pub(crate) chat: Option<TcpListener>,
    /// `control`: where the supervisor asks for `/stats`.
    pub(crate) control: Option<UnixListener>,
}

impl Inherited {
    pub(crate) fn from_env() -> Self {
        Self::default()
    }
}
