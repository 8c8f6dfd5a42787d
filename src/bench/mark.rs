//! The mark: what a message carries in its text, so that whoever receives it knows all about it without reading JSON.
//!
//! Lower-case hexadecimal digits in fixed places, which no server has a reason to write in another way.

/// Where a mark begins.
const SIGN: &[u8] = b"~cb";
/// Digits of: the run, when it was due, who sent it, which message it is.
const DIGITS: [usize; 4] = [8, 14, 6, 8];
/// Bytes of a mark.
pub(super) const LEN: usize = SIGN.len() + DIGITS[0] + DIGITS[1] + DIGITS[2] + DIGITS[3];

/// What is said of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Of which run of this program; what is left of others does not count.
    pub(super) run: u32,
    /// When it was to be sent, in ns since the run began.
    pub(super) due: u64,
    /// The number of its sender.
    pub(super) sender: u32,
    /// Its own number: counted over all senders, from 0.
    pub(super) number: u32,
}

impl Mark {
    /// As it stands in a text.
    pub(super) fn write(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let (sign, mut rest) = bytes.split_at_mut(SIGN.len());
        sign.copy_from_slice(SIGN);
        let values = [self.run.into(), self.due, self.sender.into(), self.number.into()];
        for (value, digits) in values.into_iter().zip(DIGITS) {
            let (place, after) = rest.split_at_mut(digits);
            for (n, digit) in place.iter_mut().rev().enumerate() {
                let nibble = (value >> (4 * n)) as u8 & 15;
                *digit = if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble };
            }
            rest = after;
        }
        bytes
    }

    /// The first one in `text`. `hint`: where the last one was, which is where most are; it is kept up to date.
    pub(super) fn find(text: &[u8], hint: &mut usize) -> Option<Self> {
        let at = |place: usize| text.get(place..).filter(|rest| rest.starts_with(SIGN));
        let found = at(*hint).or_else(|| {
            *hint = text.windows(SIGN.len()).position(|window| window == SIGN)?;
            at(*hint)
        })?;
        Self::read(found.get(SIGN.len()..LEN)?)
    }

    fn read(mut digits: &[u8]) -> Option<Self> {
        let mut values = [0u64; 4];
        for (value, count) in values.iter_mut().zip(DIGITS) {
            let (place, after) = digits.split_at_checked(count)?;
            for digit in place {
                let nibble = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return None,
                };
                *value = *value << 4 | u64::from(nibble);
            }
            digits = after;
        }
        let [run, due, sender, number] = values;
        let narrow = |value: u64| u32::try_from(value).ok();
        Some(Self { run: narrow(run)?, due, sender: narrow(sender)?, number: narrow(number)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_found(
            (run, due, sender, number) in (any::<u32>(), 0u64..1 << 56, 0u32..1 << 24, any::<u32>()),
            before in ".{0,40}", after in ".{0,40}", mut hint in 0usize..60,
        ) {
            prop_assume!(!before.contains('~'));
            let mark = Mark { run, due, sender, number };
            let text = [before.as_bytes(), &mark.write(), after.as_bytes()].concat();
            prop_assert_eq!(Mark::find(&text, &mut hint), Some(mark));
            prop_assert_eq!(hint, before.len());
            prop_assert_eq!(Mark::find(&text, &mut hint), Some(mark));
        }

        #[test]
        fn whatever_comes_it_does_not_panic(text in prop::collection::vec(any::<u8>(), 0..80), mut hint in 0usize..90) {
            Mark::find(&text, &mut hint);
            Mark::find(&[b"~cb", &text[..]].concat(), &mut 0);
        }
    }
}
