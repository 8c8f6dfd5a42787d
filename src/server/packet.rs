//! What the chat says to its clients: a packet is encoded once, for all its receivers.
//!
//! It is kept as the frames of a WebSocket, which the edge writes as they are: each receiver costs a reference, and many
//! packets for one client leave in one write. For a client that polls they are taken apart again when it fetches them.

use super::link::Link;
use crate::{
    chat::Body,
    frames::{BINARY, TEXT, push_frame},
};
use bytes::Bytes;
use serde::Serialize;
use std::{cell::OnceCell, io::Write};

/// Before each attachment in protocol 3: it is a message (engine.io-parser 2, `encodePacket`).
const MESSAGE_V3: &[u8] = b"\x04";

/// An event for clients; with the offset from which on one may come back, where it is kept.
pub(super) struct Packet<'a> {
    event: &'a str,
    body: &'a Body,
    offset: Option<&'a str>,
    frames: OnceCell<Bytes>,
    frames_v3: OnceCell<Bytes>,
}

impl<'a> Packet<'a> {
    pub(super) fn new(event: &'a str, body: &'a Body, offset: Option<&'a str>) -> Self {
        let (frames, frames_v3) = Default::default();
        Self { event, body, offset, frames, frames_v3 }
    }

    /// Its frames for such a client.
    pub(super) fn frames(&self, link: &Link) -> Bytes {
        let (cell, prefix) = match link.eio3 && !self.body.parts().1.is_empty() {
            true => (&self.frames_v3, MESSAGE_V3),
            false => (&self.frames, &b""[..]),
        };
        cell.get_or_init(|| self.encode(prefix)).clone()
    }

    /// `2["event",body,"offset"]`, or with attachments `5<count>-` before it and they after (Socket.IO protocol v5).
    fn encode(&self, prefix: &[u8]) -> Bytes {
        let (body, attachments) = self.body.parts();
        let mut text = Vec::with_capacity(body.len() + self.event.len() + 64);
        // Writing into memory has no way to fail.
        let _ = match attachments.len() {
            0 => write!(text, "42["),
            count => write!(text, "45{count}-["),
        };
        let _ = serde_json::to_writer(&mut text, self.event);
        let _ = write!(text, ",{body}");
        if let Some(offset) = self.offset {
            let _ = write!(text, ",");
            let _ = serde_json::to_writer(&mut text, offset);
        }
        text.push(b']');
        let mut frames = Vec::with_capacity(text.len() + 16);
        push_frame(&mut frames, TEXT, &[&text]);
        for attachment in attachments {
            push_frame(&mut frames, BINARY, &[prefix, attachment]);
        }
        frames.into()
    }
}

/// What a client numbers an event by that it wants to have acknowledged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ack(pub(super) i64);

impl Ack {
    /// The frames of an acknowledgement: `3<id>[answer]`.
    pub(super) fn frames(self, answer: &impl Serialize) -> Bytes {
        let mut text = format!("43{}[", self.0).into_bytes();
        let _ = serde_json::to_writer(&mut text, answer);
        text.push(b']');
        let mut frames = Vec::with_capacity(text.len() + 4);
        push_frame(&mut frames, TEXT, &[&text]);
        frames.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chat::Identity, frames::Frames};

    fn sent(packet: &Packet<'_>, eio3: bool) -> Vec<(bool, Vec<u8>)> {
        let link = Link::new(Identity::default(), eio3, None, Default::default());
        let frames = packet.frames(&link);
        Frames(&frames).map(|frame| (frame.is_text(), frame.payload.to_vec())).collect()
    }

    #[test]
    fn an_event_is_one_text() {
        let body = Body::from_parts(r#"{"msg":"안녕 \"you\""}"#.into(), Vec::new()).unwrap();
        for eio3 in [false, true] {
            let text = |text: &str| [(true, text.as_bytes().to_vec())];
            let plain = Packet::new("chat", &body, None);
            assert_eq!(sent(&plain, eio3), text(r#"42["chat",{"msg":"안녕 \"you\""}]"#));
            let kept = Packet::new("a\"b", &body, Some("x-1"));
            assert_eq!(sent(&kept, eio3), text(r#"42["a\"b",{"msg":"안녕 \"you\""},"x-1"]"#));
        }
    }

    #[test]
    fn attachments_follow_it_in_the_protocol_of_the_client() {
        let json = r#"[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
        let attachments = vec![Bytes::from_static(b"first"), Bytes::from(vec![7; 70_000])];
        let body = Body::from_parts(json.into(), attachments.clone()).unwrap();
        let packet = Packet::new("chat", &body, Some("x-2"));
        let text = format!(r#"452-["chat",{json},"x-2"]"#).into_bytes();
        let [first, second] = [&attachments[0], &attachments[1]].map(|bytes| bytes.to_vec());
        let v4 = [(true, text.clone()), (false, first.clone()), (false, second.clone())];
        assert_eq!(sent(&packet, false), v4);
        let v3 =
            [(true, text), (false, [b"\x04", &first[..]].concat()), (false, [b"\x04", &second[..]].concat())];
        assert_eq!(sent(&packet, true), v3);
    }
}
