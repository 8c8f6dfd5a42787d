//! The edge: stands between hyper and socketioxide, so that every connection can be counted, paused and cut.
//!
//! It answers WebSocket upgrades itself and hands the engine an [`EdgeStream`] with a fresh, tiny request: the engine
//! keeps that request for the life of the session, and hyper's own would keep 16 KB of read buffer with it. What
//! the chat needs of the handshake travels as the [`Link`] in the request's extensions.
//!
//! Of what goes over the wire it changes one thing: the CONNECT reply tells the client an id under which it may come
//! back. What upstream would have to offer for it to go away: the length of a socket's queue, a way to close its
//! transport from a [`socketioxide::extract::SocketRef`], and a request without its buffers.

pub(super) mod client_frames;
mod closing;
mod connect;
pub(super) mod frames;
mod handshake;
mod polling;
mod stream;

use super::{
    GOODBYE, LATE, cors,
    debts::Missing,
    doors::{Doors, Full, Ticket},
    handover::{Announced, Countdown, Traveller},
    link::{ClosePolling, Drain, Link, Polling, lock},
    living::Living,
    recovery::{Admission, Entry, Pid},
    source::Source,
    transport::Transport,
};
use crate::{
    chat::Given,
    config::{Cors, Limits, RefusedBy},
    slack::give_back,
};
use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use engineioxide::service::NotFoundService;
use futures_util::FutureExt;
use handshake::Handshake;
use http::{Method, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use socketioxide::service::SocketIoService;
use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU8, AtomicU64, Ordering::*},
    },
    time::{Duration, Instant},
};
use stream::EdgeStream;
use tokio::net::TcpStream;
use tower_service::Service;

/// So many are told to go at once, and the pause before the next: 10,000 in a second, as many as can come back. Of more
/// people more are told at once: a server that stops has not for ever.
const GOODBYES: usize = 500;
const GOODBYE_PAUSE: Duration = Duration::from_millis(50);
const GOODBYE_PAUSES: usize = 40;
/// Longest wait for who is just coming in, or just upgrading, before connections go to another process.
const COMING: Duration = Duration::from_millis(500);

/// Where the engine finds a WebSocket, by its protocol.
const ENGINE_3: &str = "/socket.io/?EIO=3&transport=websocket";
const ENGINE_4: &str = "/socket.io/?EIO=4&transport=websocket";

/// Who may come in: open a session, or move one from polling to WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Intake {
    /// Everybody.
    Everybody,
    /// Only those whose connection can go to another process.
    WebSocketsOnly,
    /// Nobody new, but who polls may still move.
    Leaving,
    /// Nobody.
    Nobody,
}

/// Of a request that did not come by the listener.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The engine, as the edge calls it.
pub(super) type Engine = SocketIoService<NotFoundService>;

/// A WebSocket, as the edge gives it to the engine. In a box: the engine's tasks move what they are given from state to
/// state, and each would have room for all of it.
type Upgraded = (Box<EdgeStream>, http::Request<()>);

/// See the module.
pub(super) struct Edge {
    engine: Engine,
    limits: Limits,
    cors: Cors,
    doors: Arc<Doors>,
    /// Polling sessions by id: their later requests, and upgrades, name nothing else.
    sessions: Mutex<HashMap<Box<str>, Weak<Link>>>,
    /// All sessions, and how many of them live.
    living: Arc<Living>,
    /// Who may come in just now.
    intake: AtomicU8,
    /// For the links, which close polling sessions through it.
    this: Weak<Self>,
}

impl Edge {
    /// An edge before this engine.
    pub(super) fn new(engine: Engine, limits: Limits, cors: Cors, doors: Arc<Doors>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            engine,
            limits,
            cors,
            doors,
            sessions: Mutex::default(),
            living: Arc::default(),
            intake: AtomicU8::new(Intake::Everybody as u8),
            this: this.clone(),
        })
    }

    /// The link of a polling session.
    fn find(&self, sid: &str) -> Option<Arc<Link>> {
        lock(&self.sessions).get(sid)?.upgrade()
    }

    fn remember(&self, sid: &str, link: &Arc<Link>) {
        lock(&self.sessions).insert(sid.into(), Arc::downgrade(link));
    }

    /// A link for a session that opens.
    fn link(&self, handshake: &Handshake, ticket: Ticket, polling: Option<Box<Polling>>) -> Arc<Link> {
        let identity = handshake.identity(&self.limits);
        let link = Link::new(identity, handshake.eio3, polling, self.living.clone());
        let _ = link.ticket.set(ticket);
        if let Some(token) = &handshake.token {
            let _ = link.standing.token.set(token.as_str().into());
        }
        if handshake.modern {
            link.seen_modern();
        }
        self.living.list(&link);
        link
    }

    /// Lets a session in that opens with this request.
    fn admit(&self, request: &Request, handshake: &Handshake) -> Result<Ticket, Full> {
        let source = request.extensions().get::<Source>().map_or(NOWHERE, |source| source.0);
        self.doors.enter(source, &handshake.identity(&self.limits))
    }

    /// How many sessions live.
    pub(super) fn living(&self) -> &Living {
        &self.living
    }

    /// Says who may come in from now on.
    pub(super) fn set_intake(&self, intake: Intake) {
        self.intake.store(intake as u8, Release);
    }

    fn lets_in(&self, handshake: &Handshake) -> bool {
        let intake = self.intake.load(Acquire);
        match (&handshake.sid, handshake.websocket) {
            (None, true) => intake <= Intake::WebSocketsOnly as u8,
            (None, false) => intake == Intake::Everybody as u8,
            (Some(_), true) => intake < Intake::Nobody as u8,
            (Some(_), false) => true,
        }
    }

    /// Says goodbye to those whose connection cannot go to another process, and waits until they are gone; meanwhile
    /// everything else goes on. Gives how many they were.
    pub(super) async fn see_off_who_stays(&self) -> u64 {
        self.set_intake(Intake::WebSocketsOnly);
        self.wait_for(Link::may_upgrade, Link::can_travel).await;
        let mut staying = self.links();
        staying.retain(|link| link.member() != 0 && !link.can_travel());
        self.say_goodbye(&staying).await;
        let (count, told) = (staying.len() as u64, Instant::now());
        // Held weakly: that nobody holds them any more is how those are gone who do not say so themselves.
        let mut staying: Vec<Weak<Link>> = staying.into_iter().map(|link| Arc::downgrade(&link)).collect();
        let mut gone = async |until| {
            let all_gone = self.living.until(|| {
                staying.retain(|link| link.upgrade().is_some_and(|link| !link.is_closed()));
                staying.is_empty()
            });
            let _ = tokio::time::timeout(until, all_gone).await;
            staying.iter().filter_map(Weak::upgrade).for_each(|link| link.drain(Drain::Late));
        };
        gone(LATE).await;
        gone(GOODBYE.saturating_sub(told.elapsed())).await;
        count
    }

    /// Waits for those who are just coming in: they are there in a moment.
    pub(super) async fn wait_for_who_comes_in(&self) {
        self.wait_for(Link::can_travel, Link::is_portable).await;
    }

    /// Waits until those of this kind are there, or gone, but not for long.
    async fn wait_for(&self, kind: fn(&Link) -> bool, there: fn(&Link) -> bool) {
        // Held weakly: who goes meanwhile is not to be kept by being waited for.
        let coming = self.links().into_iter().filter(|link| kind(link));
        let coming: Vec<Weak<Link>> = coming.map(|link| Arc::downgrade(&link)).collect();
        let settled = |link: Arc<Link>| there(&link) || link.is_closed();
        let all_settled = self.living.until(|| coming.iter().all(|link| link.upgrade().is_none_or(settled)));
        let _ = tokio::time::timeout(COMING, all_settled).await;
    }

    /// What is owed by whom, for another process; see [`Doors::debts`].
    pub(super) fn debts(&self) -> Vec<(IpAddr, Missing)> {
        self.doors.debts()
    }

    /// See [`Doors::note`].
    pub(super) fn note(&self, owed: &[(IpAddr, Missing)]) {
        self.doors.note(owed);
    }

    /// Has the engine open a session for a connection that comes from another process, on which nothing is read or
    /// written before [`Link::go_on`]. `arriving`: counts those that the engine has not connected yet.
    ///
    /// # Errors
    /// The engine does not take it.
    pub(super) fn expect(
        &self,
        announced: Announced,
        traveller: &Traveller,
        missing: Option<Missing>,
        heartbeat_delay: Duration,
        arriving: &Arc<Countdown>,
    ) -> io::Result<Arc<Link>> {
        let Announced { member, identity, eio3, modern, address, rights } = announced;
        let name = match (&rights, &identity.name) {
            (Some(rights), _) => Some(&rights.name),
            (None, Given::Text(name)) => Some(name),
            (None, Given::Missing | Given::TooLong) => None,
        };
        let ticket = self.doors.board(address, name, missing);
        let link = Link::moved(identity, eio3, modern, heartbeat_delay, self.living.clone());
        let _ = link.ticket.set(ticket);
        link.waits_on();
        rights.into_iter().for_each(|rights| link.standing.entitle(rights));
        let pid = traveller.record.pid.as_deref().and_then(Pid::read);
        link.admit(Admission { member, pid, entry: Entry::Moved(traveller.from) });
        link.await_by(arriving);
        self.living.list(&link);
        let stream = Box::new(EdgeStream::moved(link.clone(), self.limits.max_payload));
        let mut request = http::Request::new(());
        *request.uri_mut() = Uri::from_static(if eio3 { ENGINE_3 } else { ENGINE_4 });
        request.extensions_mut().insert(link.clone());
        let served = Service::<Upgraded>::call(&mut self.engine.clone(), (stream, request));
        // Never pending: it only starts the connection's task.
        served.now_or_never().transpose().map(|_| link).map_err(io::Error::other)
    }

    /// A connection that comes from another process.
    ///
    /// # Errors
    /// The runtime does not take it.
    pub(super) fn carry_on(&self, socket: OwnedFd) -> io::Result<Transport> {
        let io = TcpStream::from_std(std::net::TcpStream::from(socket))?;
        let peer = io.peer_addr().map_or(NOWHERE, |peer| peer.ip());
        Ok(Transport::plain(io, self.limits.stall_timeout, self.doors.carry_on(peer)))
    }

    /// Takes nobody new in, and says goodbye to everybody: they will all be back.
    pub(super) async fn drain(&self) {
        self.set_intake(Intake::Leaving);
        self.say_goodbye(&self.links()).await;
    }

    /// Some at a time.
    async fn say_goodbye(&self, all: &[Arc<Link>]) {
        let at_once = GOODBYES.max(all.len() / GOODBYE_PAUSES);
        for links in all.chunks(at_once) {
            for link in links {
                // One that is not connected yet has nothing to lose, and would not know what to wait for.
                if link.member() == 0 { link.cut() } else { link.drain(Drain::Start) }
            }
            if links.len() == at_once {
                tokio::time::sleep(GOODBYE_PAUSE).await;
            }
        }
    }

    /// Waits for nobody's answer any longer.
    pub(super) fn drain_late(&self) {
        self.links().iter().for_each(|link| link.drain(Drain::Late));
    }

    /// All sessions there are.
    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        self.living.links()
    }

    /// Hands a request to the engine.
    async fn call(&self, request: Request) -> Response {
        match self.engine.clone().call(request).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        }
    }

    /// Answers a WebSocket upgrade, and gives the engine the stream when hyper lets go of it.
    fn upgrade(self: Arc<Self>, mut request: Request, handshake: Handshake) -> Response {
        let headers = request.headers();
        let key = headers.get(header::SEC_WEBSOCKET_KEY).map(|key| handshake::accept_key(key.as_bytes()));
        let (Some(accept), true) = (key, handshake::is_websocket(headers)) else {
            return refuse(3, "Bad request");
        };
        if request.method() != Method::GET {
            return refuse(2, "Bad handshake method");
        }
        let known = handshake.sid.as_deref().map(|sid| self.find(sid));
        let (link, upgrades) = match known {
            None => match self.admit(&request, &handshake) {
                Ok(ticket) => (self.link(&handshake, ticket, None), false),
                Err(full) => return turned_away(full),
            },
            Some(Some(link)) if !link.is_websocket() => (link, true),
            Some(Some(_)) => return refuse(3, "Bad request"),
            Some(None) => return refuse(1, "Session ID unknown"),
        };
        tracing::debug!(request = requests(), conn = link.conn, upgrades, "websocket");
        let Ok(uri) = handshake.engine_uri().parse::<Uri>() else { return refuse(1, "Session ID unknown") };
        let upgraded = hyper::upgrade::on(&mut request);
        // The request, and with it hyper's buffer, goes here and not when the session ends.
        drop(request);
        tokio::spawn(async move {
            let Ok(upgraded) = upgraded.await else { return };
            let Ok(parts) = upgraded.downcast::<TokioIo<Transport>>() else {
                tracing::error!("an upgraded connection is not the stream it came in by; closed");
                return;
            };
            let head = Bytes::copy_from_slice(&parts.read_buf);
            let (io, max_payload) = (parts.io.into_inner(), self.limits.max_payload);
            let stream = Box::new(EdgeStream::new(io, head, link.clone(), upgrades, max_payload));
            let (mut fresh, conn) = (http::Request::new(()), link.conn);
            *fresh.uri_mut() = uri;
            if !upgrades {
                fresh.extensions_mut().insert(link);
            }
            if let Err(error) = Service::<Upgraded>::call(&mut self.engine.clone(), (stream, fresh)).await {
                tracing::debug!(conn, %error, "the engine refused an upgraded connection");
            }
        });
        let headers = [
            (header::UPGRADE, "websocket"),
            (header::CONNECTION, "Upgrade"),
            (header::SEC_WEBSOCKET_ACCEPT, &accept),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
}

impl ClosePolling for Edge {
    fn close_polling(&self, sid: &str, eio3: bool) {
        let Some(edge) = self.this.upgrade() else { return };
        let (protocol, body) = if eio3 { (3, "1:1") } else { (4, "1") };
        let uri = format!("/socket.io/?EIO={protocol}&transport=polling&sid={sid}");
        let Ok(request) = Request::post(uri).body(Body::from(body)) else { return };
        // Called from the sequencer's thread as well, which is in the runtime's context.
        tokio::spawn(async move { edge.call(request).await });
    }

    fn forget(&self, sid: &str) {
        let mut sessions = lock(&self.sessions);
        sessions.remove(sid);
        give_back(&mut sessions);
    }
}

/// Every request to `/socket.io/`.
pub(super) async fn handle(State(edge): State<Arc<Edge>>, request: Request) -> Result<Response, Infallible> {
    if !cors::admits(&edge.cors, request.headers()) {
        edge.doors.turn_away(RefusedBy::Origins);
        return Ok(forbidden());
    }
    Ok(match Handshake::read(request.uri()) {
        Some(handshake) if !edge.lets_in(&handshake) => restarting(),
        Some(handshake) if handshake.websocket => edge.upgrade(request, handshake),
        Some(handshake) => edge.polling(request, handshake).await,
        // Nothing the edge knows: the engine has the words for what is wrong.
        None => edge.call(request).await,
    })
}

/// A number for the request in the log.
fn requests() -> u64 {
    static REQUESTS: AtomicU64 = AtomicU64::new(1);
    REQUESTS.fetch_add(1, Relaxed)
}

/// An Engine.IO error reply, as clients know them.
fn refuse(code: u8, message: &str) -> Response {
    tracing::debug!(request = requests(), message, "refused");
    let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
    (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// To pages that may not connect.
fn forbidden() -> Response {
    let body = r#"{"code":4,"message":"pages of this origin may not connect: see [cors] origins"}"#;
    (StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// To those for whom there is no room: they try again by themselves.
fn turned_away(full: Full) -> Response {
    let status = match full {
        Full::All(_) => StatusCode::SERVICE_UNAVAILABLE,
        Full::Address(_) | Full::Name(_) => StatusCode::TOO_MANY_REQUESTS,
    };
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::RETRY_AFTER, "5")];
    (status, headers, format!(r#"{{"code":4,"message":"{full}"}}"#)).into_response()
}

/// To those who come while the server stops: they try again, and meet the next one.
fn restarting() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], "the server restarts\n").into_response()
}
