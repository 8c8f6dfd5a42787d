//! WebSocket frames and Engine.IO payloads, looked at from outside: how many Socket.IO packets go by.
//!
//! Only what the sequencer queues is counted: events (`42`, `45`) and acknowledgements (`43`, `46`), one for each
//! packet, with its last attachment; the engine's own packets and the CONNECT reply are not.

pub(super) use crate::frames::Frames;
use std::borrow::Cow;

/// Whether an Engine.IO text packet is one that the sequencer counted when it queued it.
fn counts(packet: &[u8]) -> bool {
    matches!(packet, [b'4', b'2' | b'3' | b'5' | b'6', ..])
}

/// How many attachments this text says are to follow it; 0: none, or it is no binary event or acknowledgement.
pub(super) fn attachments(packet: &[u8]) -> u32 {
    let [b'4', b'5' | b'6', rest @ ..] = packet else { return 0 };
    let Some(end) = rest.iter().position(|byte| *byte == b'-') else { return 0 };
    std::str::from_utf8(&rest[..end]).ok().and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Counts the packets that have gone by whole, in runs of frames that may come between a packet and its attachments.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    attachments: u32,
}

impl Outgoing {
    /// Counts those that this run completes.
    pub(super) fn count(&mut self, run: &[u8]) -> u64 {
        let mut packets = 0;
        for frame in Frames(run) {
            if frame.is_text() && counts(frame.payload) {
                self.attachments = attachments(frame.payload);
                packets += u64::from(self.attachments == 0);
            } else if frame.is_binary() && self.attachments > 0 {
                self.attachments -= 1;
                packets += u64::from(self.attachments == 0);
            }
        }
        packets
    }
}

/// Counts the packets in the body of an Engine.IO 4 polling reply: packets separated by 0x1e.
pub(super) fn packets_in_payload(body: &[u8]) -> u64 {
    body.split(|byte| *byte == 0x1e).filter(|packet| counts(packet)).count() as u64
}

/// Counts the packets in the body of an Engine.IO 3 polling reply, and mends its attachments.
///
/// Attachments go as base64, which protocol 3 writes `b4...` and protocol 4 `b...`; engineioxide 0.17 writes the
/// latter to both (it queues them as `Packet::Binary`, where protocol 3 has `BinaryV3`), and clients 2.x then throw
/// away the connection. That fixed, the mending can go.
pub(super) fn mend_v3_payload(body: &[u8]) -> (u64, Cow<'_, [u8]>) {
    let split = if matches!(body, [0 | 1, ..]) { split_v3_binary } else { split_v3_text };
    let (mut packets, mut mended, mut rest) = (0, Vec::new(), body);
    while let Some((packet, after)) = split(rest) {
        packets += u64::from(counts(packet));
        if let [b'b', base64 @ ..] = packet {
            let len = base64.len() + 2;
            if rest[0] == 0 {
                mended.push(0);
                mended.extend(len.to_string().bytes().map(|digit| digit - b'0'));
                mended.push(255);
            } else {
                mended.extend(format!("{len}:").bytes());
            }
            mended.extend(b"b4");
            mended.extend(base64);
        } else {
            mended.extend(&rest[..rest.len() - after.len()]);
        }
        rest = after;
    }
    // Whatever was not understood goes out as it is.
    mended.extend(rest);
    if mended == body { (packets, Cow::Borrowed(body)) } else { (packets, Cow::Owned(mended)) }
}

/// Whether such a body has a CONNECT reply in it.
pub(super) fn connects_v3(body: &[u8]) -> bool {
    let split = if matches!(body, [0 | 1, ..]) { split_v3_binary } else { split_v3_text };
    let mut rest = body;
    std::iter::from_fn(|| {
        let (packet, after) = split(rest)?;
        rest = after;
        Some(packet)
    })
    .any(|packet| packet.starts_with(b"40"))
}

/// `<length>:<packet>`, the length in UTF-16 units (engine.io-parser 2, `encodePayload`).
fn split_v3_text(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = body.iter().take(20).position(|byte| *byte == b':')?;
    let len: usize = std::str::from_utf8(&body[..colon]).ok()?.parse().ok()?;
    let (mut units, mut end) = (0, 0);
    let rest = &body[colon + 1..];
    while units < len {
        // One unit for a character of up to three bytes in UTF-8, two for one of four.
        let (bytes, width) = match rest.get(end)? {
            0..0x80 => (1, 1),
            0x80..0xe0 => (2, 1),
            0xe0..0xf0 => (3, 1),
            _ => (4, 2),
        };
        units += width;
        end += bytes;
    }
    rest.split_at_checked(end)
}

/// 0 (text) or 1 (binary), the length's digits as bytes, 255, then that many bytes (`encodePayloadAsArrayBuffer`).
fn split_v3_binary(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = body.get(1..)?;
    let digits = rest.iter().take_while(|digit| **digit < 10).count();
    let len =
        rest[..digits].iter().fold(0usize, |len, d| len.saturating_mul(10).saturating_add(usize::from(*d)));
    rest.get(digits + 1..)?.split_at_checked(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::push_frame;
    use proptest::prelude::*;

    #[test]
    fn events_and_acks_count_and_nothing_else() {
        let mut run = Vec::new();
        for (opcode, payload) in [
            (1, &b"0{\"sid\":\"x\"}"[..]),
            (1, b"40{}"),
            (1, b"42[\"a\"]"),
            (1, b"43[]"),
            (1, b"452-[\"b\"]"),
            (2, b"42 attachment"),
            (2, b"another"),
            (2, b"of nobody"),
            (1, b"2"),
            (9, b"42"),
            (1, &[b'4'; 200]),
            (1, &[b"42".as_slice(), &[b'x'; 70_000]].concat()),
        ] {
            push_frame(&mut run, opcode, &[payload]);
        }
        assert_eq!(Outgoing::default().count(&run), 4);
        let cuts: Vec<_> = Frames(&run).map(|frame| frame.whole).collect();
        let mut outgoing = Outgoing::default();
        assert_eq!(cuts.into_iter().map(|frame| outgoing.count(frame)).sum::<u64>(), 4);
        assert_eq!(packets_in_payload(b"42[1]\x1e2\x1e43[]\x1ebAAA=\x1e40"), 2);
        assert_eq!(packets_in_payload(b""), 0);
    }

    #[test]
    fn v3_lengths_count_as_javascript_counts() {
        for (body, packets) in
            [("4:42[]1:2", 1), ("8:42[\"😀\"]4:43[]1:3", 2), ("9:42[\"김é\"]1:3", 1), ("", 0)]
        {
            assert_eq!(mend_v3_payload(body.as_bytes()), (packets, Cow::Borrowed(body.as_bytes())), "{body}");
        }
        // a text packet of 4 bytes and a binary one of 2
        assert_eq!(mend_v3_payload(&[0, 4, 255, b'4', b'2', b'[', b']', 1, 2, 255, 4, 2]).0, 1);
    }

    #[test]
    fn v3_attachments_get_their_type() {
        assert_eq!(mend_v3_payload(b"4:42[]5:bAAA=1:3"), (1, Cow::Borrowed(&b"4:42[]6:b4AAA=1:3"[..])));
        let binary = [0, 2, 255, b'4', b'2', 0, 9, 255, b'b', b'A', b'A', b'A', b'A', b'A', b'A', b'A', b'A'];
        let mended =
            [0, 2, 255, b'4', b'2', 0, 1, 0, 255, b'b', b'4', b'A', b'A', b'A', b'A', b'A', b'A', b'A', b'A'];
        assert_eq!(mend_v3_payload(&binary), (1, Cow::Borrowed(&mended[..])));
    }

    proptest! {
        #[test]
        fn whatever_comes_it_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            Outgoing::default().count(&bytes);
            packets_in_payload(&bytes);
            mend_v3_payload(&bytes);
        }
    }
}
