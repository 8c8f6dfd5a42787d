//! A Socket.IO client in the raw: it says when which byte goes out, as no library lets one.

use crate::program::DEADLINE;
use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// A client that is connected, over WebSocket.
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A frame as clients send it, with a mask that changes nothing.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap();
    let mut frame = vec![first];
    if len < 126 {
        frame.push(0x80 | len as u8);
    } else {
        frame.push(0x80 | 126);
        frame.extend(len.to_be_bytes());
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

impl Client {
    /// Connects and joins a room.
    pub(crate) fn join(port: u16, name: &str, room: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self { stream, unread: Vec::new() };
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket&name={name}&room={room} HTTP/1.1\r\nHost: x\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        client.send(request.as_bytes());
        let head = loop {
            if let Some(end) = client.unread.windows(4).position(|end| end == b"\r\n\r\n") {
                break client.unread.drain(..end + 4).collect::<Vec<u8>>();
            }
            client.read();
        };
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        client.send(&text("40"));
        client.hear("40{");
        client.send(&text(r#"421["join_room",{"type":1}]"#));
        client.hear("431[");
        client
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Waits for the next text that begins so; those before it are forgotten, heartbeats answered.
    pub(crate) fn hear(&mut self, beginning: &str) -> String {
        loop {
            let (first, payload) = self.frame();
            if first != 0x81 {
                continue;
            }
            let text = String::from_utf8(payload).unwrap();
            if text == "2" {
                // Whoever is sent away meanwhile need not hear it.
                let _ = self.stream.write_all(&self::text("3"));
            }
            if text.starts_with(beginning) {
                return text;
            }
        }
    }

    /// Waits for the next frame: its first byte and its payload.
    pub(crate) fn frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let Some(frame) = self.whole() {
                return frame;
            }
            self.read();
        }
    }

    fn whole(&mut self) -> Option<(u8, Vec<u8>)> {
        let (first, len) = (*self.unread.first()?, *self.unread.get(1)?);
        let (header, len) = match len {
            126 => (4, usize::from(u16::from_be_bytes(self.unread.get(2..4)?.try_into().unwrap()))),
            127 => (
                10,
                usize::try_from(u64::from_be_bytes(self.unread.get(2..10)?.try_into().unwrap())).unwrap(),
            ),
            len => (2, usize::from(len)),
        };
        let payload = self.unread.get(header..header + len)?.to_vec();
        self.unread.drain(..header + len);
        Some((first, payload))
    }

    fn read(&mut self) {
        let mut bytes = [0; 65536];
        let len = self.stream.read(&mut bytes).unwrap();
        assert!(len > 0, "the connection was closed");
        self.unread.extend_from_slice(&bytes[..len]);
    }
}
