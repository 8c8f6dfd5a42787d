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
    net::TcpStream,
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

/// The handshake's answer is shorter.
const LONGEST: usize = 64 << 10;

/// What a probe gave: the child's counters and how long they took, or why not.
pub(super) type Answer = Result<(Stats, Duration), String>;

/// Whom to ask.
pub(super) struct Target {
    /// Where clients connect.
    pub(super) chat: SocketAddr,
    /// Where the child answers the supervisor.
    pub(super) control: PathBuf,
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

async fn ask(target: &Target, longest: Duration) -> Result<(Stats, Duration)> {
    let both = async {
        let stats = client::stats(&target.control, longest).await.context("its health")?;
        handshake(reachable(target.chat)).await.context("a client's handshake")?;
        anyhow::Ok(stats)
    };
    timeout(longest, both).await.unwrap_or_else(|_| anyhow::bail!("no answer within {longest:?}"))
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

async fn handshake(address: SocketAddr) -> Result<()> {
    const PATH: &str = "/socket.io/?EIO=4&transport=polling";
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let _connection = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let opened = exchange(&mut sender, Request::get(PATH), Bytes::new()).await?;
    let opened = opened.strip_prefix(b"0").context("it is not what an Engine.IO server answers")?;
    let session: serde_json::Value = serde_json::from_slice(opened)?;
    let sid = session["sid"].as_str().context("it names no session")?;
    // Engine.IO's "close": the session does not linger until its timeout.
    exchange(&mut sender, Request::post(format!("{PATH}&sid={sid}")), Bytes::from_static(b"1"))
        .await
        .map(drop)
}

async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: http::request::Builder,
    body: Bytes,
) -> Result<Bytes> {
    sender.ready().await?;
    let request = request.header("host", "chatctl").header("content-type", "text/plain;charset=UTF-8");
    let response = sender.send_request(request.body(Full::new(body))?).await?;
    let status = response.status();
    ensure!(status == StatusCode::OK, "it was answered with {status}");
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    Ok(body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes())
}
