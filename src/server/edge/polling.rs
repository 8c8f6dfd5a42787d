//! Long-polling at the edge: opens, GETs and POSTs of sessions that have no stream of their own.

use super::{Edge, frames, handshake::Handshake, refuse};
use crate::server::link::{Link, Polling};
use axum::{body::Body, extract::Request, response::Response};
use bytes::Bytes;
use http::{Method, header};
use http_body_util::BodyExt;
use std::sync::{
    Arc, OnceLock, Weak,
    atomic::{AtomicU32, Ordering::AcqRel},
};
use tokio::sync::Notify;

impl Edge {
    /// A polling request of any kind.
    pub(super) async fn polling(self: Arc<Self>, request: Request, handshake: Handshake) -> Response {
        let Some(sid) = handshake.sid.as_deref() else {
            return if request.method() == Method::GET {
                self.open(handshake).await
            } else {
                self.call(request).await
            };
        };
        // Without a link the session is gone, or a WebSocket from its start: the engine says which.
        let Some(link) = self.find(sid) else { return self.call(request).await };
        match *request.method() {
            Method::GET => self.get(request, &link).await,
            Method::POST => self.post(request, &link).await,
            _ => self.call(request).await,
        }
    }

    /// Opens a session; its id is learned from the reply.
    async fn open(self: Arc<Self>, handshake: Handshake) -> Response {
        let edge: Weak<Self> = Arc::downgrade(&self);
        let polling = Polling { sid: OnceLock::new(), gets: AtomicU32::new(0), credit: Notify::new(), edge };
        let link = Link::new(handshake.identity(&self.limits), handshake.eio3, Some(Box::new(polling)));
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
        let (mut parts, body) = self.call(request).await.into_parts();
        let body = whole(body).await;
        drop(waiting);
        if !link.eio3 {
            link.sent(frames::packets_in_payload(&body));
            return Response::from_parts(parts, Body::from(body));
        }
        let (packets, body) = frames::mend_v3_payload(&body);
        link.sent(packets);
        parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
        Response::from_parts(parts, Body::from(body.into_owned()))
    }

    /// Takes packets in, once the earlier ones of this client have been dealt with.
    async fn post(&self, request: Request, link: &Link) -> Response {
        if let Some(polling) = &link.polling {
            loop {
                let returned = polling.credit.notified();
                if link.has_credit() || link.is_cut() {
                    break;
                }
                returned.await;
            }
        }
        self.call(request).await
    }
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
