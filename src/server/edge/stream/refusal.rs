//! A packet that is longer than may be: the client is told why, and its connection ends. It comes back by itself.

use super::{EdgeStream, cut, leave::Leave};
use crate::{
    config::RefusedBy,
    frames::{CLOSE, push_frame},
    server::link::Stage,
};
use std::{
    io,
    task::{Context, Poll},
};

/// Close 1009: a message is too big (RFC 6455, section 7.4.1).
const TOO_BIG: u16 = 1009;

/// In words. Short: a Close frame has room for 123 bytes.
pub(in crate::server::edge) fn too_long(max: u64) -> String {
    format!("a packet is too long: max_payload is {max} bytes")
}

impl EdgeStream {
    /// Tells the client that it sent too much at once, and nothing after it.
    pub(super) fn refuse(&mut self, cx: &mut Context<'_>) {
        if std::mem::replace(&mut self.refused, true) {
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
        self.leave = Leave::Told;
    }

    /// Gives nothing more to the session; when the client has gone, it has ended.
    pub(super) fn discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Some(io) if self.link.stage() == Stage::Here => io.linger(cx).map(Ok),
            _ => Poll::Ready(Err(cut())),
        }
    }
}
