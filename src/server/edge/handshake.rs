//! The handshake: what an Engine.IO request says in its query.

use crate::server::auth;
use crate::{
    chat::{Given, Identity},
    config::Limits,
};
use engineioxide_core::Sid;
use http::{HeaderMap, Uri, header};

/// What is wrong with a request, in the numbers and words of Engine.IO's reference implementation (engine.io,
/// `Server.errors`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    Transport,
    Session,
    Method,
    Request,
    Protocol,
}

impl Bad {
    /// Its number, and its words.
    pub(super) fn told(self) -> (u8, &'static str) {
        match self {
            Self::Transport => (0, "Transport unknown"),
            Self::Session => (1, "Session ID unknown"),
            Self::Method => (2, "Bad handshake method"),
            Self::Request => (3, "Bad request"),
            Self::Protocol => (5, "Unsupported protocol version"),
        }
    }
}

/// The query of a request that is Engine.IO's.
pub(super) struct Handshake {
    /// Protocol 3 (clients 2.x) rather than 4.
    pub(super) eio3: bool,
    /// `transport=websocket`, else polling.
    pub(super) websocket: bool,
    /// The session it belongs to; none: it opens one.
    pub(super) sid: Option<Sid>,
    /// The client wants base64 instead of binary (protocol 3).
    pub(super) b64: bool,
    /// From a client of 4.8 or later, by the form of its cache-busting `t`: base 36, where earlier ones used 64
    /// digits and the time, whose first is `P` until the year 2031 (engine.io-client: `randomString`, `yeast`).
    pub(super) modern: bool,
    /// Who the client is, where that has to be proved and it says so here.
    pub(super) token: Option<String>,
    name: Option<String>,
    room: Option<String>,
}

impl Handshake {
    /// Reads the query of a request.
    ///
    /// # Errors
    /// It is not Engine.IO's, or has a session id that can be none.
    pub(super) fn read(uri: &Uri) -> Result<Self, Bad> {
        let (mut eio, mut transport, mut sid, mut b64) = (None, None, None, false);
        let (mut name, mut room, mut token, mut modern) = (None, None, None, false);
        let query = uri.query().ok_or(Bad::Transport)?;
        // The first of a kind counts.
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "EIO" => eio = eio.or(Some(value)),
                "transport" => transport = transport.or(Some(value)),
                "sid" => sid = sid.or(Some(value)),
                "t" => {
                    modern = value.len() >= 7
                        && value.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
                }
                "b64" => b64 |= value == "1" || value == "true",
                "name" => name = name.or(Some(value.into_owned())),
                "token" if value.len() <= auth::LONGEST => token = token.or(Some(value.into_owned())),
                "room" => room = room.or(Some(value.into_owned())),
                _ => {}
            }
        }
        let eio3 = match eio.as_deref() {
            Some("3") => true,
            Some("4") => false,
            _ => return Err(Bad::Protocol),
        };
        let sid = sid.map(|sid| sid.parse().map_err(|_| Bad::Session)).transpose()?;
        let websocket = match transport.as_deref() {
            Some("websocket") => true,
            Some("polling") => false,
            _ => return Err(Bad::Transport),
        };
        Ok(Self { eio3, websocket, sid, b64, modern, token, name, room })
    }

    /// Who the client says it is.
    pub(super) fn identity(&self, limits: &Limits) -> Identity {
        let given = |text: &Option<String>, max| Given::new(text.as_deref().unwrap_or_default(), max);
        Identity { name: given(&self.name, limits.max_name), room: given(&self.room, limits.max_room) }
    }
}

/// Whether the request asks for WebSocket 13 (RFC 6455, section 4.2.1).
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    let has = |name, token: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
    };
    has(header::CONNECTION, "upgrade")
        && has(header::UPGRADE, "websocket")
        && has(header::SEC_WEBSOCKET_VERSION, "13")
}

pub(super) use tokio_tungstenite::tungstenite::handshake::derive_accept_key as accept_key;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Handshake, Bad> {
        Handshake::read(&format!("/socket.io/?{query}").parse().unwrap())
    }

    #[test]
    fn names_arrive_as_people_wrote_them() {
        let handshake = read("EIO=4&transport=websocket&name=%EA%B9%80+%26%2B%25&room=7").unwrap();
        assert_eq!((handshake.name.as_deref(), handshake.room.as_deref()), (Some("김 &+%"), Some("7")));
        assert!(handshake.websocket && !handshake.eio3 && handshake.sid.is_none());
    }

    #[test]
    fn clients_that_go_on_after_a_packet_that_is_none_are_known_by_their_t() {
        for (t, modern) in
            [("z1x3kq9a", true), ("PDi3NZ8", false), ("PDi3NZ8.1", false), ("", false), ("1", false)]
        {
            assert_eq!(read(&format!("EIO=4&transport=polling&t={t}")).unwrap().modern, modern, "{t}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (query, bad) in [
            ("", Bad::Protocol),
            ("EIO=5&transport=polling", Bad::Protocol),
            ("EIO=4&transport=pigeon", Bad::Transport),
            ("EIO=4", Bad::Transport),
            ("EIO=4&transport=polling&sid=x", Bad::Session),
        ] {
            assert_eq!(read(query).err(), Some(bad), "{query}");
        }
    }
}
