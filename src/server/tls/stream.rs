//! A TLS connection after its handshake, wherever that was: what one process has begun another can go on with.
//!
//! Begun here it is rustls's. To go elsewhere its state is taken out of rustls: the keys, how many records there were, and
//! what was under way. With these it goes on, there or here; see [`super::records`].
//!
//! The state is as secret as the connection. It goes to the next server over a socket that only the two of them have, and
//! is never written anywhere.

use super::{
    records::{LONGEST, Opened, Protection, Secret},
    tap::Tap,
};
use bytes::{Buf, BytesMut};
use serde::{Deserialize, Serialize};
use std::{
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{rustls::ProtocolVersion, server::TlsStream};

/// Room for one read.
const READ: usize = 4096;

/// See the module.
pub(in crate::server) enum Stream {
    /// Its handshake was here, and it has never been elsewhere.
    Begun(Box<TlsStream<Tap>>),
    /// It goes on.
    Onward(Box<Onward>),
    /// It broke while its state was taken.
    Broken,
}

/// What it takes to go on with a connection, besides the socket.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::server) struct State {
    opening: Secret,
    sealing: Secret,
    /// Came, and is not a whole record yet.
    read: Vec<u8>,
    /// Was said, and nobody has taken it yet.
    said: Vec<u8>,
    /// Is sealed, and the kernel has not taken it yet.
    write: Vec<u8>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

impl State {
    /// These bytes were taken, and are to be taken again.
    pub(in crate::server) fn put_back(&mut self, bytes: &[u8]) {
        self.said.splice(..0, bytes.iter().copied());
    }
}

/// One that goes on.
pub(in crate::server) struct Onward {
    io: TcpStream,
    opening: Protection,
    sealing: Protection,
    read: BytesMut,
    said: BytesMut,
    write: BytesMut,
    /// The client says nothing more.
    ended: bool,
    /// Nor does this side.
    closed: bool,
}

impl Stream {
    /// Goes on with a connection from another process.
    ///
    /// # Errors
    /// The state is none.
    pub(in crate::server) fn onward(io: TcpStream, state: State) -> io::Result<Self> {
        Onward::new(io, state).map(|onward| Self::Onward(Box::new(onward)))
    }

    /// Whether another process could go on with it: of TLS 1.2 the records are another matter.
    pub(in crate::server) fn can_move(&self) -> bool {
        match self {
            Self::Begun(begun) => begun.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_3),
            Self::Onward(_) => true,
            Self::Broken => false,
        }
    }

    /// Has it go on by what another process could go on with; whether there is such a thing.
    pub(in crate::server) fn untie(&mut self) -> bool {
        if !self.can_move() {
            return false;
        }
        let onward = match std::mem::replace(self, Self::Broken) {
            Self::Begun(begun) => take_out(*begun).map(Box::new),
            Self::Onward(onward) => Some(onward),
            Self::Broken => None,
        };
        match onward {
            Some(onward) if !onward.ended && !onward.closed => *self = Self::Onward(onward),
            _ => return false,
        }
        true
    }

    /// What it would go on with; `None`: it is not untied.
    pub(in crate::server) fn state(&self) -> Option<State> {
        match self {
            Self::Onward(onward) => Some(onward.state()),
            Self::Begun(_) | Self::Broken => None,
        }
    }

    /// Its connection; `None`: it has none.
    pub(in crate::server) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Begun(begun) => Some(begun.get_ref().0.socket().as_fd()),
            Self::Onward(onward) => Some(onward.io.as_fd()),
            Self::Broken => None,
        }
    }

    /// Its connection, and what to go on with; `None`: it is not untied.
    pub(in crate::server) fn into_parts(self) -> Option<(TcpStream, State)> {
        match self {
            Self::Onward(onward) => {
                let state = onward.state();
                Some((onward.io, state))
            }
            Self::Begun(_) | Self::Broken => None,
        }
    }

    fn io(&mut self) -> io::Result<Pin<&mut dyn Duplex>> {
        match self {
            Self::Begun(begun) => Ok(Pin::new(&mut **begun)),
            Self::Onward(onward) => Ok(Pin::new(&mut **onward)),
            Self::Broken => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Takes it out of rustls; `None`: the client has said its last word, or something is wrong.
fn take_out(begun: TlsStream<Tap>) -> Option<Onward> {
    let (tap, mut tls) = begun.into_inner();
    let (mut said, mut write) = (Vec::new(), Vec::new());
    match tls.reader().read_to_end(&mut said) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        _ => return None,
    }
    // The answer to new keys of the client waits for something to be said.
    let _nothing = tls.writer().write(&[]).ok()?;
    while tls.wants_write() {
        tls.write_tls(&mut write).ok()?;
    }
    let secrets = tls.dangerous_extract_secrets().ok()?;
    let (opening, sealing) = (Secret::of(secrets.rx)?, Secret::of(secrets.tx)?);
    let (io, read) = tap.into_parts();
    Onward::new(io, State { opening, sealing, read, said, write }).ok()
}

impl Onward {
    fn new(io: TcpStream, state: State) -> io::Result<Self> {
        let (opening, sealing) = (Protection::new(state.opening)?, Protection::new(state.sealing)?);
        let [read, said, write] =
            [state.read, state.said, state.write].map(|bytes| BytesMut::from(&bytes[..]));
        Ok(Self { io, opening, sealing, read, said, write, ended: false, closed: false })
    }

    fn state(&self) -> State {
        State {
            opening: self.opening.secret().clone(),
            sealing: self.sealing.secret().clone(),
            read: self.read.to_vec(),
            said: self.said.to_vec(),
            write: self.write.to_vec(),
        }
    }

    /// Writes what is sealed.
    fn write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.write.has_remaining() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.write))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.write.advance(written),
            }
        }
        self.write = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

/// Both directions.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl AsyncRead for Onward {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        let mut scratch = [0; READ];
        while me.said.is_empty() && !me.ended {
            match me.opening.open(&mut me.read)? {
                Some(Opened::Data(data)) => me.said = data,
                Some(Opened::Closed) => me.ended = true,
                None => {
                    let mut more = ReadBuf::new(&mut scratch);
                    ready!(Pin::new(&mut me.io).poll_read(cx, &mut more))?;
                    if more.filled().is_empty() {
                        // Whoever cuts it could make it say less than was said (RFC 8446, section 6.1).
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                    me.read.extend_from_slice(more.filled());
                }
            }
        }
        let len = me.said.len().min(buf.remaining());
        buf.put_slice(&me.said.split_to(len));
        if me.said.is_empty() {
            me.said = BytesMut::new();
        }
        if me.read.is_empty() {
            me.read = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Onward {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let me = &mut *self;
        if me.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut taken = 0;
        for data in buf.chunks(LONGEST) {
            // Nothing waits here but the one record that the kernel did not take whole.
            match me.write_out(cx) {
                Poll::Ready(written) => written?,
                Poll::Pending => break,
            }
            me.sealing.seal(data, &mut me.write)?;
            taken += data.len();
        }
        if taken == 0 && !buf.is_empty() {
            return Poll::Pending;
        }
        if let Poll::Ready(written) = me.write_out(cx) {
            written?;
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write_out(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if !std::mem::replace(&mut me.closed, true) {
            me.sealing.close(&mut me.write)?;
        }
        ready!(me.write_out(cx))?;
        Pin::new(&mut me.io).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.io()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Begun(begun) => begun.is_write_vectored(),
            Self::Onward(_) | Self::Broken => false,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_shutdown(cx)
    }
}
