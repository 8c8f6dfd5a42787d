//! Long-polling at the edge: opens, GETs and POSTs of sessions that have no stream of their own.

use super::{
    Edge,
    closing::{Closing, Watched},
    connect, frames,
    handshake::Handshake,
    refuse, requests,
    stream::too_long,
    turned_away,
};
use crate::{
    config::RefusedBy,
    server::{
        link::{ClosePolling, Drain, Leave, Link, Polling, lock},
        pace,
    },
};
use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use http_body_util::BodyExt;
use std::{
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicU32, Ordering::*},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// So long nothing came of a client: nothing seems to be under way.
const CALM: Duration = Duration::from_millis(20);
/// The same of one that was told to send all it has.
const CALM_AFTER_WORD: Duration = Duration::from_millis(400);
/// Longest wait for that.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(1500);

impl Edge {
    /// A polling request of any kind.
    pub(super) async fn polling(self: Arc<Self>, request: Request, handshake: Handshake) -> Response {
        let Some(sid) = handshake.sid.as_deref() else {
            return if request.method() == Method::GET {
                self.open(request, handshake).await
            } else {
                self.call(request).await
            };
        };
        // Without a link the session is gone, or a WebSocket from its start: the engine says which.
        let Some(link) = self.find(sid) else { return self.call(request).await };
        tracing::trace!(request = requests(), conn = link.conn, method = %request.method(), "polled");
        match *request.method() {
            Method::GET => self.get(request, &link).await,
            Method::POST => self.post(request, &link).await,
            _ => self.call(request).await,
        }
    }

    /// Opens a session; its id is learned from the reply.
    async fn open(self: Arc<Self>, request: Request, handshake: Handshake) -> Response {
        let ticket = match self.admit(&request, &handshake) {
            Ok(ticket) => ticket,
            Err(full) => return turned_away(full),
        };
        let edge: Weak<Self> = Arc::downgrade(&self);
        let (gets, credit, leave) = (AtomicU32::new(0), Notify::new(), Leave::default());
        let polling = Polling { sid: OnceLock::new(), gets, credit, leave, edge };
        let link = self.link(&handshake, ticket, Some(Box::new(polling)));
        tracing::debug!(request = requests(), conn = link.conn, "polling");
        let mut request = Request::new(Body::empty());
        let Ok(uri) = handshake.engine_uri().parse() else { return refuse(3, "Bad request") };
        *request.uri_mut() = uri;
        request.extensions_mut().insert(link.clone());
        let (parts, body) = self.call(request).await.into_parts();
        let body = whole(body).await;
        if let (Some(sid), Some(polling)) = (sid_in_open_packet(&body), &link.polling) {
            self.remember(sid, &link);
            let _ = polling.sid.set(sid.into());
        }
        Response::from_parts(parts, Body::from(body))
    }

    /// Waits for packets, and counts those that leave.
    async fn get(&self, request: Request, link: &Link) -> Response {
        let Some(polling) = &link.polling else { return self.call(request).await };
        let waiting = Waiting::new(&polling.gets);
        let start = polling.leave.start.notified();
        tokio::pin!(start);
        start.as_mut().enable();
        if link.draining() != Drain::Not {
            return self.take_leave(link, polling).await;
        }
        let reply = tokio::select! {
            reply = self.call(request) => reply,
            () = start => return self.take_leave(link, polling).await,
        };
        let (mut parts, body) = reply.into_parts();
        let body = whole(body).await;
        drop(waiting);
        if !link.eio3 {
            link.sent(frames::packets_in_payload(&body));
            let with_pid = link.is_offering().then(|| connect::in_payload(&body, link)).flatten();
            if !link.is_connected() && (with_pid.is_some() || connect::is_in_payload(&body)) {
                link.seen_connect();
            }
            let body = with_pid.map_or(body, Bytes::from);
            parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
            return Response::from_parts(parts, Body::from(body));
        }
        if !link.is_connected() && frames::connects_v3(&body) {
            link.seen_connect();
        }
        let (packets, body) = frames::mend_v3_payload(&body);
        link.sent(packets);
        parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
        Response::from_parts(parts, Body::from(body.into_owned()))
    }

    /// Takes packets in, once the earlier ones of this client have been dealt with.
    async fn post(&self, request: Request, link: &Arc<Link>) -> Response {
        link.took(1);
        if let Some(polling) = &link.polling {
            loop {
                let returned = polling.credit.notified();
                if link.has_credit() || link.is_cut() {
                    break;
                }
                returned.await;
            }
        }
        let Some(polling) = &link.polling else { return self.call(request).await };
        let _posting = Waiting::new(&polling.leave.posts);
        let closing = Arc::new(Mutex::new(Closing::new(link.eio3)));
        let request = request.map(|body| Body::new(Watched { body, closing: closing.clone() }));
        let Ok(reply) = tokio::time::timeout(self.limits.body_timeout, self.call(request)).await else {
            self.doors.turn_away(RefusedBy::BodyTimeout);
            return (StatusCode::REQUEST_TIMEOUT, "the body does not come\n").into_response();
        };
        // The request itself has been counted.
        link.took(pace::weight(lock(&closing).len()) - 1);
        link.drained();
        if reply.status() == StatusCode::PAYLOAD_TOO_LARGE {
            self.doors.turn_away(RefusedBy::MaxPayload);
            return (StatusCode::PAYLOAD_TOO_LARGE, too_long(self.limits.max_payload)).into_response();
        }
        *lock(&polling.leave.last_post) = Some(Instant::now());
        if reply.status().is_success() && lock(&closing).is_seen() {
            link.close();
        }
        reply
    }

    /// The goodbye of a client that polls. One that knows what to do with a packet that is none is given one: it
    /// sends all it has, and then closes. Another is told to close when nothing of it seems to be under way.
    async fn take_leave(&self, link: &Link, polling: &Polling) -> Response {
        let leave = &polling.leave;
        let modern = !link.eio3 && link.is_modern() && link.member() != 0 && !link.is_offering();
        if modern && !leave.told.swap(true, AcqRel) {
            *lock(&leave.last_post) = Some(Instant::now());
            return text("49");
        }
        let calm = if leave.told.load(Acquire) { CALM_AFTER_WORD } else { CALM };
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        while Instant::now() < deadline && !link.is_closed() {
            let posted = lock(&leave.last_post).map_or(calm, |at| at.elapsed());
            if posted >= calm && leave.posts.load(Acquire) == 0 {
                break;
            }
            tokio::time::sleep(calm.saturating_sub(posted).max(Duration::from_millis(1))).await;
        }
        leave.told.store(true, Release);
        if let Some(sid) = polling.sid.get() {
            self.close_polling(sid, link.eio3);
        }
        text(if link.eio3 { "1:1" } else { "1" })
    }
}

/// A polling reply.
fn text(packet: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=UTF-8")], packet).into_response()
}

/// The engine's replies are in memory already.
async fn whole(body: Body) -> Bytes {
    body.collect().await.map(|body| body.to_bytes()).unwrap_or_default()
}

fn sid_in_open_packet(body: &[u8]) -> Option<&str> {
    let (_, rest) = std::str::from_utf8(body).ok()?.split_once("\"sid\":\"")?;
    Some(rest.split_once('"')?.0)
}

/// Counts a GET for as long as it waits, also when its client goes away meanwhile.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn new(gets: &'a AtomicU32) -> Self {
        gets.fetch_add(1, AcqRel);
        Self(gets)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, AcqRel);
    }
}
