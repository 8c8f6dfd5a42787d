//! Liveness: asks a child on duty what a client would ask, and then itself, again and again.
//!
//! A probe is an Engine.IO handshake through the listening socket (engine.io-protocol v4, "Handshake"), closed again at
//! once, and the child's own `/stats`, which answers only when events get through. What follows from the
//! answers is the unit's business.

use crate::{
    config,
    control::{client, types::Stats},
};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;

mod tls;

/// The handshake's answer is shorter.
const LONGEST: usize = 64 << 10;

/// What a probe gave: the child's counters and how long they took, or why not.
pub(super) type Answer = Result<(Box<Stats>, Duration), String>;

/// Whom to ask.
pub(super) enum Target {
    /// A chat server: where clients connect, and where it answers the supervisor.
    Chat { address: SocketAddr, tls: bool, control: PathBuf },
    /// Something else that speaks HTTP.
    Url(http::Uri),
}

/// Probes until dropped, or until nobody takes the answers, which go out as `told` makes them.
pub(super) async fn run<T>(
    target: Target,
    probe: config::Probe,
    answers: mpsc::Sender<T>,
    told: impl Fn(Answer) -> T,
) {
    loop {
        let begun = Instant::now();
        let answer = ask(&target, probe.timeout).await.map_err(|error| format!("{error:#}"));
        // A refusal that comes quickly is no reason to give up quickly.
        let next = if answer.is_ok() { Instant::now() + probe.interval } else { begun + probe.timeout };
        if answers.send(told(answer)).await.is_err() {
            return;
        }
        sleep_until(next).await;
    }
}

async fn ask(target: &Target, longest: Duration) -> Result<(Box<Stats>, Duration)> {
    let begun = Instant::now();
    let asked = async {
        match target {
            Target::Chat { address, tls, control } => {
                let stats = client::stats(control, longest).await.context("its health")?;
                handshake(reachable(*address), *tls).await.context("a client's handshake")?;
                anyhow::Ok(stats)
            }
            Target::Url(url) => fetch(url).await.map(|()| (Box::default(), begun.elapsed())),
        }
    };
    timeout(longest, asked).await.unwrap_or_else(|_| anyhow::bail!("no answer within {longest:?}"))
}

async fn fetch(url: &http::Uri) -> Result<()> {
    let address = (url.host().unwrap_or_default(), url.port_u16().unwrap_or(80));
    let mut connection = connect(TcpStream::connect(address).await?).await?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let (status, _) = exchange(&mut connection, Request::get(path), Bytes::new()).await?;
    ensure!(!status.is_server_error(), "it was answered with {status}");
    Ok(())
}

/// Every address of this machine is one of its own.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

async fn handshake(address: SocketAddr, tls: bool) -> Result<()> {
    const PATH: &str = "/socket.io/?EIO=4&transport=polling";
    let stream = TcpStream::connect(address).await?;
    let mut connection =
        if tls { connect(tls::connect(stream).await?).await? } else { connect(stream).await? };
    let (status, opened) = exchange(&mut connection, Request::get(PATH), Bytes::new()).await?;
    ensure!(status == StatusCode::OK, "it was answered with {status}");
    let opened = opened.strip_prefix(b"0").context("it is not what an Engine.IO server answers")?;
    let session: serde_json::Value = serde_json::from_slice(opened)?;
    let sid = session["sid"].as_str().context("it names no session")?;
    // Engine.IO's "close": the session does not linger until its timeout.
    let close = Request::post(format!("{PATH}&sid={sid}"));
    exchange(&mut connection, close, Bytes::from_static(b"1")).await.map(drop)
}

/// An HTTP connection; it ends when dropped.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driven: AbortOnDropHandle<()>,
}

async fn connect(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Connection> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driven = tokio::spawn(async move { drop(connection.await) });
    Ok(Connection { sender, _driven: AbortOnDropHandle::new(driven) })
}

async fn exchange(
    connection: &mut Connection,
    request: http::request::Builder,
    body: Bytes,
) -> Result<(StatusCode, Bytes)> {
    let sender = &mut connection.sender;
    sender.ready().await?;
    let request = request.header("host", "chatctl").header("content-type", "text/plain;charset=UTF-8");
    let response = sender.send_request(request.body(Full::new(body))?).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    Ok((status, body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes()))
}
