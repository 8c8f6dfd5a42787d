//! What the server says: the bodies of its events, keys in the wire's order.

use super::{
    WallTime,
    event::{Count, Payload},
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;

/// The body of one event, rendered once and shared by all its receivers.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    /// As it goes out.
    json: Arc<RawValue>,
    /// What the placeholders in it stand for; `None`: there are none.
    attachments: Option<Arc<[Bytes]>>,
}

#[derive(Serialize)]
struct Message<'a> {
    msg: &'a RawValue,
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
        let json = msg.json.as_deref().unwrap_or(RawValue::NULL);
        let body = Self::json(&Message { msg: json, name, r#type: "chat", time: now.to_string(), view });
        body.with(msg.attachments.clone())
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

    /// Its parts: JSON, and the attachments for its placeholders.
    pub(crate) fn parts(&self) -> (&str, &[Bytes]) {
        (self.json.get(), self.attachments.as_deref().unwrap_or_default())
    }

    /// The body of these parts; `None`: they are none.
    pub(crate) fn from_parts(json: String, attachments: Vec<Bytes>) -> Option<Self> {
        let json = RawValue::from_string(json).ok()?.into();
        Some(Self { json, attachments: None }.with(attachments))
    }

    fn json(body: &impl Serialize) -> Self {
        // Serializing plain structs of texts and numbers into memory has no way to fail.
        let raw = serde_json::value::to_raw_value(body).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self { json: raw.into(), attachments: None }
    }

    fn with(self, attachments: Vec<Bytes>) -> Self {
        Self { attachments: (!attachments.is_empty()).then(|| attachments.into()), ..self }
    }

    /// Roughly the bytes it takes in a queue.
    pub(crate) fn size(&self) -> usize {
        let (json, attachments) = self.parts();
        json.len() + attachments.iter().map(Bytes::len).sum::<usize>()
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}
