//! Where a request comes from: the peer of its connection, or, where that is a trusted proxy, whom the proxy names.
//!
//! Two ways of naming are understood, by trusted peers only: a PROXY protocol header before all else on the connection
//! (<https://www.haproxy.org/download/3.1/doc/proxy-protocol.txt>, versions 1 and 2), and `X-Forwarded-For` in each
//! request. Whatever others say of themselves is ignored.

use http::HeaderMap;
use ipnet::IpNet;
use ppp::{HeaderResult, v1, v2};
use std::{
    io,
    net::{IpAddr, SocketAddr},
};
use tokio::{io::AsyncReadExt, net::TcpStream};

/// The longest PROXY header that is taken: addresses, and what proxies add of TLS.
const LONGEST: usize = 4096;

/// The address of the client that sent a request; in the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source(pub(super) IpAddr);

/// Who may speak for others.
#[derive(Debug, Clone)]
pub(super) struct Proxies(pub(super) Vec<IpNet>);

impl Proxies {
    /// Whether this is one of them.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        contains(&self.0, address)
    }

    /// Whom a connection of this peer stands for: read from a PROXY header, if a trusted peer begins with one.
    ///
    /// # Errors
    /// A trusted peer sends half a header, or nothing.
    pub(super) async fn peer(&self, stream: &mut TcpStream, peer: IpAddr) -> io::Result<IpAddr> {
        if !self.trusts(peer) {
            return Ok(peer);
        }
        let mut start = [0; LONGEST];
        // A proxy sends its header at once (section 2); what begins otherwise is left for whoever reads on.
        let seen = stream.peek(&mut start).await?;
        let Some((length, named)) = header(&start[..seen])? else { return Ok(peer) };
        stream.read_exact(&mut start[..length]).await?;
        Ok(named.unwrap_or(peer).to_canonical())
    }

    /// What comes after the PROXY header at the start of a connection of this peer, where it begins with a whole one.
    pub(super) fn after_header<'a>(&self, peer: IpAddr, start: &'a [u8]) -> &'a [u8] {
        match header(start) {
            Ok(Some((length, _))) if self.trusts(peer) => start.get(length..).unwrap_or_default(),
            _ => start,
        }
    }

    /// Whom a request on a connection that stands for `peer` comes from: the last in `X-Forwarded-For` that is no
    /// trusted proxy itself.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        if !self.trusts(peer) {
            return client;
        }
        let named = headers
            .get_all("x-forwarded-for")
            .iter()
            .flat_map(|value| value.as_bytes().split(|b| *b == b','));
        for named in named.collect::<Vec<_>>().into_iter().rev() {
            let Some(address) = address(named) else { break };
            client = address;
            if !self.trusts(address) {
                break;
            }
        }
        client
    }
}

/// Whether one of the networks has the address.
pub(super) fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// The length of the PROXY header at the start of a connection, and whom it names; `None`: there is none.
fn header(start: &[u8]) -> io::Result<Option<(usize, Option<IpAddr>)>> {
    const SIGNATURES: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];
    if !SIGNATURES.iter().any(|signature| start.starts_with(signature)) {
        return Ok(None);
    }
    let broken = |error: String| io::Error::new(io::ErrorKind::InvalidData, format!("PROXY header: {error}"));
    match HeaderResult::parse(start) {
        HeaderResult::V1(header) => {
            let header = header.map_err(|error| broken(error.to_string()))?;
            let named = match header.addresses {
                v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
                v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
                v1::Addresses::Unknown => None,
            };
            Ok(Some((header.header.len(), named)))
        }
        HeaderResult::V2(header) => {
            let header = header.map_err(|error| broken(error.to_string()))?;
            let named = match header.addresses {
                // The proxy speaks for itself: its health check.
                _ if header.command == v2::Command::Local => None,
                v2::Addresses::IPv4(addresses) => Some(addresses.source_address.into()),
                v2::Addresses::IPv6(addresses) => Some(addresses.source_address.into()),
                v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
            };
            Ok(Some((header.len(), named)))
        }
    }
}

/// An address as proxies write it: with a port or without, IPv6 in brackets or bare.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = || text.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let address = bare().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proxies() -> Proxies {
        Proxies(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()])
    }

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        proxies().client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_trusted_peers_may_name_somebody_else() {
        for (peer, forwarded, who) in [
            ("192.0.2.1", &["1.2.3.4"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
            // What the client itself claims stands before what the proxy has added.
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6", "1.2.3.4, 10.0.0.7"], "1.2.3.4"),
            ("10.0.0.1", &["10.0.0.9"], "10.0.0.9"),
            ("10.0.0.1", &["1.2.3.4, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4:567"], "1.2.3.4"),
            ("::1", &["[2001:db8::1]:567"], "2001:db8::1"),
            ("::1", &["2001:db8::1"], "2001:db8::1"),
            ("::1", &["::ffff:1.2.3.4"], "1.2.3.4"),
        ] {
            assert_eq!(client(peer, forwarded), who, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn proxy_headers_are_read_and_no_more_than_them() {
        let v2 = |command: u8, rest: &[u8]| {
            let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
            [
                b"\r\n\r\n\0\r\nQUIT\n",
                &[0x20 | command, if command == 0 { 0 } else { 0x11 }][..],
                &length,
                rest,
            ]
            .concat()
        };
        let tcp4 = [1, 2, 3, 4, 5, 6, 7, 8, 0, 80, 1, 187];
        for (start, expect) in [
            (b"GET / HTTP/1.1\r\n".to_vec(), Some(None)),
            (b"POST / HTTP/1.1\r\n".to_vec(), Some(None)),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\nGET /".to_vec(), Some(Some((35, Some("1.2.3.4"))))),
            (b"PROXY UNKNOWN\r\n".to_vec(), Some(Some((15, None)))),
            (b"PROXY TCP4 1.2.3.4 5.6".to_vec(), None),
            (b"PROXY TCP4 a b c d\r\n".to_vec(), None),
            ([v2(1, &tcp4), b"GET".to_vec()].concat(), Some(Some((28, Some("1.2.3.4"))))),
            (v2(0, &[]), Some(Some((16, None)))),
            (v2(1, &tcp4)[..20].to_vec(), None),
        ] {
            let expect = expect.map(|found| {
                found.map(|(length, named)| (length, named.map(|named| named.parse::<IpAddr>().unwrap())))
            });
            assert_eq!(header(&start).ok(), expect, "{:?}", String::from_utf8_lossy(&start));
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_it_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), v2 in any::<bool>()) {
            let signature: &[u8] = if v2 { b"\r\n\r\n\0\r\nQUIT\n" } else { b"PROXY TCP" };
            if let Ok(Some((length, _))) = header(&[signature, &bytes].concat()) {
                prop_assert!(length <= signature.len() + bytes.len());
            }
            address(&bytes);
        }
    }
}
