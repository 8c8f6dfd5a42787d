//! The sockets of an app, held for its life and longer than any child: what connects while none is there waits in them.

use super::unix;
use crate::control::client;
use anyhow::Result;
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::Path,
};

/// Connections that may wait in the kernel while no child accepts.
const BACKLOG: i32 = 4096;

/// See the module.
pub(super) struct Sockets {
    /// Where clients connect; a program of its own has its own.
    pub(super) chat: Option<TcpListener>,
    /// Where the child answers questions after its health.
    pub(super) control: UnixListener,
}

impl Sockets {
    /// Binds them; `run` is the folder of the Unix sockets.
    ///
    /// # Errors
    /// Says which socket, why, and what to do.
    pub(super) fn bind(app: &str, address: Option<SocketAddr>, run: &Path) -> Result<Self> {
        let chat = address.map(listen).transpose()?;
        Ok(Self { chat, control: unix::listener(&client::stats_socket(run, app))? })
    }

    /// The same, for clients elsewhere.
    ///
    /// # Errors
    /// As [`Sockets::bind`].
    pub(super) fn moved(&self, address: Option<SocketAddr>) -> Result<Self> {
        Ok(Self { chat: address.map(listen).transpose()?, control: self.control.try_clone()? })
    }

    /// The same sockets, once more.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub(super) fn again(&self) -> io::Result<Self> {
        let chat = self.chat.as_ref().map(TcpListener::try_clone).transpose()?;
        Ok(Self { chat, control: self.control.try_clone()? })
    }

    /// Whether it is here that clients are to connect.
    pub(super) fn is_at(&self, address: Option<SocketAddr>) -> bool {
        let bound = self.chat.as_ref().and_then(|chat| chat.local_addr().ok());
        match (bound, address) {
            (Some(bound), Some(address)) => {
                bound.ip() == address.ip() && (address.port() == 0 || bound.port() == address.port())
            }
            (bound, address) => bound == address,
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
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
    Ok(chat)
}
