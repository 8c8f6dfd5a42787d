//! Connections: accepted, looked at, and served, each by a task of its own.
//!
//! ```text
//! accept -> may it? (doors) -> for whom? (PROXY header, where trusted) -> TLS, where configured -> requests, each with
//! its source
//! ```
//!
//! A connection that brings no request in time is given up, whatever else it does.

use super::{
    doors::{Doors, Full, Pass},
    parking::Parking,
    source::{Proxies, Source},
    tls::Tls,
    transport::Transport,
};
use crate::config::RefusedBy;
use axum::{Router, extract::Request};
use hyper::{body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
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
        let (close, parking) = (CancellationToken::new(), Arc::new(Parking::default()));
        let accepting = accept(listener, entrance.clone(), parking.clone(), close.clone());
        Self { entrance, parking, close, accepting: tokio::spawn(accepting) }
    }

    /// Newcomers are no longer served, and wait for who comes next.
    pub(super) fn park(&self) {
        self.parking.open();
    }

    /// Serves these as if they had come just now.
    pub(super) fn serve(&self, streams: Vec<TcpStream>) {
        for stream in streams {
            if let Ok(peer) = stream.peer_addr() {
                tokio::spawn(serve(self.entrance.clone(), stream, peer.ip().to_canonical()));
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
                // What is under TLS does not say what it is for.
                let token = parking.token().filter(|_| entrance.tls.is_none());
                tokio::spawn(async move {
                    let stream = if token.is_some() { parking.look(stream).await } else { Some(stream) };
                    drop(token);
                    if let Some(stream) = stream {
                        serve(entrance, stream, peer).await;
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

async fn serve(entrance: Arc<Entrance>, stream: TcpStream, peer: IpAddr) {
    if let Err(error) = entrance.serve(stream, peer).await {
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

    async fn serve(&self, stream: TcpStream, peer: IpAddr) -> io::Result<()> {
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
        let (transport, peer) = opened?;
        let asked = Arc::new(AtomicBool::new(false));
        let requests = Requests {
            app: TowerToHyperService::new(self.app.clone()),
            proxies: self.proxies.clone(),
            peer,
            asked: asked.clone(),
        };
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.handshake_timeout)
            .serve_connection(TokioIo::new(transport), requests)
            .with_upgrades();
        let served = connection.await;
        // One that is kept open for a next request, and has none, is no trouble.
        if served.as_ref().is_err_and(hyper::Error::is_timeout) && !asked.load(Relaxed) {
            self.doors.turn_away(RefusedBy::HandshakeTimeout);
        }
        served.map_err(io::Error::other)
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

/// The requests of one connection; each is told where it comes from.
struct Requests {
    app: TowerToHyperService<Router>,
    proxies: Proxies,
    peer: IpAddr,
    /// There was one.
    asked: Arc<AtomicBool>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.asked.store(true, Relaxed);
        let source = self.proxies.client(self.peer, request.headers());
        request.extensions_mut().insert(Source(source));
        self.app.call(request)
    }
}
