//! Connections: accepted, looked at, and served, each by a task of its own.
//!
//! ```text
//! accept -> may it? (doors) -> for whom? (PROXY header, where trusted) -> TLS, where configured -> requests, each with
//! its source ([`visit`])
//! ```
//!
//! A connection that brings no request in time is given up, whatever else it does. While this server hands over, one
//! waits in the [`parking`] before its first request, and between two, with TLS or without; and what is answered then is the
//! last answer on its connection, and says so.
//!
//! [`visit`]: super::visit
//! [`parking`]: super::parking

use super::{
    doors::{Doors, Full, Pass},
    parking::{Newcomer, Parking},
    source::Proxies,
    tls::{self, Tls},
    transport::Transport,
    visit::{Served, Visit},
};
use crate::config::RefusedBy;
use axum::Router;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{io, net::IpAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

/// Pause when the process is out of descriptors, so that it does not spin until some are free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Longest wait for who is turned away to ask: it takes a descriptor meanwhile.
const ASKS: Duration = Duration::from_millis(100);

/// What every connection needs.
pub(super) struct Entrance {
    pub(super) app: Router,
    pub(super) doors: Arc<Doors>,
    pub(super) proxies: Proxies,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) handshake_timeout: Duration,
    pub(super) stall_timeout: Duration,
}

/// An entrance by which clients come in.
pub(super) struct Open {
    entrance: Arc<Entrance>,
    parking: Arc<Parking>,
    close: CancellationToken,
    accepting: JoinHandle<TcpListener>,
}

/// One where nobody comes in: who connects waits.
pub(super) struct Closed {
    entrance: Arc<Entrance>,
    parking: Arc<Parking>,
    listener: Option<TcpListener>,
    /// Those that nobody has served.
    pub(super) parked: Vec<Newcomer>,
}

impl Open {
    fn at(listener: TcpListener, entrance: Arc<Entrance>) -> Self {
        let (close, parking) = (CancellationToken::new(), Arc::new(Parking::new()));
        let accepting = accept(listener, entrance.clone(), parking.clone(), close.clone());
        Self { entrance, parking, close, accepting: tokio::spawn(accepting) }
    }

    /// Newcomers are no longer served, and wait for who comes next.
    pub(super) fn park(&self) {
        self.parking.open();
    }

    /// Nobody who is here needs a new connection any more.
    pub(super) fn park_all(&self) {
        self.parking.take_all();
    }

    /// Serves these as if they had come just now. Who has hung up is not: a session would be opened for nobody.
    pub(super) fn serve(&self, newcomers: Vec<Newcomer>) {
        for newcomer in newcomers.into_iter().filter(|newcomer| !has_hung_up(&newcomer.stream)) {
            if let Ok(peer) = newcomer.stream.peer_addr() {
                let (entrance, parking) = (self.entrance.clone(), self.parking.clone());
                let coming = parking.token();
                tokio::spawn(serve(entrance, parking, newcomer, peer.ip().to_canonical(), coming));
            }
        }
    }

    /// Closes it.
    pub(super) async fn close(self) -> Closed {
        self.close.cancel();
        // It ends only so: it does not panic, and nobody aborts it.
        let listener = self.accepting.await.ok();
        let parked = self.parking.clear().await;
        Closed { entrance: self.entrance, parking: self.parking, listener, parked }
    }
}

impl Closed {
    /// Whether something is still being answered.
    pub(super) fn answers(&self) -> bool {
        self.parking.serves()
    }

    /// Waits until all is answered that was asked, but not for longer than this.
    pub(super) async fn finish(self, longest: Duration) {
        if tokio::time::timeout(longest, self.parking.served()).await.is_err() {
            tracing::info!("some answers were not taken within {longest:?}, and are cut");
        }
    }

    /// Opens it again; `None`: it is lost.
    pub(super) fn open(self) -> Option<Open> {
        let open = Open::at(self.listener?, self.entrance);
        open.serve(self.parked);
        Some(open)
    }
}

/// Accepts connections until `close`; gives the listener back.
async fn accept(
    listener: TcpListener,
    entrance: Arc<Entrance>,
    parking: Arc<Parking>,
    close: CancellationToken,
) -> TcpListener {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = close.cancelled() => return listener,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (entrance, parking, peer) = (entrance.clone(), parking.clone(), peer.ip().to_canonical());
                // From now on, that nobody is forgotten who is accepted last.
                let token = parking.token();
                tokio::spawn(async move {
                    let stream = if entrance.may_wait(&parking) {
                        parking.look(stream, peer, false, &entrance.proxies).await
                    } else {
                        Some(stream)
                    };
                    if let Some(stream) = stream {
                        serve(entrance, parking, Newcomer { stream, tls: None }, peer, token).await;
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn has_hung_up(stream: &TcpStream) -> bool {
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let mut asked = [PollFd::new(stream, PollFlags::RDHUP)];
    poll(&mut asked, Some(&Timespec::default())).is_ok_and(|told| told > 0)
        && asked[0].revents().intersects(gone)
}

/// `coming`: it may still be somebody who waits.
async fn serve(
    entrance: Arc<Entrance>,
    parking: Arc<Parking>,
    newcomer: Newcomer,
    peer: IpAddr,
    coming: TaskTrackerToken,
) {
    if let Err(error) = entrance.serve(newcomer, peer, &parking, coming).await {
        tracing::debug!(%error, %peer, "a connection ended early");
    }
}

impl Entrance {
    /// Opens it at a listener.
    ///
    /// # Errors
    /// The runtime does not take it.
    pub(super) fn open_at(self, listener: std::net::TcpListener) -> io::Result<Open> {
        listener.set_nonblocking(true)?;
        Ok(Open::at(TcpListener::from_std(listener)?, Arc::new(self)))
    }

    /// Whether connections are to wait for the next server as they come: what is under TLS does not say what it is for.
    fn may_wait(&self, parking: &Parking) -> bool {
        parking.is_open() && self.tls.is_none()
    }

    async fn serve(
        &self,
        newcomer: Newcomer,
        peer: IpAddr,
        parking: &Arc<Parking>,
        coming: TaskTrackerToken,
    ) -> io::Result<()> {
        let pass = match self.doors.connect(peer, self.proxies.trusts(peer)) {
            Ok(pass) => pass,
            Err(full) => return turn_away(&newcomer.stream, full).await,
        };
        // Small packets go out at once.
        let _ = newcomer.stream.set_nodelay(true);
        let opened = self.open(newcomer, peer, pass, parking);
        let opened = tokio::select! {
            opened = tokio::time::timeout(self.handshake_timeout, opened) => opened,
            () = parking.closing(), if self.tls.is_some() => return Ok(()),
        };
        let Ok(opened) = opened else {
            self.doors.turn_away(RefusedBy::HandshakeTimeout);
            return Ok(());
        };
        let Some((mut transport, client)) = opened? else { return Ok(()) };
        // Whom a PROXY header has named the next server would not hear.
        let mut parks = transport.can_move() && client == peer;
        if parks && parking.is_open() {
            let Some(looked) = self.look_again(transport, peer, parking).await else { return Ok(()) };
            (transport, parks) = (looked, false);
        }
        drop(coming);
        let visit = Visit::new(&self.app, &self.proxies, client, self.handshake_timeout, parking);
        loop {
            let between = match visit.serve(transport, parks).await {
                Served::Between(between) => between,
                Served::Ended(served) => {
                    // One that is kept open for a next request, and has none, is no trouble.
                    if served.as_ref().is_err_and(hyper::Error::is_timeout) && !visit.has_asked() {
                        self.doors.turn_away(RefusedBy::HandshakeTimeout);
                    }
                    return served.map_err(io::Error::other);
                }
            };
            let _looking = parking.token();
            let Some(looked) = self.look_again(between, peer, parking).await else { return Ok(()) };
            (transport, parks) = (looked, false);
        }
    }

    /// Looks at what a connection between two requests is for next: gives it back if it is to be served here.
    async fn look_again(&self, between: Transport, peer: IpAddr, parking: &Parking) -> Option<Transport> {
        if !between.is_plain() {
            return parking.look_within(between).await;
        }
        let (stream, _, pass) = between.into_parts()?;
        let stream = parking.look(stream, peer, true, &self.proxies).await?;
        Some(Transport::plain(stream, self.stall_timeout, pass))
    }

    /// All that comes before the first request; `None`: it waits for the next server.
    async fn open(
        &self,
        newcomer: Newcomer,
        peer: IpAddr,
        pass: Pass,
        parking: &Parking,
    ) -> io::Result<Option<(Transport, IpAddr)>> {
        let Newcomer { mut stream, tls: begun } = newcomer;
        if let Some(begun) = begun {
            let stream = tls::Stream::onward(stream, begun)?;
            return Ok(Some((Transport::tls(stream, self.stall_timeout, pass), peer)));
        }
        let client = self.proxies.peer(&mut stream, peer).await?;
        let Some(tls) = &self.tls else {
            return Ok(Some((Transport::plain(stream, self.stall_timeout, pass), client)));
        };
        if client == peer {
            let Some(here) = parking.await_hello(stream).await else { return Ok(None) };
            stream = here;
        }
        let stream = tls.accept(stream).await?;
        Ok(Some((Transport::tls(stream, self.stall_timeout, pass), client)))
    }
}

/// Says why, without waiting for long. What has been asked is read before: else the kernel would reset the connection, and
/// who asks, as the supervisor does to see whether this server lives, might not hear why.
async fn turn_away(stream: &TcpStream, full: Full) -> io::Result<()> {
    let _ = tokio::time::timeout(ASKS, stream.readable()).await;
    let _ = stream.try_read(&mut [0; 4096]);
    let body = format!("{full}\n");
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.try_write(answer.as_bytes()).map(drop)
}
