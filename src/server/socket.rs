//! The socket handlers: from socketioxide's events to the sequencer's inbox, in order.
//!
//! socketioxide runs each handler's future as a task of its own, in any order. What a handler does *before* it
//! returns its future runs on the task that reads the connection: so everything is done there, and the futures
//! are empty. Handlers are registered in the namespace's middleware, because the CONNECT reply goes out before
//! the connect handler runs, and early events would find none.

use super::{
    auth::{Auth, Denied},
    link::Link,
    pace::Verdict,
    packet::Ack,
    recovery::Claim,
    sequencer::{Command, Event, Inbox},
    standing,
};
use crate::chat::{self, Refusal};
use socketioxide::{
    SocketIo,
    adapter::LocalAdapter,
    extract::{AckSender, SocketRef, TryData},
    handler::{ConnectHandler, FromMessage, FromMessageParts},
    socket::{DisconnectReason, Socket},
};
use socketioxide_core::Value;
use std::{convert::Infallible, future::ready, sync::Arc, time::Instant};
use tokio::sync::oneshot;

/// An event as it came: text, attachments, and the way to acknowledge it.
struct Said {
    value: Value,
    ack: Option<Ack>,
}

impl FromMessage<LocalAdapter> for Said {
    type Error = Infallible;

    fn from_message(socket: Arc<Socket>, mut value: Value, ack: Option<i64>) -> Result<Self, Infallible> {
        let sender = AckSender::from_message_parts(&socket, &mut value, &ack)?;
        Ok(Self { value, ack: ack.map(|id| Ack { id, sender }) })
    }
}

/// Defines the namespace `/`.
pub(super) fn install(io: &SocketIo, inbox: Inbox, auth: Option<Arc<Auth>>) {
    let arrivals = inbox.clone();
    let connected = move |socket: SocketRef| {
        if let Some(link) = link_of(&socket) {
            arrivals.push(Command::Arrived(socket, link));
        }
        ready(())
    };
    let middleware = move |socket: SocketRef, TryData(claim): TryData<Claim>| {
        let (inbox, auth) = (inbox.clone(), auth.clone());
        async move { register(&socket, claim.unwrap_or_default(), &inbox, auth.as_deref()).await }
    };
    io.ns("/", connected.with(middleware));
}

fn link_of(socket: &SocketRef) -> Option<Arc<Link>> {
    let link = socket.req_parts().extensions.get::<Arc<Link>>().cloned();
    if link.is_none() {
        tracing::error!("a bug: a session that did not come by the edge");
    }
    link
}

/// Learns who the client is, and takes its events from then on.
///
/// # Errors
/// It has to prove who it is, and does not: it is told why.
async fn register(
    socket: &SocketRef,
    claim: Claim,
    inbox: &Inbox,
    auth: Option<&Auth>,
) -> Result<(), Denied> {
    let Some(link) = link_of(socket) else { return Ok(()) };
    if link.is_admitted() {
        // It comes from another process, where all of this was settled.
        standing::watch(&link, inbox);
    } else {
        admit(claim, &link, inbox, auth).await?;
    }

    let (events, from) = (inbox.clone(), link.clone());
    // One handler for all events: an unknown one is refused like any other.
    socket.on_fallback(move |said: Said| {
        take(said, from, &events);
        ready(())
    });
    let inbox = inbox.clone();
    socket.on_disconnect(move |reason: DisconnectReason| {
        let for_good = reason == DisconnectReason::ClientNSDisconnect || link.said_farewell();
        inbox.push(Command::Gone { link, for_good });
        ready(())
    });
    Ok(())
}

async fn admit(claim: Claim, link: &Arc<Link>, inbox: &Inbox, auth: Option<&Auth>) -> Result<(), Denied> {
    if let Some(auth) = auth {
        standing::settle(auth, &claim, link, inbox).inspect_err(|denied| {
            tracing::debug!(%denied, "not let in");
            inbox.push(Command::Denied);
        })?;
    }
    if claim.pid.is_some() {
        link.seen_modern();
    }
    let (done, admitted) = oneshot::channel();
    inbox.push(Command::Admit(claim, link.clone(), done));
    // Without a sequencer the process is ending: nothing more is answered.
    let _ = admitted.await;
    Ok(())
}

fn take(said: Said, link: Arc<Link>, inbox: &Inbox) {
    let Said { value, ack } = said;
    let verdict = link.judge();
    if verdict == (Verdict::Refuse { tell: false }) && ack.is_none() {
        return;
    }
    let (text, attachments) = match &value {
        Value::Str(text, attachments) => (text.as_str(), attachments.iter().flatten().cloned().collect()),
        Value::Bytes(_) => ("", Vec::new()),
    };
    let (name, mut payload) =
        chat::parse(text, attachments).unwrap_or_else(|refusal: Refusal| (String::new(), Err(refusal)));
    if let Some(max) = link.too_fast(verdict) {
        payload = Err(Refusal::TooFast { max });
    }
    inbox.push_event(Event { link, name, payload, ack, at: Instant::now() });
}
