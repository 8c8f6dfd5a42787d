//! A connection below TLS: what has come of a record that is not there whole is remembered. rustls has it as well, but does
//! not give it back, and another process could not go on without it.

use super::records::{self, HEADER};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// See the module.
pub(in crate::server) struct Tap {
    io: TcpStream,
    unfinished: Vec<u8>,
}

impl Tap {
    pub(super) fn new(io: TcpStream) -> Self {
        Self { io, unfinished: Vec::new() }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.io
    }

    /// The connection, and the beginning of the record that is coming.
    pub(super) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.io, self.unfinished)
    }
}

/// What follows the last record in `unfinished` and then `read` that is there whole.
fn follow(unfinished: &mut Vec<u8>, read: &[u8]) {
    if unfinished.is_empty() {
        unfinished.extend_from_slice(after_whole(read));
    } else {
        unfinished.extend_from_slice(read);
        let left = after_whole(unfinished).len();
        unfinished.drain(..unfinished.len() - left);
    }
    if unfinished.is_empty() {
        *unfinished = Vec::new();
    }
}

fn after_whole(mut bytes: &[u8]) -> &[u8] {
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER>()
        && let Some(after) = rest.get(records::length(header)..)
    {
        bytes = after;
    }
    bytes
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        follow(&mut self.unfinished, &buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However they come, in reads of whatever size: what is left is what follows the last whole record.
        #[test]
        fn of_records_that_are_there_whole_nothing_is_remembered(
            lengths in prop::collection::vec(0usize..300, 0..8),
            cut in any::<prop::sample::Index>(),
            read in 1usize..400,
        ) {
            let record = |len: &usize| {
                let [high, low] = u16::try_from(*len).unwrap().to_be_bytes();
                [vec![23, 3, 3, high, low], vec![7; *len]].concat()
            };
            let all: Vec<u8> = lengths.iter().flat_map(record).collect();
            let cut = cut.index(all.len() + 1);
            let (mut whole, mut unfinished) = (0, Vec::new());
            for len in lengths.iter().map(|len| len + HEADER) {
                if whole + len > cut {
                    break;
                }
                whole += len;
            }
            all[..cut].chunks(read).for_each(|read| follow(&mut unfinished, read));
            prop_assert_eq!(&unfinished[..], &all[whole..cut]);
        }
    }
}
