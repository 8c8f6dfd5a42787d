//! The socket handlers: from socketioxide's events to the sequencer's inbox, in order.
//!
//! socketioxide runs each handler's future as a task of its own, in any order. What a handler does *before* it
//! returns its future runs on the task that reads the connection: so everything is done there, and the futures
//! are empty. Handlers are registered in the namespace's middleware, because the CONNECT reply goes out before
//! the connect handler runs, and early events would find none.

use super::{
    link::Link,
    sequencer::{Command, Event, Inbox},
    stats::Stats,
};
use crate::chat::{self, MemberId, Refusal};
use socketioxide::{
    SocketIo,
    adapter::LocalAdapter,
    extract::{AckSender, SocketRef},
    handler::{ConnectHandler, FromMessage, FromMessageParts},
    socket::Socket,
};
use socketioxide_core::Value;
use std::{
    convert::Infallible,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// A packet as it came: text, attachments, and the way to acknowledge it.
struct Packet {
    socket: SocketRef,
    value: Value,
    ack: Option<AckSender>,
}

impl FromMessage<LocalAdapter> for Packet {
    type Error = Infallible;

    fn from_message(socket: Arc<Socket>, mut value: Value, ack: Option<i64>) -> Result<Self, Infallible> {
        let sender = AckSender::from_message_parts(&socket, &mut value, &ack)?;
        let socket = SocketRef::from_message_parts(&socket, &mut value, &ack)?;
        Ok(Self { socket, value, ack: ack.map(|_| sender) })
    }
}

/// Defines the namespace `/`.
pub(super) fn install(io: &SocketIo, inbox: Inbox, stats: Arc<Stats>) {
    let next = Arc::new(AtomicUsize::new(0));
    let middleware = move |socket: SocketRef| {
        register(&socket, next.fetch_add(1, Relaxed), &inbox, &stats);
        ready(Ok::<(), Infallible>(()))
    };
    io.ns("/", (|| ready(())).with(middleware));
}

fn register(socket: &SocketRef, member: MemberId, inbox: &Inbox, stats: &Arc<Stats>) {
    let Some(link) = socket.req_parts().extensions.get::<Arc<Link>>().cloned() else {
        tracing::error!("a bug: a session that did not come by the edge");
        return;
    };
    let events = inbox.clone();
    // One handler for all events: an unknown one is refused like any other.
    socket.on_fallback(move |packet: Packet| {
        take(packet, member, link, &events);
        ready(())
    });
    let (inbox, stats) = (inbox.clone(), stats.clone());
    stats.connections.fetch_add(1, Relaxed);
    socket.on_disconnect(move || {
        stats.connections.fetch_sub(1, Relaxed);
        inbox.push(Command::Gone(member));
        ready(())
    });
}

fn take(packet: Packet, member: MemberId, link: Arc<Link>, inbox: &Inbox) {
    let Packet { socket, value, ack } = packet;
    let (text, attachments) = match &value {
        Value::Str(text, attachments) => (text.as_str(), attachments.iter().flatten().cloned().collect()),
        Value::Bytes(_) => ("", Vec::new()),
    };
    let (name, payload) =
        chat::parse(text, attachments).unwrap_or_else(|refusal: Refusal| (String::new(), Err(refusal)));
    inbox.push_event(Event { member, socket, link, name, payload, ack });
}
