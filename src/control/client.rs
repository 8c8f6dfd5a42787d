//! Asking over the control API.

use super::types::{Action, Happened, Outcome, Stats, Status};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

/// The supervisor's socket, in the state directory.
pub(crate) const CONTROL: &str = "control.sock";
/// No answer is longer.
const LONGEST: usize = 16 << 20;
/// Who answers what cannot be read.
const FOREIGN: &str = "an answer of another version of chatctl";

/// Where an app's chat server answers, in the folder of the sockets.
pub(crate) fn stats_socket(run: &Path, app: &str) -> PathBuf {
    run.join(format!("{app}.sock"))
}

/// How a supervisor's apps are.
///
/// # Errors
/// Nobody answers, or not in time.
pub(crate) async fn status(state_dir: &Path, timeout: Duration) -> Result<Status> {
    get(&state_dir.join(CONTROL), "/status", timeout).await
}

/// A chat server's counters, and how long it took to say them.
///
/// # Errors
/// It does not answer, or not in time, or says that it is not healthy.
pub(crate) async fn stats(socket: &Path, timeout: Duration) -> Result<(Box<Stats>, Duration)> {
    let begun = Instant::now();
    let stats = get(socket, "/stats", timeout).await?;
    Ok((stats, begun.elapsed()))
}

/// The same, with its largest rooms, as many at most.
///
/// # Errors
/// As [`stats`].
pub(crate) async fn stats_and_rooms(socket: &Path, rooms: usize, timeout: Duration) -> Result<Box<Stats>> {
    get(socket, &format!("/stats?rooms={rooms}"), timeout).await
}

/// The same, with the packets that wait for clients.
///
/// # Errors
/// As [`stats`].
pub(crate) async fn stats_and_backlog(socket: &Path, timeout: Duration) -> Result<Box<Stats>> {
    get(socket, "/stats?backlog=true", timeout).await
}

/// Milliseconds, to two places.
pub(crate) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

/// Has apps do something, and waits for what comes of it, however long.
///
/// # Errors
/// Nobody answers, or the supervisor ends.
pub(crate) async fn act(state_dir: &Path, action: Action, apps: &[String]) -> Result<Vec<Outcome>> {
    let request = Request::post(format!("/apps/{action}")).header("content-type", "application/json");
    let body = exchange(&state_dir.join(CONTROL), request, serde_json::to_vec(apps)?.into()).await?;
    serde_json::from_slice(&body).context(FOREIGN)
}

/// What happens to the apps from now on.
pub(crate) struct Happenings {
    body: Incoming,
    /// Of a line whose end is still to come.
    begun: Vec<u8>,
    _connection: AbortOnDropHandle<hyper::Result<()>>,
}

/// Listens to what happens.
///
/// # Errors
/// Nobody answers, or does not know how to tell.
pub(crate) async fn listen(state_dir: &Path) -> Result<Happenings> {
    let (response, connection) = ask(&state_dir.join(CONTROL), Request::get("/events"), Bytes::new()).await?;
    if !response.status().is_success() {
        bail!(FOREIGN);
    }
    Ok(Happenings { body: response.into_body(), begun: Vec::new(), _connection: connection })
}

impl Happenings {
    /// Waits for the next; `None`: there will be no more. Nothing is lost when it is dropped and called again.
    pub(crate) async fn next(&mut self) -> Option<Happened> {
        loop {
            if let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.begun.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(happened) => return Some(happened),
                    Err(_) => continue,
                }
            }
            let more = self.body.frame().await?.ok()?;
            self.begun.extend(more.data_ref().filter(|data| self.begun.len() + data.len() <= LONGEST)?);
        }
    }
}

/// Stops every app and the supervisor, and waits until it is gone.
///
/// # Errors
/// Nobody answers.
pub(crate) async fn shut_down(state_dir: &Path) -> Result<()> {
    exchange(&state_dir.join(CONTROL), Request::post("/shutdown"), Bytes::new()).await.map(drop)
}

async fn get<T: DeserializeOwned>(socket: &Path, path: &str, timeout: Duration) -> Result<T> {
    let answer = tokio::time::timeout(timeout, exchange(socket, Request::get(path), Bytes::new())).await;
    let body = answer.map_err(|_| anyhow::anyhow!("no answer within {timeout:?}"))??;
    serde_json::from_slice(&body).context(FOREIGN)
}

/// Asks; the answer is to be read while the connection is held.
async fn ask(
    socket: &Path,
    request: http::request::Builder,
    body: Bytes,
) -> Result<(Response<Incoming>, AbortOnDropHandle<hyper::Result<()>>)> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = request.header("host", "chatctl").body(Full::new(body))?;
    Ok((sender.send_request(request).await?, connection))
}

async fn exchange(socket: &Path, request: http::request::Builder, body: Bytes) -> Result<Bytes> {
    let (response, _connection) = ask(socket, request, body).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
    if !status.is_success() {
        bail!("{}", String::from_utf8_lossy(&body));
    }
    Ok(body)
}
