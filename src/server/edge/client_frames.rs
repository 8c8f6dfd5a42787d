//! What the client's WebSocket frames say to those who only look at their headers (RFC 6455, section 5.2): a pong,
//! and why it closes.

/// Follows the client's frames through any cuts between reads.
#[derive(Debug, Default)]
pub(super) struct ClientFrames {
    /// The header, and of a Close frame its code.
    head: [u8; 16],
    have: u8,
    /// Payload that is still to come.
    left: u64,
    /// Frames since they were last counted.
    frames: u32,
}

/// What was seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// A pong began.
    pub(super) pong: bool,
    /// The client closes, with this code.
    pub(super) close: Option<u16>,
}

const PONG: u8 = 0xa;
const CLOSE: u8 = 0x8;

impl ClientFrames {
    /// Looks at the next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        while let [first, rest @ ..] = bytes {
            if self.left > 0 {
                let skip = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= skip as u64;
                bytes = &bytes[skip..];
                continue;
            }
            self.head[usize::from(self.have)] = *first;
            self.have += 1;
            bytes = rest;
            if self.have >= 2 {
                self.complete(&mut seen);
            }
        }
        seen
    }

    /// Frames that began since this was last asked.
    pub(super) fn count(&mut self) -> u32 {
        std::mem::take(&mut self.frames)
    }

    /// Begins the payload when the header is there.
    fn complete(&mut self, seen: &mut Seen) {
        let (opcode, masked) = (self.head[0] & 0x0f, self.head[1] & 0x80 != 0);
        let extended = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let header = 2 + extended + if masked { 4 } else { 0 };
        if usize::from(self.have) < header {
            return;
        }
        let len = match self.head[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.head[2], self.head[3]])),
            127 => self.head[2..].first_chunk().map_or(0, |len| u64::from_be_bytes(*len)),
            len => u64::from(len),
        };
        // A control frame is short: its code follows the header at once.
        if opcode == CLOSE && extended == 0 && len >= 2 {
            if usize::from(self.have) < header + 2 {
                return;
            }
            let (mask, code) = (&self.head[2..], &self.head[header..]);
            let byte = |at: usize| if masked { code[at] ^ mask[at] } else { code[at] };
            seen.close = Some(u16::from_be_bytes([byte(0), byte(1)]));
            self.left = len - 2;
        } else {
            self.left = len;
        }
        seen.pong |= opcode == PONG;
        self.have = 0;
        self.frames = self.frames.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(opcode: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
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

    proptest! {
        /// However the stream is cut up, the same is seen.
        #[test]
        fn cuts_do_not_matter(mask in any::<[u8; 4]>(), text in prop::collection::vec(any::<u8>(), 0..300), cuts in prop::collection::vec(1usize..40, 1..60)) {
            let stream = [frame(1, &text, mask), frame(PONG, b"", mask), frame(2, &text, mask), frame(CLOSE, &[3, 233, b'x'], mask)].concat();
            let (mut frames, mut seen, mut rest) = (ClientFrames::default(), Seen::default(), &stream[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (part, after) = rest.split_at((*cut).min(rest.len()));
                let new = frames.feed(part);
                seen = Seen { pong: seen.pong || new.pong, close: seen.close.or(new.close) };
                rest = after;
            }
            prop_assert_eq!(seen, Seen { pong: true, close: Some(1001) });
        }

        #[test]
        fn whatever_comes_it_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            ClientFrames::default().feed(&bytes);
        }
    }

    #[test]
    fn a_close_without_a_code_has_none() {
        assert_eq!(ClientFrames::default().feed(&frame(CLOSE, b"", [1, 2, 3, 4])), Seen::default());
        assert!(
            !ClientFrames::default().feed(&frame(1, b"\x8a\x00", [0; 4])).pong,
            "payload is not looked at"
        );
    }
}
