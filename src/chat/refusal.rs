//! Why an event is refused: in words for who sent it, and by what of chat.toml.

use crate::config::RefusedBy;

/// Why an event was not accepted; its text goes to the client that sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Neither the payload nor the handshake names a room.
    #[error("no room: give `room` in the handshake query{}", if *.payload { ", or `idx` in the payload" } else { "" })]
    NoRoom {
        /// Whether this profile also takes it from the payload.
        payload: bool,
    },
    /// Neither the payload nor the handshake names the sender.
    #[error("no name: give `name` in the handshake query{}", if *.payload { " or in the payload" } else { "" })]
    NoName {
        /// Whether this profile also takes it from the payload.
        payload: bool,
    },
    /// A nickname or room id over its limit.
    #[error("`{key}` is longer than {max} bytes")]
    TooLong {
        /// Which one.
        key: &'static str,
        /// The limit.
        max: usize,
    },
    /// A field of the wrong kind.
    #[error("`{key}` is not {expected}")]
    Field {
        /// Which one.
        key: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The payload as a whole is not what the event needs.
    #[error("the payload of `{event}` must be {expected}")]
    Payload {
        /// The event.
        event: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Arrays and objects nested too deep to be safe for the other clients.
    #[error("the payload is nested deeper than {max} levels")]
    TooDeep {
        /// The limit.
        max: usize,
    },
    /// Binary placeholders and attachments that do not fit together.
    #[error("the payload's binary attachments do not match its placeholders")]
    Attachments,
    /// The packet's payload is not JSON.
    #[error("the payload is not JSON")]
    NotJson,
    /// A socket in too many rooms.
    #[error("in {max} rooms already: leave one first")]
    TooManyRooms {
        /// The limit.
        max: usize,
    },
    /// A client that sends too much too fast.
    #[error("too fast: at most {max} a second; what is above is not taken, come back to it later")]
    TooFast {
        /// The limit.
        max: u32,
    },
    /// A room in which too much is said.
    #[error("too much is said in this room: at most {max} messages a second; try again later")]
    RoomTooFast {
        /// The limit.
        max: u32,
    },
    /// Another name than the token's.
    #[error("your token is for another name")]
    NotYourName,
    /// A room that the token does not allow.
    #[error("your token does not allow this room")]
    NotYourRoom,
    /// Speaking where one is not; only who has no token may.
    #[error("you are not in this room: join it first")]
    NotJoined,
    /// Taking others out without the role for it.
    #[error("your token does not allow taking others out of a room")]
    NotYourRole,
    /// An event that this chat does not have.
    #[error("there is no such event; there are join_room, chatting, leave_room and exit_room")]
    UnknownEvent,
}

impl Refusal {
    /// The key of chat.toml that it is about, where the chat itself has judged.
    pub(crate) fn limit(&self) -> Option<RefusedBy> {
        Some(match self {
            Self::TooLong { key: "name", .. } => RefusedBy::MaxName,
            Self::TooLong { .. } => RefusedBy::MaxRoom,
            Self::TooManyRooms { .. } => RefusedBy::MaxRoomsPerSocket,
            Self::RoomTooFast { .. } => RefusedBy::RoomMessagesPerSecond,
            Self::NotYourName | Self::NotYourRoom | Self::NotJoined | Self::NotYourRole => RefusedBy::Auth,
            _ => return None,
        })
    }
}
