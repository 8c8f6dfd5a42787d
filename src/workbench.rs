//! What benchmarks and fuzzers reach of the program's inside; no part of the product.
//!
//! Thin: who works here works on the real thing. Nothing is promised to anybody else.

pub mod hostile;

pub use crate::server::workbench::{Journal, Room, client_frames};

use crate::{
    chat::{Caller, Chat, Effect, Given, Identity, Kind, Now, WallTime, parse},
    config::{Limits, Profile},
    server::workbench::{Receiver, encode},
};
use std::time::Instant;

/// The rules of the profile `web`, and one member that speaks.
#[derive(Debug)]
pub struct Rules {
    chat: Chat,
    speaker: Identity,
    receiver: Receiver,
    now: Now,
}

impl Rules {
    /// In a room with so many.
    #[must_use]
    pub fn new(members: usize) -> Self {
        let mut limits = Limits::default();
        limits.room_messages.per_second = 0;
        let mut chat = Chat::new(Profile::Web, limits);
        for member in 0..members {
            chat.board(member, vec![("room".into(), "kim".into())]);
        }
        let speaker = Identity { name: Given::new("kim", 256), room: Given::new("room", 256) };
        let now = Now { at: Instant::now(), wall: WallTime { hour: 15, minute: 4 } };
        Self { chat, speaker, receiver: Receiver::default(), now }
    }

    /// Reads an event as it comes in, judges it, and encodes what goes out. Gives the bytes of that; `None`: refused.
    pub fn judge(&mut self, text: &str) -> Option<usize> {
        let (name, payload) = parse(text, Vec::new()).ok()?;
        let caller = Caller { said: &self.speaker, rights: None };
        let effects = self.chat.handle(0, caller, Kind::named(&name)?, &payload.ok()?, self.now).ok()?;
        let size = |effect: &Effect| match effect {
            Effect::Say(_, event, body) | Effect::Tell(_, event, body) => encode(event, body, &self.receiver),
            _ => 0,
        };
        Some(effects.iter().map(size).sum())
    }
}
