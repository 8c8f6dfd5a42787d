//! What the clients say: the events of the chat's profiles, or those of another server, as WebSocket frames.

use super::mark::{self, Mark};
use crate::{
    config::Profile,
    frames::{TEXT, push_header},
};
use serde_json::json;

/// A mask for all (RFC 6455, section 5.3). It protects proxies against pages; here is neither, and to take it off is as
/// much work for the server as with any other.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x17, 0x6e];

/// Who a client is.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) room: String,
}

impl Identity {
    /// In the query of a handshake.
    pub(super) fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("name", &self.name).append_pair("room", &self.room);
        format!("&{}", query.finish())
    }
}

/// What is said in this run.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) profile: Profile,
    /// The message's event.
    pub(super) event: String,
    /// The one that joins a room; `None`: nobody has to.
    pub(super) join: Option<String>,
    /// What goes with CONNECT, as JSON.
    pub(super) auth: Option<serde_json::Map<String, serde_json::Value>>,
    /// Bytes of a message's text.
    pub(super) size: usize,
    /// Which run it is.
    pub(super) run: u32,
}

/// A message, to be filled in.
#[derive(Debug)]
pub(super) struct Template {
    frame: Vec<u8>,
    mark: usize,
    header: usize,
}

impl Talk {
    /// The CONNECT packet, with what takes up a session when there was one: its private id, and the offset of the last
    /// event received (socket.io-client 4.6, connection state recovery).
    pub(super) fn connect(&self, claim: Option<(&str, &str)>) -> Vec<u8> {
        let mut auth = self.auth.clone().unwrap_or_default();
        if let Some((pid, offset)) = claim {
            auth.insert("pid".to_owned(), pid.into());
            if !offset.is_empty() {
                auth.insert("offset".to_owned(), offset.into());
            }
        }
        let auth = if auth.is_empty() { String::new() } else { serde_json::Value::Object(auth).to_string() };
        frame(TEXT, format!("40{auth}").as_bytes())
    }

    /// The event that joins, which asks to be acknowledged; as a page does that is loaded again: silently where that
    /// can be chosen.
    pub(super) fn join(&self, who: &Identity) -> Option<Vec<u8>> {
        let mut body = json!({ "msg": "", "type": 1, "mem_cnt": 1 });
        if self.profile == Profile::React {
            body["idx"] = who.room.as_str().into();
            body["name"] = who.name.as_str().into();
        }
        let packet = json!([self.join.as_ref()?, body]);
        Some(frame(TEXT, format!("421{packet}").as_bytes()))
    }

    /// What this client says again and again.
    pub(super) fn message(&self, who: &Identity) -> Template {
        let mark = Mark { run: self.run, due: 0, sender: 0, number: 0 }.write();
        let mut text = String::from_utf8_lossy(&mark).into_owned();
        text.extend(std::iter::repeat_n('x', self.size.saturating_sub(mark::LEN)));
        let body = match self.profile {
            Profile::Local | Profile::Web => json!(text),
            Profile::React => json!({ "idx": who.room, "name": who.name, "msg": text }),
        };
        let packet = format!("42{}", json!([self.event, body]));
        let mark = packet.find(&text).unwrap_or_default();
        let frame = frame(TEXT, packet.as_bytes());
        let header = frame.len() - packet.len();
        Template { frame, mark: header + mark, header }
    }

    /// Whether all clients say the same, but for the mark.
    pub(super) fn is_same_for_all(&self) -> bool {
        self.profile != Profile::React
    }

    /// How a message of the server's begins.
    pub(super) fn beginning(&self) -> Vec<u8> {
        format!("42[{},", json!(self.event)).into_bytes()
    }
}

impl Template {
    /// The frame, with this mark.
    pub(super) fn fill(&mut self, mark: Mark) -> &[u8] {
        let place = self.frame.iter_mut().skip(self.mark).zip(mark.write());
        for (n, (byte, plain)) in place.enumerate() {
            *byte = plain ^ MASK[(self.mark - self.header + n) % 4];
        }
        &self.frame
    }
}

/// The packet in a client's frame.
pub(super) fn packet(frame: &[u8]) -> Vec<u8> {
    let header = match frame.get(1).map_or(0, |len| len & 0x7f) {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let masked = frame.iter().skip(header + MASK.len());
    masked.zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

/// A whole frame, as a client sends it.
pub(super) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    push_header(&mut frame, opcode, payload.len(), 0x80);
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(profile: Profile, size: usize) -> Talk {
        let (event, join) = ("chatting".to_owned(), Some("join_room".to_owned()));
        Talk { profile, event, join, auth: None, size, run: 7 }
    }

    fn payload(frame: &[u8]) -> String {
        String::from_utf8(packet(frame)).unwrap()
    }

    #[test]
    fn a_message_is_what_the_profile_expects_and_carries_its_mark() {
        let who = Identity { name: "b\"1".to_owned(), room: "r".to_owned() };
        let mark = Mark { run: 7, due: 123_456_789, sender: 5, number: 99 };
        for size in [0, 39, 64, 70, 300, 70_000] {
            for (profile, path) in [(Profile::Local, ""), (Profile::Web, ""), (Profile::React, "/msg")] {
                let mut template = talk(profile, size).message(&who);
                let packet = payload(template.fill(mark));
                assert_eq!(Mark::find(packet.as_bytes(), &mut 0), Some(mark));
                let said: serde_json::Value =
                    serde_json::from_str(packet.strip_prefix("42").unwrap()).unwrap();
                let text = said[1].pointer(path).unwrap().as_str().unwrap();
                assert_eq!((said[0].as_str(), text.len()), (Some("chatting"), size.max(mark::LEN)));
                assert!(profile != Profile::React || said[1]["name"] == "b\"1");
            }
        }
    }

    #[test]
    fn connect_takes_up_a_session_where_there_was_one() {
        let mut talk = talk(Profile::Web, 0);
        assert_eq!(payload(&talk.connect(None)), "40");
        assert_eq!(payload(&talk.connect(Some(("P", "")))), r#"40{"pid":"P"}"#);
        talk.auth = serde_json::from_str(r#"{"token":"t"}"#).unwrap();
        assert_eq!(payload(&talk.connect(Some(("P", "1-2")))), r#"40{"token":"t","pid":"P","offset":"1-2"}"#);
        talk.join = None;
        assert!(talk.join(&Identity { name: String::new(), room: String::new() }).is_none());
    }
}
