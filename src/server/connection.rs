//! Connections: accepted, looked at, and served, each by a task of its own.
//!
//! ```text
//! accept -> may it? (doors) -> for whom? (PROXY header, where trusted) -> TLS, where configured -> requests, each with
//! its source ([`visit`])
//! ```
//!
//! A connection that brings no request in time is given up, whatever else it does. While this server hands over, one
//! waits in the [`parking`] before its first request, and between two; and what is answered then is the last answer on
//! its connection, and says so.
//!
//! [`visit`]: super::visit
//! [`parking`]: super::parking

use super::{
    doors::{Doors, Full, Pass},
    parking::Parking,
    source::Proxies,
    tls::Tls,
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
use tokio_util::sync::CancellationToken;

/// Pause when the process is out of descriptors, so that it does not spin until some are free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    listener: Option<TcpListener>,
    /// Newcomers that nobody has served.
    pub(super) parked: Vec<TcpStream>,
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

    /// Serves these as if they had come just now. Who has hung up is not: a session would be opened for nobody.
    pub(super) fn serve(&self, streams: Vec<TcpStream>) {
        for stream in streams.into_iter().filter(|stream| !has_hung_up(stream)) {
            if let Ok(peer) = stream.peer_addr() {
                let (entrance, parking) = (self.entrance.clone(), self.parking.clone());
                tokio::spawn(serve(entrance, parking, stream, peer.ip().to_canonical()));
            }
        }
    }

    /// Closes it.
    pub(super) async fn close(self) -> Closed {
        self.close.cancel();
        // It ends only so: it does not panic, and nobody aborts it.
        let listener = self.accepting.await.ok();
        Closed { entrance: self.entrance, listener, parked: self.parking.clear().await }
    }
}

impl Closed {
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
                    drop(token);
                    if let Some(stream) = stream {
                        serve(entrance, parking, stream, peer).await;
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

async fn serve(entrance: Arc<Entrance>, parking: Arc<Parking>, stream: TcpStream, peer: IpAddr) {
    if let Err(error) = entrance.serve(stream, peer, &parking).await {
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

    /// Whether connections are to wait for the next server: what is under TLS does not say what it is for.
    fn may_wait(&self, parking: &Parking) -> bool {
        parking.is_open() && self.tls.is_none()
    }

    async fn serve(&self, stream: TcpStream, peer: IpAddr, parking: &Arc<Parking>) -> io::Result<()> {
        let pass = match self.doors.connect(peer, self.proxies.trusts(peer)) {
            Ok(pass) => pass,
            Err(full) => return turn_away(&stream, full),
        };
        // Small packets go out at once.
        let _ = stream.set_nodelay(true);
        let opened = tokio::time::timeout(self.handshake_timeout, self.open(stream, peer, pass)).await;
        let Ok(opened) = opened else {
            self.doors.turn_away(RefusedBy::HandshakeTimeout);
            return Ok(());
        };
        let (mut transport, client) = opened?;
        // Whom a PROXY header has named the next server would not hear.
        let parks = transport.is_plain() && client == peer;
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
            let Some((stream, pass)) = between.into_plain() else { return Ok(()) };
            let _looking = parking.token();
            let Some(stream) = parking.look(stream, peer, true, &self.proxies).await else { return Ok(()) };
            transport = Transport::plain(stream, self.stall_timeout, pass);
        }
    }

    /// All that comes before the first request.
    async fn open(&self, mut stream: TcpStream, peer: IpAddr, pass: Pass) -> io::Result<(Transport, IpAddr)> {
        let peer = self.proxies.peer(&mut stream, peer).await?;
        let Some(tls) = &self.tls else {
            return Ok((Transport::plain(stream, self.stall_timeout, pass), peer));
        };
        let stream = tls.acceptor().accept(stream).await?;
        Ok((Transport::tls(stream, self.stall_timeout, pass), peer))
    }
}

/// Says why, as far as that is possible without waiting for anything.
fn turn_away(stream: &TcpStream, full: Full) -> io::Result<()> {
    let body = format!("{full}\n");
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.try_write(answer.as_bytes()).map(drop)
}
