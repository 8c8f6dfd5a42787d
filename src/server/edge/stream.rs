//! The stream between the kernel and the engine: a WebSocket connection that can be watched, paused and cut.
//!
//! - Every write is accepted whole and the tail the kernel would not take is kept. So each write the engine makes
//!   starts and ends at a frame boundary, and the packets in it can be counted.
//! - A kept tail means that the client is not reading: the link is stalled until it is gone.
//! - Reading pauses while the client has too many events waiting.
//! - A cut link fails both directions at once, whatever they were waiting for.
//! - Until the CONNECT reply has gone by, it is looked for in what is written; see [`super::connect`].
//! - When the server stops, it says goodbye without loss; see [`EdgeStream::take_leave`].

use super::{client_frames::ClientFrames, connect, frames::Outgoing};
use crate::server::{
    link::{Drain, Link},
    transport::Transport,
};
use bytes::{Buf, Bytes};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A WebSocket connection after its HTTP upgrade.
pub(super) struct EdgeStream {
    io: Transport,
    /// What hyper had read beyond the upgrade request.
    head: Bytes,
    /// The end of an accepted write.
    tail: Bytes,
    link: Arc<Link>,
    /// Bytes seen while a polling session moves over; see [`EdgeStream::follow_upgrade`].
    upgrade: Option<u8>,
    client: ClientFrames,
    outgoing: Outgoing,
    leave: Leave,
}

/// How far it is with saying goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    /// Nobody leaves.
    Not,
    /// Nothing is written any more; a ping asks whether all before it has been taken in.
    Asked,
    /// The client has been told to go.
    Told,
}

/// A ping without payload.
const PING: &[u8] = b"\x89\0";
/// A text that is no Engine.IO packet: the client takes its connection for broken, at once.
const NO_ENGINE_PACKET: &[u8] = b"\x81\x019";
/// A text that is no Socket.IO packet: the same, and what is still in its queue is sent before.
const NO_SOCKET_PACKET: &[u8] = b"\x81\x0249";
/// Close 1012: the service restarts.
const CLOSE: &[u8] = b"\x88\x02\x03\xf4";
/// Close codes that say that somebody goes for good: a page's own close, and a tab that is closed.
const FAREWELLS: [u16; 2] = [1000, 1001];

impl EdgeStream {
    /// Wraps a connection; `upgrade`: its session began as polling.
    pub(super) fn new(io: Transport, head: Bytes, link: Arc<Link>, upgrade: bool) -> Self {
        let (tail, client, outgoing) = (Bytes::new(), ClientFrames::default(), Outgoing::default());
        let upgrade = upgrade.then_some(0);
        Self { io, head, tail, link, upgrade, client, outgoing, leave: Leave::Not }
    }

    /// Looks at what the client has sent.
    fn follow(&mut self, cx: &mut Context<'_>, read: &[u8]) {
        self.follow_upgrade(read.len());
        let seen = self.client.feed(read);
        self.link.took(self.client.count());
        if seen.close.is_some_and(|code| FAREWELLS.contains(&code)) {
            self.link.say_farewell();
        }
        if seen.pong && self.leave == Leave::Asked {
            self.tell_to_go(cx);
        }
    }

    /// Says goodbye without loss, from the reader's side: a Close frame alone would have the client throw away what it
    /// sends until the connection is gone.
    ///
    /// A ping goes out, and nothing after it: its pong says that the client has taken in all before. Then a packet
    /// that is none makes the client leave in the same moment: what it says from then on it keeps, and what it said
    /// before is read until its end.
    fn take_leave(&mut self, cx: &mut Context<'_>) {
        let drain = self.link.draining();
        if drain >= Drain::Start && self.leave == Leave::Not {
            self.leave = Leave::Asked;
            // Each write is taken whole: this is a frame boundary.
            self.append(cx, PING);
        }
        if drain == Drain::Late && self.leave == Leave::Asked {
            self.tell_to_go(cx);
        }
        if self.leave != Leave::Not {
            let _ = self.write_tail(cx);
        }
    }

    fn tell_to_go(&mut self, cx: &mut Context<'_>) {
        self.leave = Leave::Told;
        // Older clients fall over a Socket.IO packet that is none; whether it was told an id does not say which it is.
        let connected = self.link.member() != 0 && !self.link.is_offering();
        let no_packet = if self.link.is_modern() && connected { NO_SOCKET_PACKET } else { NO_ENGINE_PACKET };
        self.append(cx, &[no_packet, CLOSE].concat());
    }

    fn append(&mut self, cx: &mut Context<'_>, frames: &[u8]) {
        self.tail = [&self.tail[..], frames].concat().into();
        let _ = self.write_tail(cx);
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

    fn write_tail(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tail.has_remaining() {
            match Pin::new(&mut self.io).poll_write(cx, &self.tail) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => self.tail.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.link.stall(true);
                    self.link.writer.register(cx.waker());
                    // cut between the check and the registration
                    if self.link.is_cut() {
                        return Poll::Ready(Err(cut()));
                    }
                    return Poll::Pending;
                }
            }
        }
        self.tail = Bytes::new();
        // TLS may hold back what it has taken.
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Ready(flushed) => flushed?,
            Poll::Pending => {
                self.link.stall(true);
                self.link.writer.register(cx.waker());
                return if self.link.is_cut() { Poll::Ready(Err(cut())) } else { Poll::Pending };
            }
        }
        self.link.stall(false);
        Poll::Ready(Ok(()))
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "cut by the server")
}

impl AsyncRead for EdgeStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        me.link.register_reader(cx.waker());
        if me.link.draining() != Drain::Not {
            me.take_leave(cx);
        }
        if me.link.is_cut() {
            return Poll::Ready(Err(cut()));
        }
        if !me.link.has_credit() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if me.head.has_remaining() {
            let len = me.head.len().min(buf.remaining());
            buf.put_slice(&me.head.split_to(len));
            if me.head.is_empty() {
                // lets go of hyper's buffer
                me.head = Bytes::new();
            }
        } else {
            ready!(Pin::new(&mut me.io).poll_read(cx, buf))?;
        }
        me.follow(cx, &buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for EdgeStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        if me.link.is_cut() {
            return Poll::Ready(Err(cut()));
        }
        if me.leave != Leave::Not {
            me.link.sent(me.outgoing.count(buf));
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(me.write_tail(cx))?;
        if me.link.is_offering()
            && let Some(run) = connect::in_frames(buf, &me.link)
        {
            me.tail = run.into();
            me.link.sent(me.outgoing.count(buf));
            return match me.write_tail(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(buf.len())),
            };
        }
        let written = match Pin::new(&mut me.io).poll_write(cx, buf) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => 0,
        };
        if written < buf.len() {
            me.tail = Bytes::copy_from_slice(&buf[written..]);
            me.link.stall(true);
        }
        me.link.sent(me.outgoing.count(buf));
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if me.link.is_cut() {
            return Poll::Ready(Err(cut()));
        }
        me.write_tail(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if !me.link.is_cut() {
            ready!(me.write_tail(cx))?;
        }
        Pin::new(&mut me.io).poll_shutdown(cx)
    }
}

impl Drop for EdgeStream {
    fn drop(&mut self) {
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
