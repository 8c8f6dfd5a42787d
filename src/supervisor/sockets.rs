//! The sockets of an app, held for its life and longer than any child: what connects while none is there waits in them.

use super::unix;
use crate::{
    config::{App, Config},
    control::client,
    listen,
    lock::lock,
};
use anyhow::{Result, bail};
use rustix::fs::fstat;
use std::{
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::Path,
    sync::{Arc, Mutex, Weak},
};

/// Every address that is listened on for some app. An app that takes another's address, because that was renamed or
/// they swapped, gets the same socket: whoever waits in it is served by the one or the other, and nobody is refused.
///
/// Those that systemd hands over are here for good: it holds them as well, so closing them would free nothing.
#[derive(Default)]
pub(super) struct Doors {
    open: Mutex<Vec<(SocketAddr, Weak<TcpListener>)>>,
    handed: Vec<(String, SocketAddr, Arc<TcpListener>)>,
}

impl Doors {
    /// With these, by name.
    pub(super) fn handed(listeners: Vec<(String, TcpListener)>) -> Self {
        let known = |(name, listener): (String, TcpListener)| {
            let address = listener.local_addr().ok()?;
            // The queue that systemd asked for may be short.
            let _ = listen::widen(&listener);
            Some((name, address, Arc::new(listener)))
        };
        Self { open: Mutex::default(), handed: listeners.into_iter().filter_map(known).collect() }
    }

    /// A socket that was handed over and serves no app is a mistake that nobody else would see.
    pub(super) fn say_what_nobody_takes(&self, config: &Config) {
        for (name, address, _) in &self.handed {
            let takes = |app: &App| app.listen.is_some_and(|at| app.name == *name || is_for(*address, at));
            if !config.enabled().any(takes) {
                tracing::warn!(
                    "systemd hands over a socket named {name:?} at {address}, which no app of chat.toml takes"
                );
            }
        }
    }

    /// The socket that was handed over for this app: by its name, else by its address.
    fn handed_for(&self, app: &str, address: SocketAddr) -> Result<Option<Arc<TcpListener>>> {
        let by_name = self.handed.iter().find(|(name, ..)| name == app);
        if let Some((_, at, _)) = by_name.filter(|(_, at, _)| !serves(*at, address)) {
            bail!("systemd hands over {at} for it, and chat.toml says {address}: make them the same")
        }
        let handed = by_name.or_else(|| self.handed.iter().find(|(_, at, _)| is_for(*at, address)));
        Ok(handed.map(|(.., listener)| listener.clone()))
    }

    /// Listens there, or takes what was handed over, or shares what is held for another app that is about to leave it.
    ///
    /// # Errors
    /// Says why not, and what to do.
    fn open(&self, app: &str, address: SocketAddr) -> Result<Arc<TcpListener>> {
        if let Some(handed) = self.handed_for(app, address)? {
            return Ok(handed);
        }
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
        let mut known = lock(&self.open);
        known.retain(|(_, held)| held.strong_count() > 0);
        known.iter().filter_map(|(at, held)| Some((*at, held.upgrade()?))).collect()
    }

    /// This one is listened on already.
    pub(super) fn know(&self, listener: TcpListener) -> Arc<TcpListener> {
        let listener = Arc::new(listener);
        if let Ok(address) = listener.local_addr() {
            let mut known = lock(&self.open);
            known.push((address, Arc::downgrade(&listener)));
        }
        listener
    }

    /// Whether who connects to `address` comes to a socket bound to `bound`.
    fn leads(&self, bound: SocketAddr, address: SocketAddr) -> bool {
        let handed = self.handed.iter().any(|(_, at, _)| *at == bound);
        if handed { serves(bound, address) } else { is(bound, address) }
    }
}

/// Port 0 is any.
fn is(bound: SocketAddr, address: SocketAddr) -> bool {
    bound.ip() == address.ip() && (address.port() == 0 || bound.port() == address.port())
}

/// systemd's `ListenStream=3000` is `[::]:3000`, and takes IPv4 as well (ipv6(7)).
fn serves(bound: SocketAddr, address: SocketAddr) -> bool {
    let everywhere = bound.is_ipv6() && bound.ip().is_unspecified() && address.ip().is_unspecified();
    is(bound, address) || (everywhere && bound.port() == address.port())
}

/// Whether a socket that was handed over is for who asks for `address`. Any port is none in particular: it may be
/// another's.
fn is_for(bound: SocketAddr, address: SocketAddr) -> bool {
    address.port() != 0 && serves(bound, address)
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
        let chat = address.map(|address| doors.open(app, address)).transpose()?;
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
        let there = self.is_at(address, doors);
        let chat =
            if there { self.chat.clone() } else { address.map(|at| doors.open(app, at)).transpose()? };
        let path = client::stats_socket(run, app);
        let control = if path.exists() { self.control.try_clone()? } else { unix::listener(&path)? };
        Ok(Self { chat, control })
    }

    /// Whether both answer the supervisor on one and the same socket.
    pub(super) fn has_control_of(&self, other: &Self) -> bool {
        let inode = |sockets: &Self| fstat(&sockets.control).map(|stat| stat.st_ino).ok();
        inode(self).is_some_and(|own| inode(other) == Some(own))
    }

    /// Where clients connect, as it was bound.
    pub(super) fn bound(&self) -> Option<SocketAddr> {
        self.chat.as_ref().and_then(|chat| chat.local_addr().ok())
    }

    /// Whether it is here that clients are to connect.
    pub(super) fn is_at(&self, address: Option<SocketAddr>, doors: &Doors) -> bool {
        match (self.bound(), address) {
            (Some(bound), Some(address)) => doors.leads(bound, address),
            (bound, address) => bound == address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_is_taken_by_name_or_by_address() {
        let listener = |address: &str| TcpListener::bind(address).unwrap();
        let (named, other) = (listener("[::]:0"), listener("127.0.0.1:0"));
        let (at, beside) = (named.local_addr().unwrap(), other.local_addr().unwrap());
        let doors = Doors::handed(vec![("web".to_owned(), named), ("x.socket".to_owned(), other)]);
        let everywhere = SocketAddr::from(([0, 0, 0, 0], at.port()));
        assert_eq!(doors.open("web", everywhere).unwrap().local_addr().unwrap(), at);
        assert!(doors.leads(at, everywhere) && !Doors::default().leads(at, everywhere));
        assert_eq!(doors.open("chat", beside).unwrap().local_addr().unwrap(), beside);
        let error = doors.open("web", beside).unwrap_err().to_string();
        assert!(error.contains("make them the same"), "{error}");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        assert_ne!(
            doors.open("chat", any).unwrap().local_addr().unwrap(),
            beside,
            "any port is not another's"
        );
        assert_eq!(doors.open("x.socket", any).unwrap().local_addr().unwrap(), beside);
    }

    #[test]
    fn an_address_is_shared_while_it_is_held_and_free_when_it_is_not() {
        let doors = Doors::default();
        // None of those that the kernel gives to whoever connects: it is to be free a moment later.
        let some = 10_000 + std::process::id() as u16 % 10_000;
        let mut addresses = (some..32_000).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let (address, first) =
            addresses.find_map(|address| Some((address, doors.open("a", address).ok()?))).unwrap();
        let second = doors.open("b", address).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
        let error = doors.open("c", everywhere).unwrap_err().to_string();
        assert!(error.contains("cannot be had beside 127.0.0.1"), "{error}");
        drop((first, second));
        doors.open("c", everywhere).unwrap();
    }
}
