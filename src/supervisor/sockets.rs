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
    /// Where clients connect.
    pub(super) chat: TcpListener,
    /// Where the child answers questions after its health.
    pub(super) control: UnixListener,
}

impl Sockets {
    /// Binds them; `run` is the folder of the Unix sockets.
    ///
    /// # Errors
    /// Says which socket, why, and what to do.
    pub(super) fn bind(app: &str, address: SocketAddr, run: &Path) -> Result<Self> {
        let chat = listen(address)?;
        Ok(Self { chat, control: unix::listener(&client::stats_socket(run, app))? })
    }

    /// The same, for clients elsewhere.
    ///
    /// # Errors
    /// As [`Sockets::bind`].
    pub(super) fn moved(&self, address: SocketAddr) -> Result<Self> {
        Ok(Self { chat: listen(address)?, control: self.control.try_clone()? })
    }

    /// The same sockets, once more.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub(super) fn again(&self) -> io::Result<Self> {
        Ok(Self { chat: self.chat.try_clone()?, control: self.control.try_clone()? })
    }

    /// Whether it is here that clients are to connect.
    pub(super) fn is_at(&self, address: SocketAddr) -> bool {
        self.chat.local_addr().is_ok_and(|bound| {
            bound.ip() == address.ip() && (address.port() == 0 || bound.port() == address.port())
        })
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
