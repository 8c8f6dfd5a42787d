//! A WebSocket (Engine.IO protocol, "WebSocket only").

use super::{MAX_PACKET, MAX_UNSENT, Sent, said};
use crate::{
    bench::{
        run::Scratch,
        stream::Stream,
        talk::{self, Identity},
        target::Target,
    },
    frames::{CLOSE, Frames, PING, PONG, TEXT},
};
use anyhow::{Result, bail, ensure};
use std::{
    cell::{Cell, RefCell},
    io,
    time::Instant,
};

/// See the module.
#[derive(Debug)]
pub(in crate::bench) struct WebSocket {
    stream: Stream,
    /// Whether the answer to the upgrade has been read.
    upgraded: Cell<bool>,
    /// The beginning of a frame.
    unread: RefCell<Vec<u8>>,
    unsent: RefCell<Vec<u8>>,
}

impl WebSocket {
    pub(super) async fn dial(target: &Target, who: &Identity) -> Result<Self> {
        let stream = target.dial().await?.into();
        let (unread, unsent) = (RefCell::default(), RefCell::default());
        let me = Self { stream, upgraded: Cell::new(false), unread, unsent };
        let Target { path, host, .. } = target;
        let query = who.query();
        me.send(
            format!(
                "GET {path}&transport=websocket{query} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            .as_bytes(),
        );
        Ok(me)
    }

    /// See [`super::Connection::receive`].
    pub(super) async fn receive(&self, scratch: &Scratch, each: impl FnMut(&[u8], Instant)) -> Result<()> {
        loop {
            self.stream.readable().await?;
            let mut scratch = scratch.borrow_mut();
            let mut unread = self.unread.borrow_mut();
            if unread.len() >= scratch.len() {
                ensure!(
                    scratch.len() < MAX_PACKET,
                    "the server sent a packet of more than {MAX_PACKET} bytes"
                );
                let double = 2 * scratch.len();
                scratch.resize(double, 0);
            }
            let (before, free) = scratch.split_at_mut(unread.len());
            before.copy_from_slice(&unread);
            match self.stream.try_read(free) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(read) => {
                    let rest = self.walk(&scratch[..unread.len() + read], each)?;
                    unread.clear();
                    unread.extend_from_slice(rest);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Gives the packets, and what is left over.
    fn walk<'a>(&self, mut bytes: &'a [u8], mut each: impl FnMut(&[u8], Instant)) -> Result<&'a [u8]> {
        if !self.upgraded.get() {
            match upgraded(bytes)? {
                None => return Ok(bytes),
                Some(rest) => bytes = rest,
            }
            self.upgraded.set(true);
        }
        let now = Instant::now();
        let mut frames = Frames(bytes);
        for frame in frames.by_ref() {
            match frame.whole.first().map(|first| (first & 0x80 != 0, first & 0x0f)) {
                Some((true, TEXT)) if frame.payload == b"2" => drop(self.send(&talk::frame(TEXT, b"3"))),
                Some((true, TEXT)) if matches!(frame.payload, b"1" | b"41") => {
                    bail!("the server ended the session")
                }
                Some((true, TEXT)) => each(frame.payload, now),
                Some((true, PING)) => drop(self.send(&talk::frame(PONG, frame.payload))),
                Some((true, CLOSE)) => bail!("the server closed the WebSocket{}", code(frame.payload)),
                Some((false, _) | (_, 0)) => {
                    bail!("the server sends messages in fragments, which is not read here")
                }
                // Attachments of binary events, which are nothing to this.
                _ => {}
            }
        }
        Ok(frames.0)
    }

    /// Sends a frame, at once where the system takes it.
    pub(super) fn send(&self, frame: &[u8]) -> Sent {
        let waits = self.waits();
        let mut unsent = self.unsent.borrow_mut();
        if waits {
            if unsent.len() + frame.len() > MAX_UNSENT {
                return Sent::Dropped;
            }
            unsent.extend_from_slice(frame);
            return Sent::Queued;
        }
        // A connection that is broken says so where it is read.
        let sent = self.stream.try_write(frame).unwrap_or(0);
        if sent == frame.len() && !self.stream.has_unsent() {
            return Sent::Whole;
        }
        unsent.extend_from_slice(&frame[sent..]);
        Sent::Waits
    }

    /// See [`super::Connection::flush`].
    pub(super) async fn flush(&self) -> io::Result<()> {
        while self.waits() {
            self.stream.writable().await?;
            let mut unsent = self.unsent.borrow_mut();
            let sent = match &unsent[..] {
                [] => self.stream.try_send().map(|()| 0),
                some => self.stream.try_write(some),
            };
            match sent {
                Ok(sent) => drop(unsent.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether something is not sent yet.
    fn waits(&self) -> bool {
        !self.unsent.borrow().is_empty() || self.stream.has_unsent()
    }

    /// See [`super::Connection::cut`].
    pub(super) fn cut(&self) {
        self.stream.cut();
    }

    /// See [`super::Connection::leave`].
    pub(super) fn leave(&self) {
        self.send(&[talk::frame(TEXT, b"41"), talk::frame(CLOSE, &1000u16.to_be_bytes())].concat());
    }
}

/// What follows the answer to the upgrade; `None`: it is not whole yet.
fn upgraded(bytes: &[u8]) -> Result<Option<&[u8]>> {
    const HTTP: &[u8] = b"HTTP/";
    // An alert of TLS (RFC 8446, section 5.1).
    const ALERT: u8 = 21;
    if !bytes.starts_with(&HTTP[..bytes.len().min(HTTP.len())]) {
        match bytes.first() {
            Some(&ALERT) => {
                bail!("what answers there speaks TLS: write https:// in the place of http://")
            }
            _ => bail!("what answers there does not speak HTTP: {}", said(bytes)),
        }
    }
    let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
    let (head, rest) = bytes.split_at(end + 4);
    if head.starts_with(b"HTTP/1.1 101") {
        return Ok(Some(rest));
    }
    let mut lines = head.split(|byte| *byte == b'\n');
    let status = said(lines.next().unwrap_or_default());
    let elsewhere = lines.find_map(|line| {
        let (name, value) = line.split_at_checked("location:".len())?;
        name.eq_ignore_ascii_case(b"location:").then(|| format!(", it is at {}", said(value)))
    });
    bail!(
        "the server does not take WebSockets here: {status}{} {}",
        elsewhere.unwrap_or_default(),
        said(rest)
    )
}

/// Why a WebSocket was closed (RFC 6455, section 7.4).
fn code(payload: &[u8]) -> String {
    payload.first_chunk().map_or_else(String::new, |code| format!(" with code {}", u16::from_be_bytes(*code)))
}
