//! Reading an event: from a client's JSON to a [`Request`] the profile's rules accept, or a [`Refusal`].
//!
//! Here and nowhere else is decided where room and nickname of an event come from (the profiles' table), what
//! counts as missing, and what is too long or malformed.

use super::{Given, Identity, Refusal, RoomId};
use crate::config::{Limits, Profile};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::{Number, Value, value::RawValue};
use std::{borrow::Cow, fmt, sync::Arc};

/// Deeper nesting is refused: clients walk what they get recursively.
const MAX_DEPTH: usize = 128;

/// The events a client can send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `join_room`
    Join,
    /// `chatting`
    Chat,
    /// `leave_room`
    Leave,
    /// `exit_room`
    Exit,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Join, Self::Chat, Self::Leave, Self::Exit];

    /// The event of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Join => "join_room",
            Self::Chat => "chatting",
            Self::Leave => "leave_room",
            Self::Exit => "exit_room",
        }
    }
}

/// What an event carries: its first argument, as the client wrote it, and binary attachments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Payload {
    /// The JSON text, untouched; `None` when there is no argument.
    pub(super) json: Option<Box<RawValue>>,
    /// What the placeholders in it stand for.
    pub(super) attachments: Vec<Bytes>,
}

impl Payload {
    fn part(&self, json: &RawValue) -> Self {
        Self { json: Some(json.to_owned()), attachments: self.attachments.clone() }
    }
}

/// A packet's name and payload, told apart.
///
/// # Errors
/// The inner one: the event is known, but its payload is nested too deep, or attachments and placeholders do not
/// fit. The outer one: there is not even a name.
pub(crate) fn parse(
    text: &str,
    attachments: Vec<Bytes>,
) -> Result<(String, Result<Payload, Refusal>), Refusal> {
    let Packet { name, json } = serde_json::from_str(text).map_err(|_| Refusal::NotJson)?;
    Ok((name.into_owned(), payload(text, json, attachments)))
}

fn payload(text: &str, json: Option<&RawValue>, attachments: Vec<Bytes>) -> Result<Payload, Refusal> {
    // One level is the packet's own.
    if depth(text) > MAX_DEPTH + 1 {
        return Err(Refusal::TooDeep { max: MAX_DEPTH });
    }
    if !attachments.is_empty() {
        let value = json.map_or(Ok(Value::Null), |raw| serde_json::from_str(raw.get()));
        let value = value.map_err(|_| Refusal::NotJson)?;
        if !placeholders_fit(&value, attachments.len()) {
            return Err(Refusal::Attachments);
        }
    }
    Ok(Payload { json: json.map(ToOwned::to_owned), attachments })
}

/// Whether every placeholder, `{"_placeholder":true,"num":N}` for the N-th attachment (Socket.IO protocol v5, binary
/// events), has its attachment.
fn placeholders_fit(value: &Value, attachments: usize) -> bool {
    match value {
        Value::Object(object) if object.get("_placeholder") == Some(&Value::Bool(true)) => {
            let num = object.get("num").and_then(Value::as_u64).and_then(|num| usize::try_from(num).ok());
            num.is_some_and(|num| num < attachments)
        }
        Value::Object(object) => object.values().all(|value| placeholders_fit(value, attachments)),
        Value::Array(array) => array.iter().all(|value| placeholders_fit(value, attachments)),
        _ => true,
    }
}

/// `["event", argument, ...]`; only the first argument is looked at, as in the replaced server.
struct Packet<'a> {
    name: Cow<'a, str>,
    json: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Packet<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Packet<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event name and its arguments")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Packet<'de>, A::Error> {
                let name = seq.next_element()?.ok_or_else(|| serde::de::Error::invalid_length(0, &self))?;
                let json = seq.next_element()?;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Packet { name, json })
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}

/// How deep arrays and objects are nested in a JSON text.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A member count as a page sends it or a notice carries it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Count(Number);

impl Count {
    /// One less, as the leave and exit notices want it.
    pub(super) fn less_one(self) -> Self {
        let less = self.0.as_i64().map(|n| n.saturating_sub(1).into());
        let less = less.or_else(|| self.0.as_f64().and_then(|n| Number::from_f64(n - 1.0)));
        Self(less.unwrap_or(self.0))
    }

    /// A JSON number, or a text that is one: pages keep counts in form fields.
    fn read(json: &RawValue) -> Option<Self> {
        let number = match serde_json::from_str::<Value>(json.get()).ok()? {
            Value::Number(number) => number,
            Value::String(text) => serde_json::from_str(text.trim()).ok()?,
            _ => return None,
        };
        Some(Self(number))
    }
}

impl From<usize> for Count {
    fn from(count: usize) -> Self {
        Self(count.into())
    }
}

/// An event that its profile accepts.
#[derive(Debug)]
pub(super) enum Request {
    Join { room: RoomId, name: Arc<str>, announce: bool, mem_cnt: Option<Count> },
    Chat { room: RoomId, name: Arc<str>, msg: Payload },
    Leave { room: RoomId, name: Arc<str>, mem_cnt: Option<Count> },
    Exit { room: RoomId, sender: Arc<str>, target: Arc<str>, mem_cnt: Option<Count> },
}

/// The keys the events know; others are ignored, as the replaced server did.
#[derive(Debug, Default, Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    idx: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    mem_cnt: Option<&'a RawValue>,
    /// `null` is a message too.
    #[serde(borrow, default, deserialize_with = "present")]
    msg: Option<&'a RawValue>,
}

fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&'a RawValue>::deserialize(deserializer).map(Some)
}

/// Applies the profiles' table.
pub(super) fn read(
    profile: Profile,
    limits: &Limits,
    identity: &Identity,
    kind: Kind,
    payload: &Payload,
) -> Result<Request, Refusal> {
    let sources = Sources { profile, limits, identity };
    if kind == Kind::Chat && profile != Profile::React {
        // The payload is the message, whatever it is.
        let json = payload
            .json
            .as_deref()
            .ok_or(Refusal::Payload { event: kind.name(), expected: "the message" })?;
        let (room, name) = (sources.room(None)?, sources.name(None)?);
        return Ok(Request::Chat { room, name, msg: payload.part(json) });
    }
    let fields = fields(kind, payload)?;
    let (idx, payload_name) = (fields.idx, fields.name);
    let mem_cnt = fields.mem_cnt.and_then(Count::read);
    match kind {
        Kind::Join => {
            let announce = profile == Profile::Local || fields.r#type.is_some_and(is_zero);
            Ok(Request::Join {
                room: sources.room(idx)?,
                name: sources.name(payload_name)?,
                announce,
                mem_cnt,
            })
        }
        Kind::Chat => {
            let msg =
                fields.msg.ok_or(Refusal::Payload { event: kind.name(), expected: "{idx, name, msg}" })?;
            let (room, name) = (sources.room(idx)?, sources.name(payload_name)?);
            Ok(Request::Chat { room, name, msg: payload.part(msg) })
        }
        Kind::Leave => {
            Ok(Request::Leave { room: sources.room(idx)?, name: sources.name(payload_name)?, mem_cnt })
        }
        Kind::Exit => {
            let room = sources.room(idx)?;
            // Whom it concerns is in the payload, in `web` too; without it, and in `local`, the sender.
            let target = match profile {
                Profile::Local => sources.name(None)?,
                Profile::Web | Profile::React => {
                    sources.text("name", payload_name, true, &identity.name, limits.max_name)?
                }
            };
            let sender = if let Given::Text(name) = &identity.name { name.clone() } else { target.clone() };
            Ok(Request::Exit { room, sender, target, mem_cnt })
        }
    }
}

fn fields(kind: Kind, payload: &Payload) -> Result<Fields<'_>, Refusal> {
    match payload.json.as_deref().map(RawValue::get) {
        // `type` missing means re-entry: silent, where the replaced server crashed.
        None | Some("null") if kind != Kind::Chat => Ok(Fields::default()),
        Some(text) if text.starts_with('{') => serde_json::from_str(text)
            .map_err(|_| Refusal::Payload { event: kind.name(), expected: "an object with each key once" }),
        _ => Err(Refusal::Payload { event: kind.name(), expected: "an object" }),
    }
}

/// `type == 0` as JavaScript compares a number or its text; anything else is a re-entry.
fn is_zero(json: &RawValue) -> bool {
    match serde_json::from_str(json.get()) {
        Ok(Value::Number(number)) => number.as_f64() == Some(0.0),
        Ok(Value::String(text)) => text.trim().parse() == Ok(0.0),
        _ => false,
    }
}

/// Where room and nickname of an event come from.
struct Sources<'a> {
    profile: Profile,
    limits: &'a Limits,
    identity: &'a Identity,
}

impl Sources<'_> {
    fn payload_counts(&self) -> bool {
        self.profile == Profile::React
    }

    fn room(&self, payload: Option<&RawValue>) -> Result<RoomId, Refusal> {
        self.text("idx", payload, self.payload_counts(), &self.identity.room, self.limits.max_room)
    }

    fn name(&self, payload: Option<&RawValue>) -> Result<Arc<str>, Refusal> {
        self.text("name", payload, self.payload_counts(), &self.identity.name, self.limits.max_name)
    }

    /// The payload's text where it counts and is there, else the handshake's.
    fn text(
        &self,
        key: &'static str,
        payload: Option<&RawValue>,
        payload_counts: bool,
        handshake: &Given,
        max: usize,
    ) -> Result<Arc<str>, Refusal> {
        let given = match payload {
            Some(json) if payload_counts => given(key, json, max)?,
            _ => Given::Missing,
        };
        match if given == Given::Missing { handshake } else { &given } {
            Given::Text(text) => Ok(text.clone()),
            Given::TooLong => Err(Refusal::TooLong { key: if key == "idx" { "room" } else { key }, max }),
            Given::Missing if key == "idx" => Err(Refusal::NoRoom { payload: payload_counts }),
            Given::Missing => Err(Refusal::NoName { payload: payload_counts }),
        }
    }
}

/// A text, or a number as its text.
fn given(key: &'static str, json: &RawValue, max: usize) -> Result<Given, Refusal> {
    let text = json.get();
    match text.as_bytes().first() {
        // Escapes only make a text shorter by being read, six bytes to one at the most: no need to read a megabyte.
        Some(b'"') if text.len() > 6 * max + 2 => Ok(Given::TooLong),
        Some(b'"') => {
            let text: String =
                serde_json::from_str(text).map_err(|_| Refusal::Field { key, expected: "valid Unicode" })?;
            Ok(Given::new(&text, max))
        }
        Some(b'-' | b'0'..=b'9') => Ok(Given::new(text, max)),
        Some(b'n') => Ok(Given::Missing),
        _ => Err(Refusal::Field { key, expected: "a text or a number" }),
    }
}
