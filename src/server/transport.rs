//! What carries a client's bytes, from accepting it to its end: a TCP connection, with TLS or without.
//!
//! It does not wait for ever: a client that takes nothing of what is written to it for `stall_timeout` is given up,
//! whether it reads a page, polls or is a WebSocket. All that passes is counted.
//!
//! Who has been told the last word may still be sending, as a POST or a packet that is too long. Closed at once, the kernel
//! would reset the connection, and the client never read the word: what comes is thrown away until it has gone, but not for
//! long, nor however much it is.
//!
//! Of a connection without TLS the half that writes can be lent; see [`Writer`].

use super::{doors::Pass, tls};
use crate::config::RefusedBy;
use bytes::{Buf, Bytes, BytesMut};
use std::{
    future::poll_fn,
    io,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{Sleep, sleep},
};

/// Longest wait for a client to go that has been told the last word, and most that is still read of it.
const LINGER: Duration = Duration::from_secs(10);
const LINGER_BYTES: usize = 32 << 20;
/// What is read ahead at once.
const AHEAD: usize = 1024;

/// With TLS or without.
enum Io {
    Plain {
        reader: OwnedReadHalf,
        /// `None`: it is lent.
        writer: Option<Writer>,
    },
    Tls(tls::Stream),
}

/// The half that writes, of a connection without TLS. Whoever has it is the only one who can write.
pub(super) struct Writer(Option<OwnedWriteHalf>);

impl Writer {
    /// Writes as much as the kernel takes just now; 0 also if the connection is broken: whoever writes next with the
    /// runtime sees which.
    pub(super) fn write_now(&self, bytes: &[u8]) -> usize {
        self.0.as_ref().and_then(|half| half.try_write(bytes).ok()).unwrap_or(0)
    }
}

impl Drop for Writer {
    /// Dropped as it is, the half would end what is written: also of a connection that another process has by now.
    fn drop(&mut self) {
        if let Some(half) = self.0.take() {
            half.forget();
        }
    }
}

/// See the module.
pub(super) struct Transport {
    io: Io,
    patience: Duration,
    /// Runs while it takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// It was given up.
    given_up: bool,
    lingering: Option<Box<Lingering>>,
    /// Was read, and not used; comes first.
    unread: Option<Box<Bytes>>,
    pass: Pass,
}

/// How long, and for how much, its going is still waited for.
struct Lingering {
    time: Pin<Box<Sleep>>,
    bytes: usize,
}

impl Transport {
    /// A connection without TLS.
    pub(super) fn plain(io: TcpStream, patience: Duration, pass: Pass) -> Self {
        let (reader, writer) = io.into_split();
        Self::of(Io::Plain { reader, writer: Some(Writer(Some(writer))) }, patience, pass)
    }

    /// One with TLS, after its handshake.
    pub(super) fn tls(io: tls::Stream, patience: Duration, pass: Pass) -> Self {
        Self::of(Io::Tls(io), patience, pass)
    }

    fn of(io: Io, patience: Duration, pass: Pass) -> Self {
        Self { io, patience, stalled: None, given_up: false, lingering: None, unread: None, pass }
    }

    /// Whether it is a TCP connection and nothing more.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.io, Io::Plain { .. })
    }

    /// Whether another process could go on with it.
    pub(super) fn can_move(&self) -> bool {
        match &self.io {
            Io::Plain { .. } => true,
            Io::Tls(io) => io.can_move(),
        }
    }

    /// Has it go on by what another process could go on with; whether there is such a thing.
    pub(super) fn untie(&mut self) -> bool {
        match &mut self.io {
            Io::Plain { .. } => true,
            Io::Tls(io) => io.untie(),
        }
    }

    /// What it goes on with besides the socket, where it is untied and has TLS.
    pub(super) fn tls_state(&self) -> Option<tls::State> {
        match &self.io {
            Io::Plain { .. } => None,
            Io::Tls(io) => io.state(),
        }
    }

    /// The half that writes, to be lent and given back; `None`: it is not plain.
    ///
    /// While it is lent, nothing can be written here.
    pub(super) fn writer(&mut self) -> Option<&mut Option<Writer>> {
        match &mut self.io {
            Io::Plain { writer, .. } => Some(writer),
            Io::Tls(_) => None,
        }
    }

    /// Writes these bytes after those that are kept already, and keeps what the kernel does not take. Whether it took all
    /// of them.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) fn write_or_keep(
        &mut self,
        cx: &mut Context<'_>,
        kept: &mut BytesMut,
        bytes: &[u8],
    ) -> io::Result<bool> {
        let mut written = 0;
        if kept.is_empty()
            && let Poll::Ready(taken) = Pin::new(self).poll_write(cx, bytes)
        {
            written = taken?;
        }
        kept.extend_from_slice(&bytes[written..]);
        Ok(written == bytes.len())
    }

    /// The connection itself; `None`: it is broken.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.io {
            Io::Plain { reader, .. } => Some(reader.as_ref().as_fd()),
            Io::Tls(io) => io.socket(),
        }
    }

    /// The connection, and what it goes on with if it has TLS; and by what it was let in. `None`: another process cannot
    /// go on with it, or it is lent, or what was read of it has nowhere to go.
    pub(super) fn into_parts(mut self) -> Option<(TcpStream, Option<tls::State>, Pass)> {
        if !self.untie() {
            return None;
        }
        match (self.io, self.unread) {
            (Io::Plain { reader, writer }, None) => {
                let half = writer.and_then(|mut writer| writer.0.take())?;
                Some((reader.reunite(half).ok()?, None, self.pass))
            }
            (Io::Plain { .. }, Some(_)) => None,
            (Io::Tls(io), unread) => {
                let (io, mut state) = io.into_parts()?;
                unread.into_iter().for_each(|unread| state.put_back(&unread));
                Some((io, Some(state), self.pass))
            }
        }
    }

    /// These bytes were read, and are to be read again.
    pub(super) fn put_back(&mut self, read: &[u8]) {
        let unread = [read, self.unread()].concat();
        self.unread = Some(Box::new(unread.into()));
    }

    /// What was put back.
    pub(super) fn unread(&self) -> &[u8] {
        self.unread.as_deref().map_or(&[], |unread| &unread[..])
    }

    /// Reads on, and puts that back as well: nothing, if nothing more will come. Nothing is lost if this is dropped.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) async fn read_ahead(&mut self) -> io::Result<()> {
        let mut scratch = vec![0; AHEAD];
        let mut more = ReadBuf::new(&mut scratch);
        poll_fn(|cx| self.poll_read_on(cx, &mut more)).await?;
        let unread = [self.unread(), more.filled()].concat();
        self.unread = Some(Box::new(unread.into()));
        Ok(())
    }

    /// Reads what comes after what was put back.
    fn poll_read_on(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = match &mut self.io {
            Io::Plain { reader, .. } => Pin::new(reader).poll_read(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_read(cx, buf),
        };
        if polled.is_ready() {
            self.pass.doors.traffic().received.fetch_add((buf.filled().len() - before) as u64, Relaxed);
        }
        polled
    }

    fn sent(&self, polled: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = polled {
            self.pass.doors.traffic().sent.fetch_add(*bytes as u64, Relaxed);
        }
    }

    /// Gives up a client that takes nothing for too long.
    fn patiently<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let patience = self.patience;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.stalled = None;
        // Who writes on, as the one who says goodbye, waits once more, and it is still the same client.
        if !std::mem::replace(&mut self.given_up, true) {
            self.pass.doors.turn_away(RefusedBy::StallTimeout);
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl Transport {
    /// Reads and throws away, until the client has gone, or had its time: the connection has said its last word.
    pub(super) fn linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let begin = || Box::new(Lingering { time: Box::pin(sleep(LINGER)), bytes: LINGER_BYTES });
        let mut lingering = self.lingering.take().unwrap_or_else(begin);
        let polled = self.discard(cx, &mut lingering);
        self.lingering = Some(lingering);
        polled
    }

    fn discard(&mut self, cx: &mut Context<'_>, lingering: &mut Lingering) -> Poll<()> {
        let mut scratch = [0; 8192];
        while lingering.bytes > 0 && lingering.time.as_mut().poll(cx).is_pending() {
            let mut some = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut *self).poll_read(cx, &mut some));
            let len = some.filled().len();
            if read.is_err() || len == 0 {
                break;
            }
            lingering.bytes = lingering.bytes.saturating_sub(len);
        }
        Poll::Ready(())
    }
}

impl Io {
    /// What writes.
    fn writing(&mut self) -> io::Result<Pin<&mut (dyn AsyncWrite + Unpin)>> {
        match self {
            Self::Plain { writer: Some(Writer(Some(half))), .. } => Ok(Pin::new(half)),
            Self::Plain { .. } => Err(io::Error::other("a bug: written to while somebody else writes")),
            Self::Tls(io) => Ok(Pin::new(io)),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(unread) = &mut self.unread {
            let len = unread.len().min(buf.remaining());
            buf.put_slice(&unread.split_to(len));
            if !unread.has_remaining() {
                self.unread = None;
            }
            return Poll::Ready(Ok(()));
        }
        self.poll_read_on(cx, buf)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = self.io.writing()?.poll_write(cx, buf);
        self.sent(&polled);
        self.patiently(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.io.writing()?.poll_write_vectored(cx, bufs);
        self.sent(&polled);
        self.patiently(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain { .. } => true,
            Io::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.io {
            // holds nothing back
            Io::Plain { .. } => Poll::Ready(Ok(())),
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
        };
        self.patiently(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let polled = self.io.writing()?.poll_shutdown(cx);
            ready!(self.patiently(cx, polled))?;
        }
        self.linger(cx).map(Ok)
    }
}
