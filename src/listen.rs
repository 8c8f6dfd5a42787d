//! Where clients connect: how it is bound, by a server that runs alone and by a supervisor alike.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

/// Connections that may wait in the kernel while nobody accepts, as during a restart.
const BACKLOG: i32 = 4096;

/// Why an address cannot be had, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub(crate) struct Unavailable {
    address: SocketAddr,
    source: io::Error,
}

impl Unavailable {
    /// Somebody listens there already.
    pub(crate) fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }

    fn text(&self) -> String {
        let Self { address, source } = self;
        match source.kind() {
            io::ErrorKind::AddrInUse => {
                format!("{address} is in use by another program: stop it, or listen elsewhere")
            }
            io::ErrorKind::PermissionDenied => {
                format!("{address}: ports below 1024 need root or CAP_NET_BIND_SERVICE")
            }
            io::ErrorKind::AddrNotAvailable => format!("{address}: this machine has no such address"),
            _ => format!("cannot listen on {address}: {source}"),
        }
    }
}

/// Listens there.
///
/// # Errors
/// The address cannot be had.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, Unavailable> {
    let bound = TcpListener::bind(address)
        .and_then(|listener| Ok(rustix::net::listen(&listener, BACKLOG).map(|()| listener)?));
    bound.map_err(|source| Unavailable { address, source })
}
