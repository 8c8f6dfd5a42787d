//! A packet that is longer than may be: the client is told why, and its connection ends. It comes back by itself.
//!
//! Who ends a connection with something unread has the kernel reset
//! it, so the client might never read why: what it still sends is read and thrown away until it has gone, but not for
//! long.

use super::{EdgeStream, cut, leave::Leave};
use crate::{
    config::RefusedBy,
    frames::{CLOSE, push_frame},
    server::link::Stage,
};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::ReadBuf,
    time::{Sleep, sleep},
};

/// Longest wait for the client to go.
const GOING: Duration = Duration::from_secs(5);
/// Close 1009: a message is too big (RFC 6455, section 7.4.1).
const TOO_BIG: u16 = 1009;

/// How long its going is still waited for.
pub(super) type Refusal = Option<Pin<Box<Sleep>>>;

/// In words. Short: a Close frame has room for 123 bytes.
pub(in crate::server::edge) fn too_long(max: u64) -> String {
    format!("a packet is too long: max_payload is {max} bytes")
}

impl EdgeStream {
    /// Tells the client that it sent too much at once, and nothing after it.
    pub(super) fn refuse(&mut self, cx: &mut Context<'_>) {
        if self.is_refused() {
            return;
        }
        if let Some(ticket) = self.link.ticket.get() {
            ticket.turn_away(RefusedBy::MaxPayload);
        }
        // What is thrown away cannot be read by another process.
        self.link.stays_put();
        let mut close = Vec::new();
        let reason = too_long(self.max_payload);
        push_frame(&mut close, CLOSE, &[&TOO_BIG.to_be_bytes(), reason.as_bytes()]);
        if self.leave == Leave::Not {
            // What cannot be written is seen by the next read.
            let _ = self.append(cx, &close);
        }
        (self.leave, self.refusal) = (Leave::Told, Some(Box::pin(sleep(GOING))));
    }

    /// See [`EdgeStream::refuse`].
    pub(super) fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    /// Reads without giving anything to the session, until the client has gone: then it has ended.
    pub(super) fn discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.link.stage() != Stage::Here {
            return Poll::Ready(Err(cut()));
        }
        let mut scratch = [0; 4096];
        loop {
            if self.refusal.as_mut().is_none_or(|time| time.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(Ok(()));
            }
            let mut some = ReadBuf::new(&mut scratch);
            ready!(self.read(cx, &mut some))?;
            if some.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
