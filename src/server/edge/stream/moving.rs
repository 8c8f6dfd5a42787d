//! Connections that go to another process, and that come from one. Their clients notice nothing.
//!
//! Going: a read that is asked for under the flag proves that all that was read before has been dispatched, so the
//! stream says that it pauses, and reads no more. What the engine still writes is taken whole, so its queue empties
//! however slow the client is. Then the socket is let go of, with the beginning of an unfinished packet and what the
//! kernel has not taken; the engine's session waits on a stream where nothing happens any more.
//!
//! Coming: the engine takes it for a new connection. Its open packet and CONNECT reply are swallowed, for the client
//! has had its own; a CONNECT is put before what the client sends, which waits until the reply has gone by. The
//! engine's heartbeats are held back a little, each connection's by another time: they all began at once.

use super::{EdgeStream, cut};
use crate::server::{
    edge::frames::Frames,
    handover::Detached,
    link::{Link, Stage},
    transport::Transport,
};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::ReadBuf,
    time::{Sleep, sleep},
};

/// How far a connection that comes from another process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The engine has yet to be told that a client connects.
    Begun,
    /// It was; its answer has not come.
    Introduced,
    /// It is a connection like any other.
    Over,
}

/// One that is held back, until then.
pub(super) type Heartbeat = Option<Pin<Box<Sleep>>>;

/// What a client sends to connect, `40`, as a frame whose mask changes nothing.
const CONNECT: &[u8] = b"\x81\x82\0\0\0\x0040";
/// The engine's heartbeat, `2`, as a frame.
const HEARTBEAT: &[u8] = b"\x81\x012";

impl EdgeStream {
    /// A connection of another process, with what belongs to it.
    pub(in crate::server::edge) fn moved(
        io: Transport,
        read: Vec<u8>,
        write: &[u8],
        link: Arc<Link>,
    ) -> Self {
        let mut stream = Self::new(io, read.into(), link, false);
        stream.tail.extend_from_slice(write);
        stream.arrival = Arrival::Begun;
        stream
    }

    /// Whether it takes everything that is written, at once.
    pub(super) fn is_moving(&self) -> bool {
        self.is_arriving() || self.link.stage() != Stage::Here
    }

    /// Takes a run of frames, and never lets the engine wait.
    pub(super) fn take_everything(&mut self, cx: &mut Context<'_>, run: &[u8]) -> io::Result<()> {
        if !self.is_arriving() {
            self.append(cx, run)?;
            self.link.sent(self.outgoing.count(run));
            return Ok(());
        }
        for frame in Frames(run) {
            match frame.payload {
                [b'0', b'{', ..] if frame.is_text() => {}
                [b'4', b'0', ..] if frame.is_text() && self.is_arriving() => {
                    self.arrival = Arrival::Over;
                    self.link.reader.wake();
                }
                _ if self.hold_heartbeat(frame.whole) => {}
                _ => {
                    self.append(cx, frame.whole)?;
                    self.link.sent(self.outgoing.count(frame.whole));
                }
            }
        }
        Ok(())
    }

    // --- going

    /// Goes on with it; whether nothing is to be read because of it.
    pub(super) fn is_departing(&mut self, cx: &mut Context<'_>) -> bool {
        match self.link.stage() {
            Stage::Here => return false,
            Stage::Pausing => self.link.halted(),
            Stage::Paused => {}
            Stage::LettingGo => self.let_go(cx),
        }
        true
    }

    fn let_go(&mut self, cx: &mut Context<'_>) {
        if self.heartbeat.take().is_some() {
            // The client waits for it.
            let _ = self.append(cx, HEARTBEAT);
        }
        let Some(io) = self.io.take() else { return };
        let socket = io.into_plain().and_then(|io| io.into_std().ok());
        let detached = self.client.unfinished().zip(socket).map(|(mut read, socket)| {
            read.extend_from_slice(&std::mem::take(&mut self.head));
            Detached { socket: socket.into(), read, write: std::mem::take(&mut self.tail).into() }
        });
        self.link.hand_in(detached);
    }

    // --- coming

    pub(super) fn is_arriving(&self) -> bool {
        self.arrival != Arrival::Over
    }

    /// Tells the engine that a client connects. Clients of protocol 3 are connected by opening.
    pub(super) fn introduce(&mut self, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.arrival == Arrival::Introduced {
            return Poll::Pending;
        }
        self.arrival = Arrival::Introduced;
        if self.link.eio3 {
            return Poll::Pending;
        }
        if buf.remaining() < CONNECT.len() {
            return Poll::Ready(Err(cut()));
        }
        buf.put_slice(CONNECT);
        Poll::Ready(Ok(()))
    }

    /// Whether these frames are a heartbeat, which goes out later.
    pub(super) fn hold_heartbeat(&mut self, run: &[u8]) -> bool {
        let holds = run == HEARTBEAT && !self.link.heartbeat_delay.is_zero();
        if holds {
            self.heartbeat = Some(Box::pin(sleep(self.link.heartbeat_delay)));
            // The reader waits for its time.
            self.link.reader.wake();
        }
        holds
    }

    /// Sends the heartbeat that was held back, when it is time.
    pub(super) fn beat(&mut self, cx: &mut Context<'_>) {
        if let Some(time) = &mut self.heartbeat
            && time.as_mut().poll(cx).is_ready()
        {
            self.heartbeat = None;
            // What cannot be written is seen by the next read.
            let _ = self.append(cx, HEARTBEAT);
        }
    }
}
