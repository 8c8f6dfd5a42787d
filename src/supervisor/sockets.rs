//! The sockets of an app, held for its life and longer than any child: what connects while none is there waits in them.

use super::unix;
use crate::{control::client, listen};
use anyhow::{Result, bail};
use rustix::fs::fstat;
use std::{
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// Every address that is listened on for some app. An app that takes another's address, because that was renamed or
/// they swapped, gets the same socket: whoever waits in it is served by the one or the other, and nobody is refused.
#[derive(Default)]
pub(super) struct Doors(Mutex<Vec<(SocketAddr, Weak<TcpListener>)>>);

impl Doors {
    /// Listens there, or shares what is held for another app that is about to leave it.
    ///
    /// # Errors
    /// Says why not, and what to do.
    fn open(&self, address: SocketAddr) -> Result<Arc<TcpListener>> {
        let open = self.known();
        if let Some((_, held)) = open.iter().find(|(at, _)| *at == address && address.port() != 0) {
            return Ok(held.clone());
        }
        match listen::bind(address) {
            Ok(listener) => Ok(self.know(listener)),
            Err(error) => {
                let own = open.iter().find(|(at, _)| error.is_taken() && at.port() == address.port());
                let Some((own, _)) = own else { return Err(error.into()) };
                bail!(
                    "{address} cannot be had beside {own}, which is let go of some seconds after `chatctl stop`"
                )
            }
        }
    }

    fn known(&self) -> Vec<(SocketAddr, Arc<TcpListener>)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, held)| held.strong_count() > 0);
        known.iter().filter_map(|(at, held)| Some((*at, held.upgrade()?))).collect()
    }

    /// This one is listened on already.
    pub(super) fn know(&self, listener: TcpListener) -> Arc<TcpListener> {
        let listener = Arc::new(listener);
        if let Ok(address) = listener.local_addr() {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.push((address, Arc::downgrade(&listener)));
        }
        listener
    }
}

/// See the module.
pub(super) struct Sockets {
    /// Where clients connect; a program of its own has its own.
    pub(super) chat: Option<Arc<TcpListener>>,
    /// Where the child answers questions after its health.
    pub(super) control: UnixListener,
}

impl Sockets {
    /// Binds them; `run` is the folder of the Unix sockets.
    ///
    /// # Errors
    /// Says which socket, why, and what to do.
    pub(super) fn bind(app: &str, address: Option<SocketAddr>, run: &Path, doors: &Doors) -> Result<Self> {
        let chat = address.map(|address| doors.open(address)).transpose()?;
        Ok(Self { chat, control: unix::listener(&client::stats_socket(run, app))? })
    }

    /// The same for an app as it is now, as far as they are still what it needs.
    ///
    /// # Errors
    /// As [`Sockets::bind`].
    pub(super) fn renewed(
        &self,
        app: &str,
        address: Option<SocketAddr>,
        run: &Path,
        doors: &Doors,
    ) -> Result<Self> {
        let there = self.is_at(address);
        let chat = if there { self.chat.clone() } else { address.map(|at| doors.open(at)).transpose()? };
        let path = client::stats_socket(run, app);
        let control = if path.exists() { self.control.try_clone()? } else { unix::listener(&path)? };
        Ok(Self { chat, control })
    }

    /// Whether both answer the supervisor on one and the same socket.
    pub(super) fn has_control_of(&self, other: &Self) -> bool {
        let inode = |sockets: &Self| fstat(&sockets.control).map(|stat| stat.st_ino).ok();
        inode(self).is_some_and(|own| inode(other) == Some(own))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shared_while_it_is_held_and_free_when_it_is_not() {
        let doors = Doors::default();
        let first = doors.open("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let second = doors.open(address).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
        let error = doors.open(everywhere).unwrap_err().to_string();
        assert!(error.contains("cannot be had beside 127.0.0.1"), "{error}");
        drop((first, second));
        doors.open(everywhere).unwrap();
    }
}
