//! The edge: where clients come in. It speaks Engine.IO and Socket.IO with them, over WebSockets and long-polling, and every
//! connection can be counted, paused, cut and moved.
//!
//! ```text
//! a request -> handshake -> polling, or WebSocket: a stream -> session -> namespace `/` -> sequencer
//!                             client <- stream, or poller <- link <- what the sequencer says
//! ```
//!
//! What packets look like is the affair of libraries (engineioxide-core, socketioxide's parser, tungstenite). The sessions
//! are its own: those of engineioxide are three tasks and two queues each, 15 KB for a connection that says nothing, and
//! drop what does not fit (bench/MEMORY.md).

pub(super) mod client_frames;
mod handshake;
mod poller;
mod polling;
mod session;
mod stream;
pub(super) mod websocket;

use super::{
    GOODBYE, LATE, cors,
    debts::Missing,
    doors::{Doors, Full, Ticket},
    handover::{Announced, Traveller},
    link::{Drain, Link, lock},
    living::Living,
    namespace::Namespace,
    recovery::{Admission, Entry, Pid},
    source::Source,
    tls,
    transport::Transport,
};
use crate::{
    chat::Given,
    config::{Cors, Limits, RefusedBy},
    slack::give_back,
};
use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use engineioxide_core::Sid;
use handshake::{Bad, Handshake};
use http::{Method, StatusCode, header};
use hyper_util::rt::TokioIo;
pub(super) use poller::Poller;
use session::Session;
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
use websocket::Served;

/// So many are told to go at once, and the pause before the next: 10,000 in a second, as many as can come back. Of more
/// people more are told at once: a server that stops has not for ever.
const GOODBYES: usize = 500;
const GOODBYE_PAUSE: Duration = Duration::from_millis(50);
const GOODBYE_PAUSES: usize = 40;
/// Longest wait for who is just coming in, or just upgrading, before connections go to another process.
const COMING: Duration = Duration::from_millis(500);

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

/// See the module.
pub(super) struct Edge {
    namespace: Arc<Namespace>,
    limits: Limits,
    cors: Cors,
    doors: Arc<Doors>,
    /// Polling sessions by id: their later requests, and upgrades, name nothing else.
    sessions: Mutex<HashMap<Sid, Weak<Link>>>,
    /// All sessions, and how many of them live.
    living: Arc<Living>,
    /// Who may come in just now.
    intake: AtomicU8,
    /// For polling sessions, which say when they are gone.
    this: Weak<Self>,
}

impl Edge {
    /// An edge before this namespace.
    pub(super) fn new(namespace: Namespace, limits: Limits, cors: Cors, doors: Arc<Doors>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            namespace: Arc::new(namespace),
            limits,
            cors,
            doors,
            sessions: Mutex::default(),
            living: Arc::default(),
            intake: AtomicU8::new(Intake::Everybody as u8),
            this: this.clone(),
        })
    }

    /// The link of a session that polls, or began so.
    fn find(&self, sid: &Sid) -> Option<Arc<Link>> {
        // Let go of outside the lock: the last who does takes the link off this very list.
        let link = lock(&self.sessions).get(sid)?.upgrade()?;
        (!link.is_closed()).then_some(link)
    }

    /// A link for a session that opens.
    fn link(&self, handshake: &Handshake, ticket: Ticket, polling: Option<Box<Poller>>) -> Arc<Link> {
        let identity = handshake.identity(&self.limits);
        let link = Link::new(identity, handshake.eio3, polling, self.living.clone());
        let _ = link.ticket.set(ticket);
        if let Some(token) = &handshake.token {
            let _ = link.permit.token.set(token.as_str().into());
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
        match (handshake.sid, handshake.websocket) {
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

    /// Begins a session for a connection that comes from another process, on which nothing is read or written before
    /// [`Link::go_on`]. `heartbeat`: when the next one is due.
    pub(super) async fn expect(
        &self,
        announced: Announced,
        traveller: &Traveller,
        missing: Option<Missing>,
        heartbeat: Duration,
    ) -> Arc<Link> {
        let Announced { member, identity, eio3, modern, address, rights } = announced;
        let name = match (&rights, &identity.name) {
            (Some(rights), _) => Some(&rights.name),
            (None, Given::Text(name)) => Some(name),
            (None, Given::Missing | Given::TooLong) => None,
        };
        let ticket = self.doors.board(address, name, missing);
        let link = Link::moved(identity, eio3, modern, self.living.clone());
        let _ = link.ticket.set(ticket);
        link.waits_on();
        rights.into_iter().for_each(|rights| link.permit.entitle(rights));
        let pid = traveller.record.pid.as_deref().and_then(Pid::read);
        link.admit(Admission { member, pid, entry: Entry::Moved(traveller.from) });
        self.living.list(&link);
        let stream = Box::new(EdgeStream::moved(link.clone(), self.limits.max_payload));
        let session = Session::moved(link.clone(), self.namespace.clone(), &self.limits, heartbeat);
        Served::over(stream, session).await.begin();
        link
    }

    /// A connection that comes from another process, and what it goes on with if it has TLS.
    ///
    /// # Errors
    /// The runtime does not take it.
    pub(super) fn carry_on(&self, socket: OwnedFd, tls: Option<tls::State>) -> io::Result<Transport> {
        let io = TcpStream::from_std(std::net::TcpStream::from(socket))?;
        let peer = io.peer_addr().map_or(NOWHERE, |peer| peer.ip());
        let (patience, pass) = (self.limits.stall_timeout, self.doors.carry_on(peer));
        Ok(match tls {
            Some(state) => Transport::tls(tls::Stream::onward(io, state)?, patience, pass),
            None => Transport::plain(io, patience, pass),
        })
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

    /// Answers a WebSocket upgrade, and serves the session when hyper lets go of the stream.
    fn upgrade(self: Arc<Self>, mut request: Request, handshake: &Handshake) -> Response {
        let headers = request.headers();
        let key = headers.get(header::SEC_WEBSOCKET_KEY).map(|key| handshake::accept_key(key.as_bytes()));
        let (Some(accept), true) = (key, handshake::is_websocket(headers)) else {
            return refuse(Bad::Request);
        };
        if request.method() != Method::GET {
            return refuse(Bad::Method);
        }
        let known = handshake.sid.map(|sid| self.find(&sid));
        let (link, polls) = match known {
            None => match self.admit(&request, handshake) {
                Ok(ticket) => (self.link(handshake, ticket, None), false),
                Err(full) => return turned_away(full),
            },
            Some(Some(link)) if link.begins_trial() => (link, true),
            Some(Some(_)) => return refuse(Bad::Request),
            Some(None) => return refuse(Bad::Session),
        };
        tracing::debug!(request = requests(), conn = link.conn, polls, "websocket");
        let upgraded = hyper::upgrade::on(&mut request);
        // The request, and with it hyper's buffer, goes here and not when the session ends.
        drop(request);
        tokio::spawn(async move {
            let Ok(upgraded) = upgraded.await else { return link.ends_trial() };
            let Ok(parts) = upgraded.downcast::<TokioIo<Transport>>() else {
                tracing::error!("an upgraded connection is not the stream it came in by; closed");
                return link.ends_trial();
            };
            let head = Bytes::copy_from_slice(&parts.read_buf);
            let (io, max_payload) = (parts.io.into_inner(), self.limits.max_payload);
            let stream = Box::new(EdgeStream::new(io, head, link.clone(), polls, max_payload));
            if polls {
                return websocket::upgrade(stream, link).await;
            }
            let mut session = self.session(link);
            session.greet();
            Served::over(stream, session).await.begin();
        });
        let headers = [
            (header::UPGRADE, "websocket"),
            (header::CONNECTION, "Upgrade"),
            (header::SEC_WEBSOCKET_ACCEPT, &accept),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }

    /// A session that opens.
    fn session(&self, link: Arc<Link>) -> Session {
        Session::open(link, self.namespace.clone(), &self.limits)
    }
}

impl poller::Sessions for Edge {
    fn forget(&self, sid: &Sid) {
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
        Ok(handshake) if !edge.lets_in(&handshake) => restarting(),
        Ok(handshake) if handshake.websocket => edge.upgrade(request, &handshake),
        Ok(handshake) => edge.polling(request, &handshake).await,
        Err(bad) => refuse(bad),
    })
}

/// A number for the request in the log.
fn requests() -> u64 {
    static REQUESTS: AtomicU64 = AtomicU64::new(1);
    REQUESTS.fetch_add(1, Relaxed)
}

/// An Engine.IO error reply, as clients know them.
fn refuse(bad: Bad) -> Response {
    let (code, message) = bad.told();
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
