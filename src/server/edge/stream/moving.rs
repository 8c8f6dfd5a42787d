//! Connections that go to another process, and that come from one. Their clients notice nothing.
//!
//! Going: a read that is asked for under the flag proves that all that was read before has been dispatched, so the
//! stream puts the connection into the link, with the beginning of an unfinished packet and what the kernel has not
//! taken, and says that it pauses. What the engine still writes is taken whole, so its queue empties however slow the
//! client is. Whoever takes the connection out of the link has all of it; it may also be put back, and the stream goes
//! on as if nothing had been.
//!
//! Coming: the engine gets a stream before its connection is there, and takes it for a new one. Its open packet and
//! CONNECT reply are swallowed, for the client has had its own; a CONNECT is put before what the client sends. Then the
//! stream waits for the connection to lie in the link. The engine's heartbeats are held back a little, each
//! connection's by another time: they all began at once.

use super::{EdgeStream, cut};
use crate::server::{
    edge::frames::Frames,
    handover::Detached,
    link::{Link, Stage},
};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::ReadBuf,
    time::{Instant, Sleep, sleep},
};

/// How far a connection that comes from another process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The engine has yet to be told that a client connects.
    Begun,
    /// It was; its answer has not come.
    Introduced,
    /// It has; the connection has not come.
    Expected,
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
    /// For a connection that is going to come from another process.
    pub(in crate::server::edge) fn moved(link: Arc<Link>, max_payload: u64) -> Self {
        let mut stream = Self::of(link, max_payload);
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
            if !self.hold_heartbeat(run) {
                self.append(cx, run)?;
                self.link.sent(self.outgoing.count(run));
            }
            return Ok(());
        }
        for frame in Frames(run) {
            match frame.payload {
                [b'0', b'{', ..] if frame.is_text() => {}
                [b'4', b'0', ..] if frame.is_text() && self.is_arriving() => {
                    self.arrival = Arrival::Expected;
                    self.link.reached();
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

    /// Writes to the connection where it lies; or keeps it until it is here.
    pub(super) fn stow(&mut self, cx: &mut Context<'_>, frames: &[u8]) -> io::Result<()> {
        // After what waits here for it already.
        if !self.tail.is_empty() || !self.link.write_detached(cx, frames)? {
            self.tail.extend_from_slice(frames);
        }
        Ok(())
    }

    // --- going

    /// Goes on with it; whether nothing is to be read because of it.
    pub(super) fn is_departing(&mut self, cx: &mut Context<'_>) -> bool {
        match self.link.stage() {
            Stage::Here => return false,
            Stage::Pausing => {
                self.detach(cx);
                self.link.halted();
            }
            Stage::Paused => {}
        }
        true
    }

    fn detach(&mut self, cx: &mut Context<'_>) {
        // It may have come a moment ago.
        self.attach(cx);
        self.reclaim();
        // Without it there is nothing to take, and the connection is cut.
        let Some(unfinished) = self.client.unfinished() else { return };
        let Some(io) = self.io.take() else { return };
        // These stay here as well: should it be put back, they have been seen to.
        let read = [unfinished, &self.head].concat();
        let heartbeat = self.heartbeat.as_ref().map(|time| time.deadline() - Instant::now());
        self.link.detach(Detached { io, read, write: std::mem::take(&mut self.tail), heartbeat });
    }

    // --- coming

    /// Takes up the connection that lies in the link, if this has none.
    pub(super) fn attach(&mut self, cx: &mut Context<'_>) {
        if self.io.is_some() {
            return;
        }
        let Some(Detached { io, read, write, .. }) = self.link.take_detached() else { return };
        self.io = Some(io);
        if self.arrival == Arrival::Expected {
            (self.arrival, self.head) = (Arrival::Over, read.into());
        }
        if !write.is_empty() {
            // What has been written since comes after it.
            let since = std::mem::replace(&mut self.tail, write);
            self.tail.extend_from_slice(&since);
        }
        // What cannot be written is seen by whoever writes or reads next.
        let _ = self.write_tail(cx);
    }

    pub(super) fn is_arriving(&self) -> bool {
        matches!(self.arrival, Arrival::Begun | Arrival::Introduced)
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
