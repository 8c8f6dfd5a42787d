//! The handshake: what an Engine.IO request says in its query.

use crate::server::auth;
use crate::{
    chat::{Given, Identity},
    config::Limits,
};
use http::{HeaderMap, Uri, header};
use socketioxide::socket::Sid;

/// The query of a request that is Engine.IO's.
pub(super) struct Handshake {
    /// Protocol 3 (clients 2.x) rather than 4.
    pub(super) eio3: bool,
    /// `transport=websocket`, else polling.
    pub(super) websocket: bool,
    /// The session it belongs to; none: it opens one.
    pub(super) sid: Option<Box<str>>,
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
    /// `None`: not a request the engine would take, or one with a session id that can be none.
    pub(super) fn read(uri: &Uri) -> Option<Self> {
        let (mut eio, mut transport, mut sid, mut b64) = (None, None, None, false);
        let (mut name, mut room, mut token, mut modern) = (None, None, None, false);
        // The first of a kind counts, as in the engine's own reading.
        for (key, value) in form_urlencoded::parse(uri.query()?.as_bytes()) {
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
        let eio3 = match eio?.as_ref() {
            "3" => true,
            "4" => false,
            _ => return None,
        };
        let websocket = match transport?.as_ref() {
            "websocket" => true,
            "polling" => false,
            _ => return None,
        };
        let sid = match sid {
            Some(sid) if sid.parse::<Sid>().is_err() => return None,
            sid => sid.map(|sid| sid.into_owned().into_boxed_str()),
        };
        Some(Self { eio3, websocket, sid, b64, modern, token, name, room })
    }

    /// Who the client says it is.
    pub(super) fn identity(&self, limits: &Limits) -> Identity {
        let given = |text: &Option<String>, max| Given::new(text.as_deref().unwrap_or_default(), max);
        Identity { name: given(&self.name, limits.max_name), room: given(&self.room, limits.max_room) }
    }

    /// The same request, reduced to what the engine reads.
    pub(super) fn engine_uri(&self) -> String {
        let protocol = if self.eio3 { 3 } else { 4 };
        let transport = if self.websocket { "websocket" } else { "polling" };
        let b64 = if self.b64 { "&b64=1" } else { "" };
        let sid = self.sid.as_ref().map(|sid| format!("&sid={sid}")).unwrap_or_default();
        format!("/socket.io/?EIO={protocol}&transport={transport}{b64}{sid}")
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

    fn read(query: &str) -> Option<Handshake> {
        Handshake::read(&format!("/socket.io/?{query}").parse().unwrap())
    }

    #[test]
    fn names_arrive_as_people_wrote_them() {
        let handshake = read("EIO=4&transport=websocket&name=%EA%B9%80+%26%2B%25&room=7").unwrap();
        assert_eq!((handshake.name.as_deref(), handshake.room.as_deref()), (Some("김 &+%"), Some("7")));
        assert_eq!(handshake.engine_uri(), "/socket.io/?EIO=4&transport=websocket");
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
    fn what_the_engine_would_refuse_is_left_to_it() {
        for query in [
            "",
            "EIO=5&transport=polling",
            "EIO=4&transport=pigeon",
            "EIO=4",
            "EIO=4&transport=polling&sid=x",
        ] {
            assert!(read(query).is_none(), "{query}");
        }
    }
}
