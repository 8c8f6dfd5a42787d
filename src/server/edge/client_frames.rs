//! What the client's WebSocket frames say to those who only look at their headers (RFC 6455, section 5.2): a pong,
//! why it closes, and where a packet ends.
//!
//! What is not finished is kept: should another process go on with the connection, it reads it from its beginning. A
//! packet is a message, with all its fragments, and the attachments that its text announces (Socket.IO protocol v5,
//! `45<attachments>-`).

use crate::{
    frames::{BINARY, CLOSE, PONG, TEXT},
    server::pace,
};

/// An unfinished packet longer than this is not kept; its connection stays where it is.
const LONGEST: usize = 8 << 20;
/// As much of a text as says how many attachments follow.
const PEEK: usize = 12;

/// Follows the client's frames through any cuts between reads.
#[derive(Debug, Default)]
pub(in crate::server) struct ClientFrames {
    /// The header, and of a Close frame its code.
    head: [u8; 16],
    have: u8,
    /// Payload of this frame that went by, and that is still to come.
    past: u64,
    left: u64,
    /// What the frames weigh since they were last weighed.
    weight: u32,
    /// Bytes of this message up to the end of this frame, and of the largest since that was last asked.
    message: u64,
    largest: u64,
    /// More fragments of this message follow.
    fragmented: bool,
    /// It is a text, and this is how it begins.
    text: bool,
    peeked: [u8; PEEK],
    peek: u8,
    /// Attachments that are still to come.
    attachments: u32,
    /// What came of the unfinished packet in earlier reads.
    unfinished: Vec<u8>,
    /// It was too long to be kept.
    lost: bool,
}

/// What was seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Seen {
    /// A pong began.
    pub(in crate::server) pong: bool,
    /// The client closes, with this code.
    pub(super) close: Option<u16>,
}

impl ClientFrames {
    /// Looks at the next bytes.
    pub(in crate::server) fn feed(&mut self, bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        let (mut at, mut begun) = (0, 0);
        while let Some(byte) = bytes.get(at) {
            if self.left > 0 {
                let some = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.look(&bytes[at..at + some]);
                at += some;
            } else {
                self.head[usize::from(self.have)] = *byte;
                self.have += 1;
                at += 1;
                if self.have < 2 || !self.complete(&mut seen) {
                    continue;
                }
            }
            if self.left == 0 {
                self.end_frame();
            }
            if self.is_between() {
                begun = at;
                (self.unfinished, self.lost) = (Vec::new(), false);
            }
        }
        self.keep(&bytes[begun..]);
        seen
    }

    /// What the frames that began since this was last asked weigh (see [`pace`]).
    pub(super) fn weight(&mut self) -> u32 {
        std::mem::take(&mut self.weight)
    }

    /// How long the largest message is that was under way since this was last asked, as far as its frames say.
    pub(super) fn largest(&mut self) -> u64 {
        std::mem::take(&mut self.largest)
    }

    /// What has come of a packet that is not finished; `None`: it is too long.
    pub(super) fn unfinished(&self) -> Option<&[u8]> {
        (!self.lost).then_some(&self.unfinished)
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.lost || self.unfinished.len() + bytes.len() > LONGEST {
            (self.unfinished, self.lost) = (Vec::new(), true);
        } else if !bytes.is_empty() {
            self.unfinished.extend_from_slice(bytes);
        }
    }

    /// Whether all that has come is whole packets.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0 && !self.fragmented && self.attachments == 0
    }

    /// Begins the payload when the header is there; whether it is.
    fn complete(&mut self, seen: &mut Seen) -> bool {
        let extended = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let header = 2 + extended + if self.is_masked() { 4 } else { 0 };
        if usize::from(self.have) < header {
            return false;
        }
        let len = match self.head[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.head[2], self.head[3]])),
            127 => self.head[2..].first_chunk().map_or(0, |len| u64::from_be_bytes(*len)),
            len => u64::from(len),
        };
        let opcode = self.opcode();
        let mut past = 0;
        // A control frame is short: its code follows the header at once.
        if opcode == CLOSE && extended == 0 && len >= 2 {
            if usize::from(self.have) < header + 2 {
                return false;
            }
            let code = &self.head[header..];
            seen.close = Some(u16::from_be_bytes([self.unmasked(code[0], 0), self.unmasked(code[1], 1)]));
            past = 2;
        }
        if opcode == TEXT || opcode == BINARY {
            (self.text, self.peek, self.message) = (opcode == TEXT, 0, 0);
        }
        if opcode < CLOSE {
            self.message = self.message.saturating_add(len);
            self.largest = self.largest.max(self.message);
        }
        (self.have, self.past, self.left) = (0, past, len - past);
        seen.pong |= opcode == PONG;
        self.weight = self.weight.saturating_add(pace::weight(len));
        true
    }

    /// Payload goes by.
    fn look(&mut self, payload: &[u8]) {
        if self.text && self.opcode() < CLOSE {
            let room = PEEK - usize::from(self.peek);
            for (at, byte) in (self.past..).zip(payload).take(room) {
                self.peeked[usize::from(self.peek)] = self.unmasked(*byte, at);
                self.peek += 1;
            }
        }
        self.past += payload.len() as u64;
        self.left -= payload.len() as u64;
    }

    fn end_frame(&mut self) {
        if self.opcode() >= CLOSE {
            return;
        }
        self.fragmented = self.head[0] & 0x80 == 0;
        if self.fragmented {
            return;
        }
        if self.text {
            self.attachments = attachments(&self.peeked[..usize::from(self.peek)]).max(self.attachments);
        } else {
            self.attachments = self.attachments.saturating_sub(1);
        }
    }

    fn opcode(&self) -> u8 {
        self.head[0] & 0x0f
    }

    fn is_masked(&self) -> bool {
        self.head[1] & 0x80 != 0
    }

    /// A byte of the payload, by its place in it.
    fn unmasked(&self, byte: u8, at: u64) -> u8 {
        if !self.is_masked() {
            return byte;
        }
        let mask = match self.head[1] & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        byte ^ self.head[mask + (at % 4) as usize]
    }
}

/// How many attachments this text says are to follow it; 0: none, or it is no binary event or acknowledgement.
fn attachments(packet: &[u8]) -> u32 {
    let [b'4', b'5' | b'6', rest @ ..] = packet else { return 0 };
    let Some(end) = rest.iter().position(|byte| *byte == b'-') else { return 0 };
    std::str::from_utf8(&rest[..end]).ok().and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            len @ 0..126 => frame.push(0x80 | len as u8),
            len => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn frame(opcode: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        part(0x80 | opcode, payload, mask)
    }

    /// Whole packets, one after the other.
    fn packets(mask: [u8; 4], text: &[u8]) -> Vec<Vec<u8>> {
        vec![
            frame(TEXT, text, mask),
            frame(PONG, b"", mask),
            [
                part(TEXT, b"42[\"a", mask),
                frame(PONG, b"between", mask),
                part(0, text, mask),
                part(0x80, b"\"]", mask),
            ]
            .concat(),
            [frame(TEXT, b"452-[\"x\"]", mask), frame(BINARY, text, mask), frame(BINARY, b"", mask)].concat(),
            frame(TEXT, b"3", mask),
            frame(TEXT, b"", mask),
            [frame(TEXT, b"461-7[]", mask), frame(PONG, b"", mask), frame(BINARY, b"x", mask)].concat(),
            frame(BINARY, text, mask),
            frame(CLOSE, &[3, 233, b'x'], mask),
        ]
    }

    proptest! {
        /// However the stream is cut up, the same is seen, and what is kept is what has come of the packet under way.
        #[test]
        fn cuts_do_not_matter(mask in any::<[u8; 4]>(), text in prop::collection::vec(any::<u8>(), 0..300), cuts in prop::collection::vec(1usize..40, 1..60)) {
            // A text of chance must not announce attachments.
            let packets = packets(mask, &[b"42".as_slice(), &text].concat());
            let stream = packets.concat();
            let (mut frames, mut seen, mut at) = (ClientFrames::default(), Seen::default(), 0);
            for cut in cuts.iter().cycle() {
                if at == stream.len() { break }
                let to = (at + cut).min(stream.len());
                let new = frames.feed(&stream[at..to]);
                seen = Seen { pong: seen.pong || new.pong, close: seen.close.or(new.close) };
                at = to;
                let mut begun = 0;
                for packet in &packets {
                    if begun + packet.len() > at { break }
                    begun += packet.len();
                }
                prop_assert_eq!(&frames.unfinished[..], &stream[begun..at]);
            }
            prop_assert_eq!(seen, Seen { pong: true, close: Some(1001) });
        }

        #[test]
        fn whatever_comes_it_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            ClientFrames::default().feed(&bytes);
        }
    }

    #[test]
    fn a_message_is_as_long_as_its_fragments_and_known_by_their_headers() {
        let mut frames = ClientFrames::default();
        let long = frame(TEXT, &[b'x'; 300], [0; 4]);
        frames.feed(&long[..8]);
        assert_eq!((frames.largest(), frames.largest()), (300, 0), "told once, before it is there");
        frames.feed(&long[8..]);
        frames.feed(&[part(BINARY, &[0; 40], [0; 4]), frame(PONG, &[0; 99], [0; 4])].concat());
        frames.feed(&[part(0x80, &[0; 50], [0; 4]), frame(TEXT, b"2", [0; 4])].concat());
        assert_eq!(frames.largest(), 90);
        frames.feed(&[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!(frames.largest(), u64::MAX);
    }

    #[test]
    fn a_close_without_a_code_has_none() {
        assert_eq!(ClientFrames::default().feed(&frame(CLOSE, b"", [1, 2, 3, 4])), Seen::default());
        assert!(
            !ClientFrames::default().feed(&frame(1, b"\x8a\x00", [0; 4])).pong,
            "payload is not looked at"
        );
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let mut frames = ClientFrames::default();
        frames.feed(&frame(TEXT, b"459999-[]", [0; 4]));
        let attachment = frame(BINARY, &[0; 60_000], [0; 4]);
        for _ in 0..=LONGEST / attachment.len() {
            frames.feed(&attachment);
        }
        assert!(frames.unfinished().is_none());
    }
}
