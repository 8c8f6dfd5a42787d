//! What is seen of a POST as it goes by: how long it is, and whether its client ends the session. The engine lets go of a
//! session that has never joined only much later, and says so to nobody.

use crate::server::link::lock;
use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

/// Between two packets of a payload (Engine.IO protocol 4).
const SEPARATOR: u8 = 0x1e;

/// Looks for the packet `1` in a payload. In protocol 3, which puts lengths before its packets, only for one that is
/// nothing else: so clients send it.
#[derive(Debug)]
pub(super) struct Closing {
    packet: &'static [u8],
    separator: Option<u8>,
    /// So much of it has come of this packet; `None`: this is another.
    matches: Option<usize>,
    seen: bool,
    /// Bytes that have come.
    len: u64,
}

impl Closing {
    pub(super) fn new(eio3: bool) -> Self {
        let (packet, separator) = if eio3 { (&b"1:1"[..], None) } else { (&b"1"[..], Some(SEPARATOR)) };
        Self { packet, separator, matches: Some(0), seen: false, len: 0 }
    }

    /// Looks at the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        for byte in bytes {
            if Some(*byte) == self.separator {
                self.seen = self.is_seen();
                self.matches = Some(0);
            } else {
                self.matches = self.matches.filter(|at| self.packet.get(*at) == Some(byte)).map(|at| at + 1);
            }
        }
    }

    /// Bytes that have gone by.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether the client closes, when nothing more comes.
    pub(super) fn is_seen(&self) -> bool {
        self.seen || self.matches == Some(self.packet.len())
    }
}

/// A body that is looked at as it goes by.
pub(super) struct Watched {
    pub(super) body: Body,
    pub(super) closing: Arc<Mutex<Closing>>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            lock(&self.closing).feed(data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_is_seen_among_other_packets_and_nothing_else_is_taken_for_one() {
        for (eio3, payload, closes) in [
            (false, "1", true),
            (false, "42[\"a\"]\u{1e}1", true),
            (false, "1\u{1e}42[\"a\"]", true),
            (false, "", false),
            (false, "11", false),
            (false, "41", false),
            (false, "3\u{1e}42[\"1\"]", false),
            (false, "1:1", false),
            (true, "1:1", true),
            (true, "1", false),
            (true, "2:41", false),
            (true, "1:11", false),
        ] {
            for cut in (0..=payload.len()).filter(|at| payload.is_char_boundary(*at)) {
                let mut closing = Closing::new(eio3);
                closing.feed(&payload.as_bytes()[..cut]);
                closing.feed(&payload.as_bytes()[cut..]);
                assert_eq!(closing.is_seen(), closes, "{eio3} {payload:?} cut at {cut}");
            }
        }
    }
}
