//! The stream between the kernel and the session: a WebSocket connection that can be watched, paused, cut and moved.
//!
//! - Every write is accepted whole and the tail the kernel would not take is kept. So each write starts and ends at a
//!   frame boundary.
//! - What the sequencer sends is written past the session, as much at once as there is; while there is nothing to write,
//!   the sequencer is lent what writes.
//! - A kept tail means that the client is not reading: the link is stalled until it is gone.
//! - Reading pauses while the client has too many events waiting.
//! - A cut link fails both directions at once, whatever they were waiting for.
//! - A packet that is too long is refused with a reason; see [`refusal`].
//! - When the server stops, it says goodbye without loss; see [`leave`].
//! - It can go to another process, and come from one; see [`moving`].

mod leave;
mod moving;
mod refusal;
#[cfg(test)]
mod tests;

use super::client_frames::ClientFrames;
use crate::server::{
    link::{Drain, Link, Stage},
    transport::Transport,
};
use bytes::{Buf, Bytes, BytesMut};
use leave::Leave;
pub(super) use refusal::too_long;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A WebSocket connection after its HTTP upgrade.
pub(super) struct EdgeStream {
    /// `None`: it is going to another process, or has not come from there yet.
    io: Option<Transport>,
    /// What was read before: by hyper beyond the upgrade request, or by another process.
    head: Bytes,
    /// The end of an accepted write.
    tail: BytesMut,
    link: Arc<Link>,
    /// It is not the transport of its session yet: a client that polls is trying it.
    tried: bool,
    client: ClientFrames,
    /// A large message has come since this was last looked at.
    large: bool,
    leave: Leave,
    /// It is going to come from another process, and never was here.
    awaited: bool,
    /// How long until the next heartbeat, when it goes to another process.
    heartbeat: Option<Duration>,
    max_payload: u64,
    /// A packet was too long: what still comes is thrown away.
    refused: bool,
}

/// For messages beyond this it is worth while to give back the room they took.
const LARGE: u64 = 16 << 10;
/// Close codes that say that somebody goes for good: a page's own close, and a tab that is closed.
const FAREWELLS: [u16; 2] = [1000, 1001];

impl EdgeStream {
    /// Wraps a connection; `tried`: by a client that polls.
    pub(super) fn new(io: Transport, head: Bytes, link: Arc<Link>, tried: bool, max_payload: u64) -> Self {
        if !io.can_move() {
            link.stays_put();
        }
        let mut stream = Self::of(link, max_payload);
        (stream.io, stream.head, stream.tried) = (Some(io), head, tried);
        stream
    }

    /// One without a connection.
    fn of(link: Arc<Link>, max_payload: u64) -> Self {
        Self {
            io: None,
            head: Bytes::new(),
            tail: BytesMut::new(),
            link,
            tried: false,
            client: ClientFrames::default(),
            large: false,
            leave: Leave::Not,
            awaited: false,
            heartbeat: None,
            max_payload,
            refused: false,
        }
    }

    /// Looks at what the client has sent.
    fn follow(&mut self, cx: &mut Context<'_>, read: &[u8]) {
        let seen = self.client.feed(read);
        self.link.took(self.client.weight());
        let largest = self.client.largest();
        self.large |= largest > LARGE;
        if largest > self.max_payload {
            self.refuse(cx);
        }
        if !self.tried && seen.close.is_some_and(|code| FAREWELLS.contains(&code)) {
            self.link.say_farewell();
        }
        if seen.pong {
            self.leave_at_pong(cx);
        }
    }

    /// The longest message that is taken.
    pub(super) fn max_payload(&self) -> u64 {
        self.max_payload
    }

    /// Whether whoever reads it has made room for a large message, and has read all there is.
    pub(super) fn has_room_to_spare(&self) -> bool {
        self.large && self.client.is_between()
    }

    /// That room is gone.
    pub(super) fn has_shed(&mut self) {
        self.large = false;
    }

    /// The session is a WebSocket's from now on, and this is it; these frames come first.
    pub(super) fn take_over(&mut self, cx: &mut Context<'_>, answers: &[u8]) {
        // What cannot be written is seen by the next read.
        let _ = self.append(cx, answers);
        self.tried = false;
        self.link.upgraded();
    }

    /// Writes what the session answers, when its turn has come.
    pub(super) fn answer(&mut self, cx: &mut Context<'_>, frames: &[u8]) -> Poll<io::Result<()>> {
        if self.link.is_cut() {
            return Poll::Ready(Err(cut()));
        }
        if self.is_moving() {
            // It is written to where it lies, for somebody else to take.
            return Poll::Ready(self.append(cx, frames));
        }
        self.attach(cx);
        if self.leave != Leave::Not {
            return Poll::Ready(Ok(()));
        }
        ready!(self.write_on(cx))?;
        Poll::Ready(self.append(cx, frames))
    }

    /// Says when the next heartbeat is due, should the connection be about to go to another process.
    pub(super) fn beats_next(&mut self, next: impl FnOnce() -> Option<Duration>) {
        if self.link.stage() == Stage::Pausing {
            self.heartbeat = next();
        }
    }

    /// Writes what was accepted, and what the sequencer has sent since, as far as the kernel takes it.
    fn write_on(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.is_moving() {
                ready!(self.write_tail(cx))?;
            }
            if self.tried {
                return Poll::Ready(Ok(()));
            }
            let lends = self.leave == Leave::Not && !self.is_moving();
            let writer =
                self.io.as_mut().and_then(Transport::writer).filter(|place| lends || place.is_none());
            let Some(run) = self.link.take_run(writer) else { return Poll::Ready(Ok(())) };
            if self.leave == Leave::Not || run.begun {
                self.put(cx, &run.frames)?;
            }
            self.link.sent(run.packets);
        }
    }

    /// Takes back what was lent, if it was: what is to be written here comes after what the sequencer has begun.
    fn reclaim(&mut self) {
        let Some(place @ None) = self.io.as_mut().and_then(Transport::writer) else { return };
        let (writer, rest) = self.link.reclaim();
        *place = writer;
        if let Some(rest) = rest {
            self.tail = rest.frames.into();
            self.link.sent(rest.packets);
        }
    }

    /// Accepts a run of frames whole, whether the kernel takes it or not.
    fn append(&mut self, cx: &mut Context<'_>, frames: &[u8]) -> io::Result<()> {
        self.put(cx, frames)?;
        match self.write_tail(cx) {
            Poll::Ready(written) => written,
            Poll::Pending => Ok(()),
        }
    }

    /// The same; what the kernel did not take is seen to by the next [`EdgeStream::write_tail`].
    fn put(&mut self, cx: &mut Context<'_>, frames: &[u8]) -> io::Result<()> {
        self.reclaim();
        let Some(io) = &mut self.io else { return self.stow(cx, frames) };
        if !io.write_or_keep(cx, &mut self.tail, frames)? {
            self.link.stall(true);
        }
        Ok(())
    }

    fn write_tail(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(())) };
        while self.tail.has_remaining() {
            match Pin::new(&mut *io).poll_write(cx, &self.tail) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => self.tail.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return self.wait_to_write(cx),
            }
        }
        self.tail = BytesMut::new();
        // TLS may hold back what it has taken.
        match Pin::new(io).poll_flush(cx) {
            Poll::Ready(flushed) => flushed?,
            Poll::Pending => return self.wait_to_write(cx),
        }
        self.link.stall(false);
        Poll::Ready(Ok(()))
    }

    fn wait_to_write(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.link.stall(true);
        self.link.register_reader(cx.waker());
        // cut between the check and the registration
        if self.link.is_cut() { Poll::Ready(Err(cut())) } else { Poll::Pending }
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.head.has_remaining() {
            let len = self.head.len().min(buf.remaining());
            buf.put_slice(&self.head.split_to(len));
            if self.head.is_empty() {
                // lets go of hyper's buffer
                self.head = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        match &mut self.io {
            Some(io) => Pin::new(io).poll_read(cx, buf),
            None => Poll::Pending,
        }
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "cut by the server")
}

impl AsyncRead for EdgeStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        me.link.register_reader(cx.waker());
        if me.link.is_cut() {
            return Poll::Ready(Err(cut()));
        }
        if let Poll::Ready(written) = me.write_on(cx) {
            written?;
        }
        if me.refused {
            return me.discard(cx);
        }
        if me.is_departing(cx) {
            return Poll::Pending;
        }
        me.attach(cx);
        if me.link.draining() != Drain::Not && !me.tried {
            me.take_leave(cx);
        }
        if !me.link.has_credit() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let Poll::Ready(read) = me.read(cx, buf) else {
            me.link.drained();
            return Poll::Pending;
        };
        read?;
        me.follow(cx, &buf.filled()[before..]);
        if me.refused {
            buf.set_filled(before);
            return me.discard(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for EdgeStream {
    /// What the WebSocket itself has to say: pongs, and the answer to a Close frame.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.get_mut().answer(cx, buf));
        Poll::Ready(written.map(|()| buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if me.link.is_cut() {
            return Poll::Ready(Err(cut()));
        }
        if me.is_moving() {
            return Poll::Ready(Ok(()));
        }
        me.write_on(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        me.reclaim();
        if !me.link.is_cut() {
            ready!(me.write_tail(cx))?;
        }
        match &mut me.io {
            Some(io) => Pin::new(io).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for EdgeStream {
    fn drop(&mut self) {
        self.reclaim();
        if !self.tried {
            // Who waits for it to pause waits no longer.
            self.link.halted();
            self.link.close();
        }
    }
}
