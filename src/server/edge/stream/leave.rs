//! Goodbye without loss, from the reader's side: a Close frame alone would have the client throw away what it sends
//! until the connection is gone.
//!
//! A ping goes out, and nothing after it: its pong says that the client has taken in all before. Then a packet that is
//! none makes the client leave in the same moment: what it says from then on it keeps, and what it said before is read
//! until its end.

use super::EdgeStream;
use crate::server::link::Drain;
use std::task::Context;

/// How far it is with saying goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
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

impl EdgeStream {
    /// Goes on with it, as far as the server wants it to.
    pub(super) fn take_leave(&mut self, cx: &mut Context<'_>) {
        let drain = self.link.draining();
        if drain >= Drain::Start && self.leave == Leave::Not {
            self.leave = Leave::Asked;
            // Each write is taken whole: this is a frame boundary. What cannot be written is seen by the next read.
            let _ = self.append(cx, PING);
        }
        if drain == Drain::Late && self.leave == Leave::Asked {
            self.tell_to_go(cx);
        }
        if self.leave != Leave::Not {
            let _ = self.write_tail(cx);
        }
    }

    /// The client has taken in all before the ping.
    pub(super) fn leave_at_pong(&mut self, cx: &mut Context<'_>) {
        if self.leave == Leave::Asked {
            self.tell_to_go(cx);
        }
    }

    fn tell_to_go(&mut self, cx: &mut Context<'_>) {
        self.leave = Leave::Told;
        // Older clients fall over a Socket.IO packet that is none; whether it was told an id does not say which it is.
        let connected = self.link.is_connected();
        let no_packet = if self.link.is_modern() && connected { NO_SOCKET_PACKET } else { NO_ENGINE_PACKET };
        let _ = self.append(cx, &[no_packet, CLOSE].concat());
    }
}
