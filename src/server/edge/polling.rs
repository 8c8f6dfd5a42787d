//! Long-polling at the edge: the requests of sessions that have no stream of their own.

use super::{
    Edge,
    handshake::{Bad, Handshake},
    poller::{self, CLOSE, Counted, Poller},
    refuse, requests,
    session::{self, End},
    stream::too_long,
    turned_away,
};
use crate::{
    config::RefusedBy,
    frames::{TEXT, push_frame},
    server::{
        link::{Drain, Link, lock},
        pace,
    },
};
use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use engineioxide_core::{Packet, PacketParseError, Sid, TransportType, payload};
use futures_util::StreamExt;
use http::{Method, StatusCode, header};
use http_body_util::BodyExt;
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::*},
    },
    time::{Duration, Instant},
};

/// So long nothing came of a client: nothing seems to be under way.
const CALM: Duration = Duration::from_millis(20);
/// Longest wait for that, and for one that was told to send all it has to close by itself.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(1500);

/// A payload that is not taken in.
enum Unread {
    TooLong,
    /// The session is over already.
    Over,
    /// The session ends by it.
    Ends(End),
}

impl Edge {
    /// A polling request of any kind.
    pub(super) async fn polling(self: Arc<Self>, request: Request, handshake: &Handshake) -> Response {
        let Some(sid) = handshake.sid else {
            return match *request.method() {
                Method::GET => self.open(&request, handshake),
                _ => refuse(Bad::Method),
            };
        };
        let Some(link) = self.find(&sid) else { return refuse(Bad::Session) };
        tracing::trace!(request = requests(), conn = link.conn, method = %request.method(), "polled");
        let Some(poller) = &link.polling else { return refuse(Bad::Request) };
        match *request.method() {
            _ if link.is_websocket() => refuse(Bad::Request),
            Method::GET => self.get(&link, poller).await,
            Method::POST => self.post(request, &link, poller).await,
            _ => refuse(Bad::Request),
        }
    }

    /// Opens a session.
    fn open(&self, request: &Request, handshake: &Handshake) -> Response {
        let ticket = match self.admit(request, handshake) {
            Ok(ticket) => ticket,
            Err(full) => return turned_away(full),
        };
        let sid = Sid::new();
        let poller = Poller::new(sid, handshake.b64, self.this.clone());
        let link = self.link(handshake, ticket, Some(Box::new(poller)));
        if let Some(poller) = &link.polling {
            poller.begin(self.session(link.clone()));
        }
        lock(&self.sessions).insert(sid, Arc::downgrade(&link));
        tracing::debug!(request = requests(), conn = link.conn, "polling");
        tokio::spawn(poller::keep(link));
        one(session::open(&sid, TransportType::Polling, self.limits.max_payload), handshake.eio3)
    }

    /// Waits for packets.
    async fn get(&self, link: &Link, poller: &Poller) -> Response {
        let Some(_listening) = poller.listen() else {
            // Which of the two would get what is said nobody knows.
            poller.end(link, &End::Nonsense("two requests for what is said to it".to_owned()));
            return refuse(Bad::Request);
        };
        let found = poller.watch(|| {
            if link.is_websocket() {
                Some(Found::Moved)
            } else if link.draining() != Drain::Not {
                Some(Found::Leave)
            } else if poller.is_upgrading() {
                Some(Found::Noop)
            } else {
                poller.fetch(link).map(Found::Packets).or_else(|| link.is_closed().then_some(Found::Over))
            }
        });
        match found.await {
            Found::Packets(frames) => packets(&frames, link, poller).await,
            Found::Leave => self.take_leave(link, poller).await,
            Found::Noop => one(Packet::Noop, link.eio3),
            Found::Over => refuse(Bad::Session),
            Found::Moved => refuse(Bad::Request),
        }
    }

    /// Takes packets in, once the earlier ones of this client have been dealt with.
    async fn post(&self, request: Request, link: &Arc<Link>, poller: &Poller) -> Response {
        link.took(1);
        poller.credit(link).await;
        let _posting = Counted::new(&poller.leave.posts);
        let len = AtomicU64::new(0);
        let read =
            tokio::time::timeout(self.limits.body_timeout, self.read(request, link, poller, &len)).await;
        // The request itself has been counted.
        link.took(pace::weight(len.load(Relaxed)) - 1);
        link.drained();
        *lock(&poller.leave.last_post) = Some(Instant::now());
        match read {
            Ok(Ok(())) => text("ok"),
            Ok(Err(Unread::Over)) => refuse(if link.is_websocket() { Bad::Request } else { Bad::Session }),
            Ok(Err(Unread::TooLong)) => {
                self.doors.turn_away(RefusedBy::MaxPayload);
                let why = too_long(self.limits.max_payload);
                poller.end(link, &End::Nonsense(why.clone()));
                (StatusCode::PAYLOAD_TOO_LARGE, why).into_response()
            }
            Ok(Err(Unread::Ends(end))) => {
                poller.end(link, &end);
                // Who says so itself is answered that it was heard.
                if end == End::Closed { text("ok") } else { StatusCode::BAD_REQUEST.into_response() }
            }
            Err(_) => {
                self.doors.turn_away(RefusedBy::BodyTimeout);
                (StatusCode::REQUEST_TIMEOUT, "the body does not come\n").into_response()
            }
        }
    }

    /// Takes in each packet of a body as it comes; `len`: how much has come.
    async fn read(
        &self,
        request: Request,
        link: &Arc<Link>,
        poller: &Poller,
        len: &AtomicU64,
    ) -> Result<(), Unread> {
        let (parts, body) = request.into_parts();
        let body = body.map_frame(|frame| {
            len.fetch_add(frame.data_ref().map_or(0, |data| data.len() as u64), Relaxed);
            frame
        });
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let protocol = session::protocol(link.eio3);
        let mut packets = pin!(payload::decoder(body, kind, protocol, self.limits.max_payload));
        while let Some(packet) = packets.next().await {
            let packet = packet.map_err(|error| match error {
                PacketParseError::PayloadTooLarge { .. } => Unread::TooLong,
                error => Unread::Ends(End::Nonsense(error.to_string())),
            })?;
            // Each costs what it would cost on a WebSocket.
            poller.credit(link).await;
            link.took(1);
            poller.hear(packet).map_err(|end| end.map_or(Unread::Over, Unread::Ends))?;
        }
        Ok(())
    }

    /// The goodbye of a client that polls. One that knows what to do with a packet that is none is given one: it
    /// sends all it has, and then closes. Another is told to close when nothing of it seems to be under way.
    async fn take_leave(&self, link: &Link, poller: &Poller) -> Response {
        let leave = &poller.leave;
        let modern = !link.eio3 && link.is_modern() && link.is_connected();
        if modern && !leave.told.swap(true, AcqRel) {
            return text("49");
        }
        if leave.told.load(Acquire) {
            // It asks once more because it still has something to say, however long that takes it.
            let gone = poller.watch(|| link.is_closed().then_some(()));
            let _ = tokio::time::timeout(LEAVE_TIMEOUT, gone).await;
        } else {
            until_calm(link, poller).await;
        }
        leave.told.store(true, Release);
        // What was said to it comes before, where it cannot ask for that when it is back. Others would hear it twice: they
        // take in what comes with the last word only after they have gone (socket.io-client 4, `Manager.ondecoded`).
        let mut frames = link.eio3.then(|| poller.fetch(link)).flatten().unwrap_or_default();
        poller.end(link, &End::SentAway);
        push_frame(&mut frames, TEXT, &[CLOSE]);
        packets(&frames, link, poller).await
    }
}

/// Waits until nothing of a client seems to be under way, but not for long.
async fn until_calm(link: &Link, poller: &Poller) {
    let deadline = Instant::now() + LEAVE_TIMEOUT;
    while Instant::now() < deadline && !link.is_closed() {
        let posted = lock(&poller.leave.last_post).map_or(CALM, |at| at.elapsed());
        if posted >= CALM && poller.leave.posts.load(Acquire) == 0 {
            break;
        }
        tokio::time::sleep(CALM.saturating_sub(posted).max(Duration::from_millis(1))).await;
    }
}

/// What a GET finds.
enum Found {
    /// These frames.
    Packets(Vec<u8>),
    /// It is time to say goodbye.
    Leave,
    /// What there is, is for the WebSocket.
    Noop,
    /// The session has ended.
    Over,
    /// It is a WebSocket's.
    Moved,
}

/// A reply with these frames.
async fn packets(frames: &[u8], link: &Link, poller: &Poller) -> Response {
    let (body, binary) = poller.encode(frames, link.eio3).await;
    reply(body, binary)
}

fn reply(body: impl IntoResponse, binary: bool) -> Response {
    let kind = if binary { "application/octet-stream" } else { "text/plain; charset=UTF-8" };
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

/// One packet, which is no attachment.
fn one(packet: Packet, eio3: bool) -> Response {
    reply(payload::packet_encoder(packet, session::protocol(eio3), false), false)
}

fn text(packet: &'static str) -> Response {
    reply(packet, false)
}
