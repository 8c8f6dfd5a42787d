//! The frames of a WebSocket (RFC 6455, section 5.2), as a server sends them, walked over without a copy: by the server's
//! edge on their way out, and by `bench` when they come in.

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
        self.has_opcode(1)
    }

    pub(crate) fn is_binary(&self) -> bool {
        self.has_opcode(2)
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
