//! The stream between the kernel and the engine: a WebSocket connection that can be watched, paused, cut and moved.
//!
//! - Every write is accepted whole and the tail the kernel would not take is kept. So each write the engine makes
//!   starts and ends at a frame boundary, and the packets in it can be counted.
//! - What the sequencer sends is written past the engine, as much at once as there is; while there is nothing to write,
//!   the sequencer is lent what writes.
//! - A kept tail means that the client is not reading: the link is stalled until it is gone.
//! - Reading pauses while the client has too many events waiting.
//! - A cut link fails both directions at once, whatever they were waiting for.
//! - Until the CONNECT reply has gone by, it is looked for in what is written; see [`super::connect`].
//! - A packet that is too long is refused with a reason; see [`refusal`].
//! - When the server stops, it says goodbye without loss; see [`leave`].
//! - It can go to another process, and come from one; see [`moving`].

mod leave;
mod moving;
mod refusal;
#[cfg(test)]
mod tests;

use super::{client_frames::ClientFrames, connect, frames::Outgoing};
use crate::server::{
    link::{Drain, Link},
    transport::Transport,
};
use bytes::{Buf, Bytes, BytesMut};
use leave::Leave;
use moving::{Arrival, Heartbeat};
use refusal::Refusal;
pub(super) use refusal::too_long;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
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
    /// Bytes seen while a polling session moves over; see [`EdgeStream::follow_upgrade`].
    upgrade: Option<u8>,
    client: ClientFrames,
    outgoing: Outgoing,
    leave: Leave,
    arrival: Arrival,
    heartbeat: Heartbeat,
    max_payload: u64,
    refusal: Refusal,
}

/// Close codes that say that somebody goes for good: a page's own close, and a tab that is closed.
const FAREWELLS: [u16; 2] = [1000, 1001];

impl EdgeStream {
    /// Wraps a connection; `upgrade`: its session began as polling.
    pub(super) fn new(io: Transport, head: Bytes, link: Arc<Link>, upgrade: bool, max_payload: u64) -> Self {
        if !io.is_plain() {
            link.stays_put();
        }
        let mut stream = Self::of(link, max_payload);
        (stream.io, stream.head, stream.upgrade) = (Some(io), head, upgrade.then_some(0));
        stream
    }

    /// One without a connection.
    fn of(link: Arc<Link>, max_payload: u64) -> Self {
        Self {
            io: None,
            head: Bytes::new(),
            tail: BytesMut::new(),
            link,
            upgrade: None,
            client: ClientFrames::default(),
            outgoing: Outgoing::default(),
            leave: Leave::Not,
            arrival: Arrival::Over,
            heartbeat: None,
            max_payload,
            refusal: None,
        }
    }

    /// Looks at what the client has sent.
    fn follow(&mut self, cx: &mut Context<'_>, read: &[u8]) {
        self.follow_upgrade(read.len());
        let seen = self.client.feed(read);
        self.link.took(self.client.weight());
        if self.client.largest() > self.max_payload {
            self.refuse(cx);
        }
        if seen.close.is_some_and(|code| FAREWELLS.contains(&code)) {
            self.link.say_farewell();
        }
        if seen.pong {
            self.leave_at_pong(cx);
        }
    }

    /// An upgrade is done when the client has sent its probe and the packet `5`: as masked frames 12 and 7 bytes.
    fn follow_upgrade(&mut self, read: usize) {
        const PROBE_AND_UPGRADE: u8 = 19;
        if let Some(seen) = &mut self.upgrade {
            *seen = seen.saturating_add(u8::try_from(read).unwrap_or(u8::MAX));
            if *seen >= PROBE_AND_UPGRADE {
                self.upgrade = None;
                self.link.upgraded();
            }
        }
    }

    /// Whether a polling session's upgrade was never finished.
    fn upgrade_failed(&self) -> bool {
        self.upgrade.is_some()
    }

    /// Looks for the CONNECT reply in a run of frames; gives the run with the client's id in it, if it is to be told.
    fn look_for_connect(&self, run: &[u8]) -> Option<Vec<u8>> {
        if self.link.is_connected() {
            return None;
        }
        let told = self.link.is_offering().then(|| connect::in_frames(run, &self.link)).flatten();
        if told.is_some() || connect::is_in_frames(run) {
            self.link.seen_connect();
        }
        told
    }

    /// Writes what was accepted, and what the sequencer has sent since, as far as the kernel takes it.
    fn write_on(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.is_moving() {
                ready!(self.write_tail(cx))?;
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
        self.link.writer.register(cx.waker());
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
        if me.is_arriving() {
            return me.introduce(buf);
        }
        if me.is_refused() {
            return me.discard(cx);
        }
        if me.is_departing(cx) {
            return Poll::Pending;
        }
        me.attach(cx);
        me.beat(cx);
        if me.link.draining() != Drain::Not {
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
        if me.is_refused() {
            buf.set_filled(before);
            return me.discard(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for EdgeStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        if me.link.is_cut() {
            return Poll::Ready(Err(cut()));
        }
        if me.is_moving() {
            return Poll::Ready(me.take_everything(cx, buf).map(|()| buf.len()));
        }
        me.attach(cx);
        if me.leave != Leave::Not {
            me.link.sent(me.outgoing.count(buf));
            return Poll::Ready(Ok(buf.len()));
        }
        if me.hold_heartbeat(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(me.write_on(cx))?;
        me.link.sent(me.outgoing.count(buf));
        let told = me.look_for_connect(buf);
        Poll::Ready(me.put(cx, told.as_deref().unwrap_or(buf)).map(|()| buf.len()))
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
        // Who waits for it to pause, or to come, waits no longer.
        self.link.halted();
        if !self.upgrade_failed() {
            self.link.close();
            return;
        }
        // An upgrade that failed leaves the engine's session "upgrading" for ever: it answers polls with NOOP and
        // has no heartbeat. (engineioxide resetting it would make this go away.)
        if let Some(polling) = &self.link.polling
            && let (Some(sid), Some(edge)) = (polling.sid.get(), polling.edge.upgrade())
        {
            edge.close_polling(sid, self.link.eio3);
        }
    }
}
