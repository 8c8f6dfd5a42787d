//! Engine.IO and Socket.IO: frames of WebSocket connections, and bodies of a polling session, through a whole server.
//!
//! The first byte says which server and which protocol. The parts after it, between bytes 0xff, each begin with a letter:
//! frames T(ext), t(ext, with more to come), B(inary), K(ontinuation), P(ing), O(=pong), C(lose), Z(ipped), A(ny, its
//! first byte as it is), R(aw bytes); N(ew connection, with this query); L(ong-polling: a POST), G(ET), E(nd of it).
#![no_main]

use chatctl_fuzz::{Server, server, wire};
use libfuzzer_sys::fuzz_target;
use std::net::TcpStream;

/// One input's connections at most.
const CONNECTIONS: usize = 4;

struct Client {
    server: &'static Server,
    protocol: u8,
    streams: Vec<TcpStream>,
    polling: Option<String>,
}

impl Client {
    fn connect(&mut self, query: &[u8]) {
        let query = [format!("EIO={}&", self.protocol).as_bytes(), query].concat();
        // What HTTP would not take is for the other target.
        let fits = |byte: &u8| byte.is_ascii_graphic() && *byte != b'#';
        if self.streams.len() < CONNECTIONS && query.iter().all(fits) {
            let mut stream = wire::connect(self.server.address);
            wire::write(&mut stream, &wire::upgrade(&query));
            self.streams.push(stream);
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.streams.is_empty() {
            self.connect(b"name=n&room=r");
        }
        if let Some(stream) = self.streams.last_mut() {
            wire::write(stream, bytes);
        }
    }

    fn poll(&mut self, method: &str, body: &[u8]) {
        let (address, protocol) = (self.server.address, self.protocol);
        let sid = self.polling.get_or_insert_with(|| wire::open(address, protocol));
        let line = format!("{method} /socket.io/?EIO={protocol}&transport=polling&sid={sid}");
        if method == "POST" {
            wire::request(address, &line, body);
        } else {
            // There may be nothing to be had: it does not wait.
            let mut stream = wire::connect(address);
            wire::write(&mut stream, format!("{line} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes());
            wire::finish(stream);
        }
    }

    fn end_polling(&mut self) {
        if self.polling.is_some() {
            self.poll("POST", if self.protocol == 3 { b"1:1" } else { b"1" });
            self.polling = None;
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((which, script)) = input.split_first() else { return };
    let server = server(usize::from(*which));
    let protocol = if which & 0x40 == 0 { 4 } else { 3 };
    let mut client = Client { server, protocol, streams: Vec::new(), polling: None };
    for part in script.split(|byte| *byte == wire::SEPARATOR) {
        let Some((kind, rest)) = part.split_first() else { continue };
        match kind {
            b'T' => client.send(&wire::frame(0x81, rest)),
            b't' => client.send(&wire::frame(0x01, rest)),
            b'B' => client.send(&wire::frame(0x82, rest)),
            b'K' => client.send(&wire::frame(0x80, rest)),
            b'P' => client.send(&wire::frame(0x89, rest)),
            b'O' => client.send(&wire::frame(0x8a, rest)),
            b'C' => client.send(&wire::frame(0x88, rest)),
            b'Z' => client.send(&wire::frame(0xc1, rest)),
            b'A' => client.send(&wire::frame(
                rest.first().copied().unwrap_or_default(),
                rest.get(1..).unwrap_or_default(),
            )),
            b'R' => client.send(rest),
            b'N' => client.connect(rest),
            b'L' => client.poll("POST", rest),
            b'G' => client.poll("GET", b""),
            b'E' => client.end_polling(),
            _ => {}
        }
    }
    std::mem::take(&mut client.streams).into_iter().for_each(|stream| drop(wire::finish(stream)));
    client.end_polling();
    server.is_well();
});
