//! The stream between the kernel and the engine: a WebSocket connection that can be watched, paused and cut.
//!
//! - Every write is accepted whole and the tail the kernel would not take is kept. So each write the engine makes
//!   starts and ends at a frame boundary, and the packets in it can be counted.
//! - A kept tail means that the client is not reading: the link is stalled until it is gone.
//! - Reading pauses while the client has too many events waiting.
//! - A cut link fails both directions at once, whatever they were waiting for.

use super::frames;
use crate::server::link::Link;
use bytes::{Buf, Bytes};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A WebSocket connection after its HTTP upgrade.
pub(super) struct EdgeStream {
    io: TcpStream,
    /// What hyper had read beyond the upgrade request.
    head: Bytes,
    /// The end of an accepted write.
    tail: Bytes,
    link: Arc<Link>,
    /// Bytes seen while a polling session moves over; see [`EdgeStream::follow_upgrade`].
    upgrade: Option<u8>,
}

impl EdgeStream {
    /// Wraps a connection; `upgrade`: its session began as polling.
    pub(super) fn new(io: TcpStream, head: Bytes, link: Arc<Link>, upgrade: bool) -> Self {
        Self { io, head, tail: Bytes::new(), link, upgrade: upgrade.then_some(0) }
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
        me.follow_upgrade(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for EdgeStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        if me.link.is_cut() {
            return Poll::Ready(Err(cut()));
        }
        ready!(me.write_tail(cx))?;
        let written = match Pin::new(&mut me.io).poll_write(cx, buf) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => 0,
        };
        if written < buf.len() {
            me.tail = Bytes::copy_from_slice(&buf[written..]);
            me.link.stall(true);
        }
        me.link.sent(frames::packets_in_frames(buf));
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
