//! The offset: what a client remembers of the last event it received, and gives back when it returns.
//!
//! On the wire it is `<epoch>-<id>`, the last argument of every event that is kept. Clients keep the last argument
//! of an event when it is a text (socket.io-client 4.6, connection state recovery): no other event may end in one.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One life of a process that keeps a journal: whose ids they are. Random, so that no clock has a say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Epoch(pub(super) u64);

impl Epoch {
    /// Bits of it; 12 hexadecimal digits are short in every packet, and do not meet again by chance.
    const MASK: u64 = (1 << 48) - 1;

    pub(super) fn new() -> Self {
        Self(getrandom::u64().unwrap_or_default() & Self::MASK)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// What was kept last, when a client received it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offset {
    pub(super) epoch: Epoch,
    pub(super) id: u64,
}

impl Offset {
    /// What a client says; `None`: no offset of ours.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (epoch, id) = text.split_once('-')?;
        // A sign would be read as part of the number.
        if !id.bytes().all(|byte| byte.is_ascii_digit())
            || !epoch.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return None;
        }
        Some(Self { epoch: Epoch(u64::from_str_radix(epoch, 16).ok()?), id: id.parse().ok()? })
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.id)
    }
}

/// Why a session was not recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Refused {
    /// Recovery is off, or the journal has trouble.
    Off,
    /// No such session: a wrong id, or one that has expired.
    Unknown,
    /// The offset is none, or of another journal.
    Foreign,
    /// The offset lies beyond what was ever sent.
    Ahead,
    /// What it missed is no longer kept.
    Pruned,
    /// Its token does not allow what the session was.
    Forbidden,
}

impl Refused {
    /// All of them.
    pub(super) const ALL: [Self; 6] =
        [Self::Off, Self::Unknown, Self::Foreign, Self::Ahead, Self::Pruned, Self::Forbidden];

    /// Its name in `/stats` and logs.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Unknown => "unknown session",
            Self::Foreign => "foreign offset",
            Self::Ahead => "offset ahead",
            Self::Pruned => "pruned",
            Self::Forbidden => "not allowed any more",
        }
    }
}

/// A life that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct Life {
    pub(super) epoch: Epoch,
    /// What was kept last in it, or before.
    pub(super) last: u64,
}

/// How far the ids have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) epoch: Epoch,
    pub(super) last: u64,
    /// The lives before, in the same journal.
    pub(super) before: Vec<Life>,
}

impl Kept {
    /// Nothing yet.
    pub(super) fn begin() -> Self {
        Self { epoch: Epoch::new(), last: 0, before: Vec::new() }
    }

    /// Nothing, after a process that came so far.
    pub(super) fn after(life: Life) -> Self {
        Self { last: life.last, ..Self::begin() }
    }

    /// What was kept so far is lost: no offset of before means anything now.
    pub(super) fn break_off(&mut self) {
        (self.epoch, self.before) = (Epoch::new(), Vec::new());
    }

    /// After which id a client is to be replayed what it missed; `since` is where it began to receive at all.
    ///
    /// # Errors
    /// It says what cannot be true.
    pub(super) fn resume(&self, offset: Option<&str>, since: u64) -> Result<u64, Refused> {
        match offset {
            // Nothing received yet.
            None => Ok(since),
            Some(text) => {
                let Offset { epoch, id } = Offset::read(text).ok_or(Refused::Foreign)?;
                let life = self.before.iter().find(|life| life.epoch == epoch);
                let last = match life {
                    Some(life) => life.last,
                    None if epoch == self.epoch => self.last,
                    None => return Err(Refused::Foreign),
                };
                if id > last {
                    return Err(Refused::Ahead);
                }
                Ok(id.max(since))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_client_says_is_believed_only_as_far_as_it_can_be_true() {
        let before = vec![Life { epoch: Epoch(0xa1), last: 7 }, Life { epoch: Epoch(0xa2), last: 14 }];
        let kept = Kept { epoch: Epoch(0xab), last: 20, before };
        for (offset, since, expect) in [
            (Some("ab-15"), 3, Ok(15)),
            (Some("ab-20"), 3, Ok(20)),
            (Some("ab-0"), 3, Ok(3)),
            (Some("ab-21"), 3, Err(Refused::Ahead)),
            (Some("ac-15"), 3, Err(Refused::Foreign)),
            (Some("a2-14"), 3, Ok(14)),
            (Some("a1-6"), 3, Ok(6)),
            // its last words were lost with the machine: others have those ids now
            (Some("a2-15"), 3, Err(Refused::Ahead)),
            (Some("a1-8"), 3, Err(Refused::Ahead)),
            (Some("ab-12"), 16, Ok(16)), // never what was said before it came
            (None, 12, Ok(12)),
            (Some(""), 12, Err(Refused::Foreign)),
            (Some("ab"), 12, Err(Refused::Foreign)),
            (Some("ab--1"), 12, Err(Refused::Foreign)),
            (Some("ab-+12"), 12, Err(Refused::Foreign)),
            (Some("ab-99999999999999999999"), 12, Err(Refused::Foreign)),
            (Some("a message that ends in a text"), 12, Err(Refused::Foreign)),
        ] {
            assert_eq!(kept.resume(offset, since), expect, "{offset:?} {since}");
        }
    }

    proptest! {
        #[test]
        fn offsets_read_as_they_were_written(epoch in 0u64..1 << 48, id in any::<u64>()) {
            let offset = Offset { epoch: Epoch(epoch), id };
            prop_assert_eq!(Offset::read(&offset.to_string()), Some(offset));
        }

        #[test]
        fn whatever_a_client_says_nothing_outside_is_replayed(text in ".{0,40}", since in 0u64..20) {
            let kept = Kept { epoch: Epoch(1), last: 20, before: Vec::new() };
            for offset in [None, Some(text.as_str())] {
                if let Ok(from) = kept.resume(offset, since) {
                    prop_assert!((since..=20).contains(&from));
                }
            }
        }
    }
}
