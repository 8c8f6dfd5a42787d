//! The frames of a WebSocket (RFC 6455, section 5.2), as a server sends them, walked over without a copy by the server's edge
//! on their way out, and by `bench` when they come in; and how one is written.

/// Opcodes (RFC 6455, section 11.8).
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;

/// The frames in a run of unmasked ones; what is left when it ends is the beginning of one, or nothing.
pub(crate) struct Frames<'a>(pub(crate) &'a [u8]);

/// One of them.
pub(crate) struct Frame<'a> {
    /// With its header.
    pub(crate) whole: &'a [u8],
    /// Without.
    pub(crate) payload: &'a [u8],
}

impl Frame<'_> {
    /// Whether it is a text, and all of it.
    pub(crate) fn is_text(&self) -> bool {
        self.has_opcode(TEXT)
    }

    pub(crate) fn has_opcode(&self, opcode: u8) -> bool {
        self.whole.first().is_some_and(|head| head & 0x0f == opcode)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let [_, len, rest @ ..] = self.0 else { return None };
        let (len, rest) = match len & 0x7f {
            126 => rest.split_first_chunk().map(|(len, rest)| (u64::from(u16::from_be_bytes(*len)), rest))?,
            127 => rest.split_first_chunk().map(|(len, rest)| (u64::from_be_bytes(*len), rest))?,
            len => (u64::from(len), rest),
        };
        let (payload, after) = usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len))?;
        let whole = &self.0[..self.0.len() - after.len()];
        self.0 = after;
        Some(Frame { whole, payload })
    }
}

/// Appends one whole, unmasked frame whose payload is these parts, as a server sends it (RFC 6455, section 5.2).
pub(crate) fn push_frame(out: &mut Vec<u8>, opcode: u8, payload: &[&[u8]]) {
    push_header(out, opcode, payload.iter().map(|part| part.len()).sum(), 0);
    payload.iter().for_each(|part| out.extend_from_slice(part));
}

/// Appends what comes before the payload, or before its mask; `masked`: 0x80 where there is one, else 0.
pub(crate) fn push_header(out: &mut Vec<u8>, opcode: u8, len: usize, masked: u8) {
    out.push(0x80 | opcode);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ ..=125), _) => out.push(masked | len),
        (_, Ok(len)) => {
            out.push(masked | 126);
            out.extend(len.to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written_whatever_its_length() {
        for len in [0, 1, 125, 126, 127, 0xffff, 0x10000] {
            let payload = vec![b'x'; len];
            let mut run = Vec::new();
            push_frame(&mut run, 1, &[&payload[..len / 3], &payload[len / 3..]]);
            push_frame(&mut run, 2, &[]);
            let frames: Vec<_> = Frames(&run).map(|frame| (frame.is_text(), frame.payload)).collect();
            assert_eq!(frames, [(true, &payload[..]), (false, &b""[..])], "{len}");
        }
    }
}
