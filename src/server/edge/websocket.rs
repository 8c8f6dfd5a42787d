//! A session on a WebSocket: one task, which reads, answers and keeps time. What the sequencer says to its client does not
//! come by here (see [`super::stream`]).

use super::{
    poller::Poller,
    session::{End, Session, UNANSWERED, protocol},
    stream::EdgeStream,
};
use crate::{
    frames::{CLOSE, push_frame},
    server::link::Link,
};
use engineioxide_core::{Packet, ProtocolVersion, Str};
use futures_util::{SinkExt, StreamExt};
use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{Role, WebSocketConfig},
    },
};

/// First read of a connection. Larger messages make it grow, for ever: see [`Served::shed`].
pub(in crate::server) const READ_BUFFER: usize = 512;
/// Longest time from a polling client's attempt to its success.
const UPGRADE: Duration = Duration::from_secs(10);

/// In a box: what moves it has no room of its own for all of it.
type Socket = WebSocketStream<Box<EdgeStream>>;

/// A session, and what carries it.
pub(super) struct Served {
    /// `None`: just now it is made anew.
    socket: Option<Socket>,
    session: Session,
}

/// What interrupts a session.
enum Turn {
    /// A large message has been taken in, and its room is free.
    Shed,
    End(End),
}

async fn socket(stream: Box<EdgeStream>) -> Socket {
    let max = usize::try_from(stream.max_payload()).unwrap_or(usize::MAX);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(max))
        .max_frame_size(Some(max));
    WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await
}

/// Serves the session of this client if it comes over from polling; else it goes on polling.
pub(super) async fn upgrade(stream: Box<EdgeStream>, link: Arc<Link>) {
    let Some(poller) = &link.polling else { return };
    let mut socket = socket(stream).await;
    let session = timeout(UPGRADE, probe(&mut socket, &link, poller)).await.ok().flatten();
    let Some(mut session) = session else { return poller.give_up_upgrade() };
    // What it was answered before comes before what has been said to it since.
    poll_fn(|cx| {
        socket.get_mut().take_over(cx, session.answers());
        Poll::Ready(())
    })
    .await;
    session.answered();
    Served { socket: Some(socket), session }.begin();
}

/// Engine.IO protocol, "Upgrade": a ping and a pong that say `probe`, and then the packet `5`.
async fn probe(socket: &mut Socket, link: &Link, poller: &Poller) -> Option<Session> {
    expect(socket, link, &Packet::PingUpgrade).await?;
    socket.send(Message::text(String::from(Packet::PongUpgrade))).await.ok()?;
    poller.begin_upgrade();
    expect(socket, link, &Packet::Upgrade).await?;
    poller.take_session()
}

async fn expect(socket: &mut Socket, link: &Link, packet: &Packet) -> Option<()> {
    let text = loop {
        match socket.next().await?.ok()? {
            Message::Text(text) => break text,
            Message::Ping(_) | Message::Pong(_) => {}
            _ => return None,
        }
    };
    (Packet::parse(protocol(link.eio3), Str::copy_from_slice(&text)).ok()? == *packet).then_some(())
}

impl Served {
    /// Over this stream.
    pub(super) async fn over(stream: Box<EdgeStream>, session: Session) -> Self {
        Self { socket: Some(socket(stream).await), session }
    }

    /// Has it begin. In a box: a task has room for all that it was ever given, some of it twice.
    pub(super) fn begin(self) {
        tokio::spawn(Box::new(self).run());
    }

    async fn run(mut self: Box<Self>) {
        let end = loop {
            match poll_fn(|cx| self.attend(cx)).await {
                Turn::Shed => self.shed().await,
                Turn::End(end) => break end,
            }
        };
        self.session.end(&end);
        poll_fn(|cx| {
            if let Some(socket) = &mut self.socket {
                say_goodbye(socket, &end, cx);
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Makes the WebSocket anew around its stream: tungstenite keeps the room for the largest message for as long as it
    /// lives, and a picture sent once would take a megabyte until its sender goes.
    async fn shed(&mut self) {
        if let Some(old) = self.socket.take() {
            let mut stream = old.into_inner();
            stream.has_shed();
            self.socket = Some(Box::pin(socket(stream)).await);
        }
    }

    /// Does what is to be done now; ready when something else is.
    fn attend(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let Self { socket: Some(socket), session } = self else {
            return Poll::Ready(Turn::End(End::Broken("a bug: it has no WebSocket".to_owned())));
        };
        loop {
            if let Poll::Ready(end) = session.poll(cx) {
                return Poll::Ready(Turn::End(end));
            }
            let stream = socket.get_mut();
            if !session.answers().is_empty()
                && let Poll::Ready(written) = stream.answer(cx, session.answers())
            {
                match written {
                    Ok(()) => session.answered(),
                    Err(error) => return Poll::Ready(Turn::End(End::Broken(error.to_string()))),
                }
            }
            if session.answers().len() > UNANSWERED {
                return Poll::Pending;
            }
            stream.beats_next(|| session.next_ping());
            let Poll::Ready(message) = socket.poll_next_unpin(cx) else {
                // Nothing is left in it: neither of what came, nor of what it answers.
                let done = socket.get_ref().has_room_to_spare() && socket.poll_flush_unpin(cx).is_ready();
                return if done { Poll::Ready(Turn::Shed) } else { Poll::Pending };
            };
            if let Err(end) = hear(session, message) {
                return Poll::Ready(Turn::End(end));
            }
        }
    }
}

fn hear(session: &mut Session, message: Option<Result<Message, tungstenite::Error>>) -> Result<(), End> {
    match message {
        Some(Ok(Message::Text(text))) => {
            let packet = Packet::parse(session.protocol(), Str::copy_from_slice(&text));
            session.hear(packet.map_err(|error| End::Nonsense(error.to_string()))?)
        }
        Some(Ok(Message::Binary(mut data))) => {
            if session.protocol() == ProtocolVersion::V3 && !data.is_empty() {
                // The type of the packet, which is always a message (engine.io-parser 2, `decodePacket`).
                data = data.split_off(1);
            }
            session.hear(Packet::Binary(data))
        }
        Some(Ok(Message::Close(_))) | None => Err(End::Closed),
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
        Some(Err(error)) => Err(End::Broken(error.to_string())),
    }
}

/// Ends the WebSocket as it should be ended, where that can be done without waiting.
fn say_goodbye(socket: &mut Socket, end: &End, cx: &mut Context<'_>) {
    if *end == End::Closed {
        // What answers a Close frame goes out by asking for what comes after it.
        let _ = socket.poll_next_unpin(cx);
    } else {
        let mut close = Vec::new();
        push_frame(&mut close, CLOSE, &[]);
        let _ = socket.get_mut().answer(cx, &close);
    }
}
