//! An honest client: it speaks, and hears its own words and the acknowledgement of them.

use crate::wire::{connect, frame, read, upgrade};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// Who says nothing for longer is thrown out: it has missed a heartbeat. Only a process that was stopped does that.
const SILENCE: Duration = Duration::from_secs(15);

pub struct Honest {
    address: SocketAddr,
    spoke: Instant,
    stream: TcpStream,
    /// What came and is not looked at yet.
    came: Vec<u8>,
    said: u64,
}

impl Honest {
    /// Comes in.
    pub fn connect(address: SocketAddr) -> Self {
        let mut stream = connect(address);
        stream.write_all(&upgrade(b"EIO=4&name=honest&room=honest")).unwrap();
        let mut came = Vec::new();
        while !came.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            came.extend(byte);
        }
        assert!(came.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&came));
        let mut honest = Self { address, spoke: Instant::now(), stream, came: Vec::new(), said: 0 };
        honest.send("40");
        honest.hear("40{");
        honest.send(r#"420["join_room",{"idx":"honest","name":"honest","type":1}]"#);
        honest.hear("430[");
        honest
    }

    /// Says something new, hears it, and has it acknowledged.
    pub fn speak(&mut self) {
        if self.spoke.elapsed() > SILENCE {
            *self = Self::connect(self.address);
        }
        self.said += 1;
        let said = self.said;
        self.send(&format!(r#"42{said}["chatting",{{"idx":"honest","name":"honest","msg":"said {said}"}}]"#));
        self.hear(&format!("43{said}["));
        self.spoke = Instant::now();
    }

    fn send(&mut self, packet: &str) {
        self.stream.write_all(&frame(0x81, packet.as_bytes())).expect("the honest client is connected");
    }

    /// Waits for a packet that begins so; what else comes is as it should be.
    fn hear(&mut self, start: &str) {
        loop {
            let packet = self.next();
            if packet.starts_with(start.as_bytes()) {
                let refused = packet.windows(9).any(|part| part == b"\"error\":\"");
                assert!(!refused, "refused: {}", String::from_utf8_lossy(&packet));
                return;
            }
            match packet.first() {
                Some(b'2') => self.send("3"),
                Some(b'0' | b'4') => {}
                _ => panic!("the honest client hears {:?}", String::from_utf8_lossy(&packet)),
            }
        }
    }

    /// The payload of the next frame, which a server does not mask.
    fn next(&mut self) -> Vec<u8> {
        loop {
            if let Some((payload, rest)) = unframed(&self.came) {
                let payload = payload.to_vec();
                self.came = rest.to_vec();
                return payload;
            }
            let mut some = [0; 4096];
            let read = read(&mut self.stream, &mut some).expect("the honest client is answered in time");
            assert!(read > 0, "the honest client was thrown out");
            self.came.extend(&some[..read]);
        }
    }
}

fn unframed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, rest) = bytes.split_first()?;
    let (len, rest) = rest.split_first()?;
    let (len, rest) = match len {
        126 => rest.split_first_chunk().map(|(len, rest)| (u16::from_be_bytes(*len).into(), rest))?,
        127 => rest.split_first_chunk().map(|(len, rest)| (u64::from_be_bytes(*len) as usize, rest))?,
        len => (usize::from(*len), rest),
    };
    rest.split_at_checked(len)
}
