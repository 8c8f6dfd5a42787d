//! What the server says: the bodies of its events, keys in the wire's order.

use super::{
    WallTime,
    event::{Count, Payload},
};
use bytes::Bytes;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value, value::RawValue};
use std::{borrow::Cow, sync::Arc};

/// The body of one event, rendered once and shared by all its receivers.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// Plain JSON, as it goes out.
    Json(Arc<RawValue>),
    /// JSON with binary attachments in the places of its placeholders.
    Mixed(Arc<Value>, Arc<[Bytes]>),
}

#[derive(Serialize)]
struct Message<'a, M> {
    msg: M,
    name: &'a str,
    r#type: &'static str,
    time: String,
    view: usize,
}

#[derive(Serialize)]
struct Notice<'a> {
    msg: &'a str,
    r#type: &'static str,
    size: &'a Count,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct Removed<'a> {
    msg: &'a str,
    r#type: &'static str,
    name: &'a str,
    size: &'a Count,
}

impl Body {
    /// A chat message; `msg` goes out as it came in.
    pub(super) fn message(msg: &Payload, name: &str, now: WallTime, view: usize) -> Self {
        let (time, r#type) = (now.to_string(), "chat");
        let raw = msg.json.as_deref().unwrap_or(RawValue::NULL);
        if msg.attachments.is_empty() {
            return Self::json(&Message { msg: raw, name, r#type, time, view });
        }
        // Checked when the payload was taken in: this text is a value.
        let msg_value: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        let body = serde_json::to_value(Message { msg: msg_value, name, r#type, time, view });
        Self::Mixed(Arc::new(body.unwrap_or_default()), msg.attachments.clone().into())
    }

    /// A notice to a room; `react` names the newcomer.
    pub(super) fn notice(msg: &str, size: &Count, name: Option<&str>) -> Self {
        Self::json(&Notice { msg, r#type: "notice", size, name })
    }

    /// What somebody who is taken out of a room gets.
    pub(super) fn removed(msg: &str, name: &str, size: &Count) -> Self {
        Self::json(&Removed { msg, r#type: "notice", name, size })
    }

    /// A refusal, for clients that asked for no acknowledgement.
    pub(crate) fn refusal(event: &str, reason: &str) -> Self {
        #[derive(Serialize)]
        struct ChatError<'a> {
            event: &'a str,
            reason: &'a str,
        }
        Self::json(&ChatError { event, reason })
    }

    /// Why a session ends.
    pub(crate) fn reason(reason: &str) -> Self {
        #[derive(Serialize)]
        struct Ended<'a> {
            reason: &'a str,
        }
        Self::json(&Ended { reason })
    }

    /// What was said in a room before somebody came: messages as they went out, oldest first.
    pub(crate) fn history(room: &str, messages: &[Box<RawValue>]) -> Self {
        #[derive(Serialize)]
        struct History<'a> {
            room: &'a str,
            messages: &'a [Box<RawValue>],
        }
        Self::json(&History { room, messages })
    }

    /// Its parts, for keeping: JSON, and the attachments for its placeholders.
    pub(crate) fn parts(&self) -> (Cow<'_, str>, &[Bytes]) {
        match self {
            Self::Json(raw) => (Cow::Borrowed(raw.get()), &[]),
            Self::Mixed(value, attachments) => (Cow::Owned(value.to_string()), attachments),
        }
    }

    /// The body of these parts; `None`: they are none.
    pub(crate) fn from_parts(json: String, attachments: Vec<Bytes>) -> Option<Self> {
        if attachments.is_empty() {
            return Some(Self::Json(RawValue::from_string(json).ok()?.into()));
        }
        let value = serde_json::from_str(&json).ok()?;
        Some(Self::Mixed(Arc::new(value), attachments.into()))
    }

    fn json(body: &impl Serialize) -> Self {
        // Serializing plain structs of texts and numbers into memory has no way to fail.
        let raw = serde_json::value::to_raw_value(body).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self::Json(raw.into())
    }

    /// Roughly the bytes it takes in a queue.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Json(raw) => raw.get().len(),
            Self::Mixed(_, attachments) => 256 + attachments.iter().map(Bytes::len).sum::<usize>(),
        }
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Json(a), Self::Json(b)) => a.get() == b.get(),
            (Self::Mixed(a, x), Self::Mixed(b, y)) => a == b && x == y,
            _ => false,
        }
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Json(raw) => raw.serialize(serializer),
            Self::Mixed(value, attachments) => Mixed { value, attachments }.serialize(serializer),
        }
    }
}

/// Serializes a value with its placeholders as the bytes they stand for.
struct Mixed<'a> {
    value: &'a Value,
    attachments: &'a [Bytes],
}

impl Serialize for Mixed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let part = |value| Mixed { value, attachments: self.attachments };
        match self.value {
            Value::Object(object) => match placeholder(object).and_then(|num| self.attachments.get(num)) {
                Some(bytes) => serializer.serialize_bytes(bytes),
                None => {
                    let mut map = serializer.serialize_map(Some(object.len()))?;
                    for (key, value) in object {
                        map.serialize_entry(key, &part(value))?;
                    }
                    map.end()
                }
            },
            Value::Array(array) => serializer.collect_seq(array.iter().map(part)),
            plain => plain.serialize(serializer),
        }
    }
}

/// `{"_placeholder":true,"num":N}`: where the N-th attachment belongs (Socket.IO protocol v5, binary events).
fn placeholder(object: &Map<String, Value>) -> Option<usize> {
    (object.get("_placeholder") == Some(&Value::Bool(true))).then_some(())?;
    usize::try_from(object.get("num")?.as_u64()?).ok()
}

/// Whether every placeholder has its attachment.
pub(super) fn placeholders_fit(value: &Value, attachments: usize) -> bool {
    match value {
        Value::Object(object) if object.get("_placeholder") == Some(&Value::Bool(true)) => {
            placeholder(object).is_some_and(|num| num < attachments)
        }
        Value::Object(object) => object.values().all(|value| placeholders_fit(value, attachments)),
        Value::Array(array) => array.iter().all(|value| placeholders_fit(value, attachments)),
        _ => true,
    }
}
