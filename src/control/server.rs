//! The supervisor's side: answers `GET /status` with what the driver knows and what the chat servers say right now,
//! and hands orders (`POST /apps/<action>`, `POST /shutdown`) to the driver, waiting for what comes of them.
//! `GET /events` goes on as long as it is listened to: what happens, one JSON object a line.

use super::{
    client,
    types::{Action, AppStatus, Happened, Outcome, Status},
};
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::{future::join_all, stream};
use std::{convert::Infallible, io, os::unix::net::UnixListener, path::PathBuf, time::Duration};
use tokio::{
    net::UnixStream,
    sync::{broadcast, mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// For a fresh answer of a chat server; later, what its last probe said is shown.
const FRESH: Duration = Duration::from_millis(15);

/// Pause when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the supervisor is asked.
pub(crate) enum Ask {
    /// How are your apps?
    Status(oneshot::Sender<Status>),
    /// Have these (none: all) do something.
    Act(Action, Vec<String>, oneshot::Sender<Vec<Outcome>>),
    /// Stop everything, yourself last.
    Shutdown,
}

#[derive(Clone)]
struct Driver {
    asks: mpsc::Sender<Ask>,
    happenings: broadcast::Sender<Happened>,
    run: PathBuf,
    /// Ends when the supervisor has nothing more to do.
    done: CancellationToken,
}

/// Serves it for the life of the process; `run` is the folder of the chat servers' sockets, and `done` is cancelled
/// when all apps have stopped.
///
/// # Errors
/// The socket cannot be used.
pub(crate) fn start(
    listener: UnixListener,
    asks: mpsc::Sender<Ask>,
    happenings: broadcast::Sender<Happened>,
    run: PathBuf,
    done: CancellationToken,
) -> io::Result<()> {
    let routes = Router::new()
        .route("/status", get(status))
        .route("/events", get(events))
        .route("/apps/{action}", post(act))
        .route("/shutdown", post(shut_down))
        .with_state(Driver { asks, happenings, run, done });
    serve(listener, routes).map(drop)
}

async fn status(State(driver): State<Driver>) -> Response {
    let (reply, status) = oneshot::channel();
    let _ = driver.asks.send(Ask::Status(reply)).await;
    let Ok(mut status) = status.await else { return ending() };
    join_all(status.apps.iter_mut().map(|app| freshen(app, driver.run.clone()))).await;
    Json(status).into_response()
}

/// Who has this answer's head hears of everything that happens from then on.
async fn events(State(driver): State<Driver>) -> Response {
    let listening = (driver.happenings.subscribe(), driver.done);
    let lines = stream::unfold(listening, async |(mut happenings, done)| {
        loop {
            let happened = tokio::select! {
                happened = happenings.recv() => happened,
                () = done.cancelled() => return None,
            };
            match happened.map(|happened| serde_json::to_string(&happened)) {
                Ok(Ok(line)) => return Some((Ok::<_, Infallible>(line + "\n"), (happenings, done))),
                // It reads too slowly, and goes on with what is new.
                Ok(Err(_)) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    });
    ([("content-type", "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

async fn act(
    State(driver): State<Driver>,
    Path(action): Path<Action>,
    Json(apps): Json<Vec<String>>,
) -> Response {
    let (reply, outcomes) = oneshot::channel();
    let _ = driver.asks.send(Ask::Act(action, apps, reply)).await;
    outcomes.await.map_or_else(|_| ending(), |outcomes| Json(outcomes).into_response())
}

async fn shut_down(State(driver): State<Driver>) -> &'static str {
    let _ = driver.asks.send(Ask::Shutdown).await;
    driver.done.cancelled().await;
    "done"
}

fn ending() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the supervisor is stopping").into_response()
}

/// Serves one side of the control API until the task that is given back is aborted, or the process ends.
///
/// # Errors
/// The socket cannot be used.
pub(crate) fn serve(listener: UnixListener, app: Router) -> io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(Owned(listener), app).await {
            tracing::error!(%error, "the control API has ended");
        }
    }))
}

/// A socket for its owner and root. The mode of the file says so too; this holds whatever becomes of that.
struct Owned(tokio::net::UnixListener);

impl axum::serve::Listener for Owned {
    type Io = UnixStream;
    type Addr = ();

    async fn accept(&mut self) -> (UnixStream, ()) {
        loop {
            match self.0.accept().await {
                Ok((stream, _)) if is_owner(&stream) => return (stream, ()),
                Ok((stream, _)) => {
                    let who = stream.peer_cred().ok();
                    tracing::warn!(?who, "refused: the control API is for its owner and root");
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the control API");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

fn is_owner(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|who| who.uid() == own || who.uid() == 0)
}

async fn freshen(app: &mut AppStatus, run: PathBuf) {
    if app.state != "online" {
        return;
    }
    if let Ok((stats, latency)) = client::stats(&client::stats_socket(&run, &app.name), FRESH).await {
        app.connections = stats.connections;
        app.rooms = stats.rooms;
        app.health = stats.health();
        app.slow_closed = stats.slow_closed;
        app.turned_away = stats.turned_away;
        app.certificate = stats.certificate;
        app.not_used = stats.not_used;
        app.recovery = stats.recovery;
        app.handover = stats.handover;
        app.health_reason = None;
        app.health_latency_ms = Some(client::millis(latency));
    }
}
