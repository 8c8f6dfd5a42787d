//! Liveness: asks a child on duty what a client would ask, and then itself, again and again.
//!
//! A probe is an Engine.IO handshake through the listening socket (engine.io-protocol v4, "Handshake"), closed again at
//! once, or turned away by a server that is full; and the child's own `/stats`, which answers only when events get
//! through. What follows from the answers is the unit's business.

use crate::{
    config,
    control::{client, types::Stats},
    http_client::{
        self, Connection,
        tls::{self, Trust},
    },
};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, StatusCode, Uri};
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

/// The keys by which there is no room for one more client begin so.
const FULL: &str = "max_connections";
/// What Engine.IO's clients send.
const TEXT: &str = "text/plain;charset=UTF-8";

/// What a probe gave: the child's counters and how long they took, or why not.
pub(super) type Answer = Result<(Box<Stats>, Duration), String>;

/// Whom to ask.
pub(super) enum Target {
    /// A chat server: where clients connect, and where it answers the supervisor.
    Chat { address: SocketAddr, tls: bool, control: PathBuf },
    /// Something else that speaks HTTP.
    Url(Uri),
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
                let before = client::stats(control, longest).await.context("its health")?;
                let Err(why) = handshake(reachable(*address), *tls).await else { return Ok(before) };
                let after = client::stats(control, longest).await.context("its health")?;
                // Who turns clients away lives, and has as many as it may: to replace it would throw all of them out.
                ensure!(turned_away(&after.0) > turned_away(&before.0), "a client's handshake: {why:#}");
                anyhow::Ok(after)
            }
            Target::Url(url) => fetch(url).await.map(|()| (Box::default(), begun.elapsed())),
        }
    };
    timeout(longest, asked).await.unwrap_or_else(|_| anyhow::bail!("no answer within {longest:?}"))
}

async fn fetch(url: &Uri) -> Result<()> {
    let mut connection = Connection::to_url(url, Trust::Anybody).await?;
    let (status, _) = connection.exchange(Request::get(http_client::path(url)), TEXT, Bytes::new()).await?;
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
    let mut connection = if tls {
        Connection::over(tls::connect(stream, "localhost", Trust::Anybody).await?).await?
    } else {
        Connection::over(stream).await?
    };
    let (status, opened) = connection.exchange(Request::get(PATH), TEXT, Bytes::new()).await?;
    ensure!(status == StatusCode::OK, "it was answered with {status}");
    let opened = opened.strip_prefix(b"0").context("it is not what an Engine.IO server answers")?;
    let session: serde_json::Value = serde_json::from_slice(opened)?;
    let sid = session["sid"].as_str().context("it names no session")?;
    // Engine.IO's "close": the session does not linger until its timeout.
    let close = Request::post(format!("{PATH}&sid={sid}"));
    connection.exchange(close, TEXT, Bytes::from_static(b"1")).await.map(drop)
}

/// How many clients there was no room for, so far.
fn turned_away(stats: &Stats) -> u64 {
    stats.turned_away.iter().filter(|(why, _)| why.starts_with(FULL)).map(|(_, count)| count).sum()
}
