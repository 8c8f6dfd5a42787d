//! What a token allows: under which name, in which rooms, and whether others may be taken out of them.
//!
//! Without `[auth]` nobody has rights, and everybody may do everything, as in the replaced server.

use super::{Given, Identity, Refusal, RoomId, Seat, event::Request};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rights {
    /// The one name it goes by.
    pub(crate) name: Arc<str>,
    /// Where it may be.
    pub(crate) rooms: Allowed,
    /// Whether it may take others out of its rooms.
    pub(crate) may_exit: bool,
    /// Until when, in seconds since 1970.
    pub(crate) expires: i64,
}

/// Rooms that a token allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Allowed {
    /// All there are.
    Any,
    /// These.
    Only(BTreeSet<RoomId>),
}

impl Rights {
    /// Who it is in a handshake that said this.
    pub(crate) fn identity(&self, said: &Identity) -> Identity {
        Identity { name: Given::Text(self.name.clone()), room: said.room.clone() }
    }

    /// Whether it may be in the room.
    pub(crate) fn allow_room(&self, room: &RoomId) -> bool {
        match &self.rooms {
            Allowed::Any => true,
            Allowed::Only(rooms) => rooms.contains(room),
        }
    }

    /// Whether it may go on where somebody has left off.
    pub(crate) fn allow_seats<'a>(&self, mut seats: impl Iterator<Item = &'a Seat>) -> bool {
        seats.all(|(room, name)| *name == self.name && self.allow_room(room))
    }

    /// Judges what it asks for; `joined`: whether it is in that room.
    pub(super) fn judge(&self, request: &Request, joined: impl Fn(&RoomId) -> bool) -> Result<(), Refusal> {
        let (room, name) = match request {
            Request::Join { room, name, .. }
            | Request::Chat { room, name, .. }
            | Request::Leave { room, name, .. } => (room, name),
            Request::Exit { room, sender, .. } => (room, sender),
        };
        if *name != self.name {
            return Err(Refusal::NotYourName);
        }
        if !self.allow_room(room) {
            return Err(Refusal::NotYourRoom);
        }
        match request {
            Request::Chat { .. } | Request::Exit { .. } if !joined(room) => Err(Refusal::NotJoined),
            Request::Exit { target, .. } if *target != self.name && !self.may_exit => {
                Err(Refusal::NotYourRole)
            }
            _ => Ok(()),
        }
    }
}
