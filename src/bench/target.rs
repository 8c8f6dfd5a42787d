//! Where the server is, and from where it is reached.

use crate::http_client::tls::{self, Trust};
use anyhow::{Context, Result, bail};
use std::{
    cell::Cell,
    net::{self, IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs},
    time::Duration,
};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

/// A server that does not take a first connection by then is not there.
const FIRST: Duration = Duration::from_secs(5);
/// Connections from one address to another: Linux gives out the ports from 32768 to 60999, less some that others have
/// (ip(7), `ip_local_port_range`).
const PORTS: u32 = 25_000;

/// Where the server is.
#[derive(Debug)]
pub(super) struct Target {
    address: SocketAddr,
    /// By name, where it speaks TLS.
    tls: Option<String>,
    /// For the `Host` of a request.
    pub(super) host: String,
    /// Of the Engine.IO endpoint, with its query so far, open for more: `/socket.io/?EIO=4`.
    pub(super) path: String,
    /// Own addresses that are used in turn; 0: whichever the system takes.
    sources: u8,
    next: Cell<u8>,
}

/// A connection to it.
pub(super) enum Dialled {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Target {
    /// Reads the URL, looks its name up, and whether somebody is there. `at_once`: how many connections there will be
    /// together, those included that linger on in the kernel.
    ///
    /// # Errors
    /// It is no URL of a server, there is no such name, or nobody answers.
    pub(super) fn find(url: &str, at_once: u32) -> Result<Self> {
        let Place { tls, host, path } = read(url)?;
        let addresses = host.to_socket_addrs().with_context(|| format!("{host} is not known"))?;
        let mut refused = None;
        for address in addresses {
            match net::TcpStream::connect_timeout(&address, FIRST) {
                Ok(_) => {
                    let sources = sources(address.ip(), at_once);
                    return Ok(Self { address, tls, host, path, sources, next: Cell::new(0) });
                }
                Err(error) => refused = Some(format!("{address}: {error}")),
            }
        }
        bail!("no server answers at {url}: {}", refused.unwrap_or_else(|| "it has no address".to_owned()))
    }

    /// Connects.
    ///
    /// # Errors
    /// The server is not there, does not speak TLS where it should, or this machine has no port left.
    pub(super) async fn dial(&self) -> Result<Dialled> {
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(source) = self.source() {
            socket.bind(source)?;
        }
        let stream = socket.connect(self.address).await.context("not connected")?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Dialled::Plain(stream),
            Some(name) => Dialled::Tls(Box::new(tls::connect(stream, name, Trust::Anybody).await?)),
        })
    }

    /// From where the next connection is made; `None`: the system decides.
    fn source(&self) -> Option<SocketAddr> {
        let n = self.next.get();
        self.next.set((n + 1) % self.sources.max(1));
        (self.sources > 0).then(|| SocketAddr::from((Ipv4Addr::new(127, 0, 1, n + 1), 0)))
    }
}

/// What a URL says; see [`Target`].
struct Place {
    tls: Option<String>,
    host: String,
    path: String,
}

fn read(url: &str) -> Result<Place> {
    let uri: http::Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
    let host = uri.host().unwrap_or_default();
    let (tls, port) = match uri.scheme_str() {
        Some("http" | "ws") => (None, 80),
        Some("https" | "wss") => (Some(host.trim_matches(['[', ']']).to_owned()), 443),
        _ => bail!("{url:?} is no URL of a server: write it as http://127.0.0.1:3000"),
    };
    let path = if uri.path() == "/" { "/socket.io/" } else { uri.path() };
    let query = uri.query().map(|query| format!("{query}&")).unwrap_or_default();
    let host = format!("{host}:{}", uri.port_u16().unwrap_or(port));
    Ok(Place { tls, host, path: format!("{path}?{query}EIO=4") })
}

/// To the machine itself there are as many addresses to come from as one likes: the whole of 127.0.0.0/8.
fn sources(target: IpAddr, at_once: u32) -> u8 {
    let is_here = matches!(target, IpAddr::V4(ip) if ip.is_loopback());
    if is_here && at_once > PORTS { u8::try_from(at_once.div_ceil(PORTS)).unwrap_or(250).min(250) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_socket_io_clients_read_them() {
        for (url, expect) in [
            ("http://localhost:3000", Some((None, "localhost:3000", "/socket.io/?EIO=4"))),
            ("ws://10.0.0.1/", Some((None, "10.0.0.1:80", "/socket.io/?EIO=4"))),
            ("http://[::1]:1/chat/?a=b", Some((None, "[::1]:1", "/chat/?a=b&EIO=4"))),
            ("https://example.com", Some((Some("example.com"), "example.com:443", "/socket.io/?EIO=4"))),
            ("wss://[::1]:1", Some((Some("::1"), "[::1]:1", "/socket.io/?EIO=4"))),
            ("localhost:3000", None),
            ("ftp://example.com", None),
            ("", None),
        ] {
            let read = read(url).ok();
            let read =
                read.as_ref().map(|read| (read.tls.as_deref(), read.host.as_str(), read.path.as_str()));
            assert_eq!(read, expect, "{url}");
        }
    }

    #[test]
    fn many_connections_come_from_many_addresses_of_this_machine() {
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, 1]));
        assert_eq!(sources(here, 25_000), 0);
        assert_eq!(sources(here, 25_001), 2);
        assert_eq!(sources(here, u32::MAX), 250);
        assert_eq!(sources(there, 100_000), 0);
    }
}
