//! The chat server's side of the control API, over the Unix socket the supervisor holds: `GET /stats`, and
//! `GET /handover`, by which the next server asks for everything.

use super::{
    handover::{NAME, PID},
    http::health,
    sequencer::Inbox,
    stats::Stats,
    tls::Tls,
};
use crate::control::types;
use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade::downcast};
use std::{
    io,
    os::unix::net::{UnixListener, UnixStream},
    sync::{Arc, atomic::Ordering::Relaxed},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
};

/// Rooms that are told at most.
const MOST_ROOMS: usize = 100;

/// What is asked for beyond the counters.
#[derive(serde::Deserialize)]
struct Wanted {
    /// So many of the largest rooms.
    #[serde(default)]
    rooms: usize,
    /// The packets that wait for clients.
    #[serde(default)]
    backlog: bool,
}

/// Somebody who asks for everything; nobody else can as long as this is there.
pub(super) struct Asked {
    pub(super) stream: UnixStream,
    _alone: OwnedSemaphorePermit,
}

#[derive(Clone)]
struct Handovers {
    asked: mpsc::Sender<Asked>,
    alone: Arc<Semaphore>,
}

/// Serves it until the task that is given back is aborted. `handovers`: where those go that ask for everything.
///
/// # Errors
/// The socket cannot be used.
pub(super) fn start(
    listener: UnixListener,
    stats: Arc<Stats>,
    inbox: Inbox,
    tls: Option<Arc<Tls>>,
    handovers: mpsc::Sender<Asked>,
) -> io::Result<JoinHandle<()>> {
    // Answers only when events get through the sequencer: the supervisor takes it as a sign of life.
    let answer = move |Query(wanted): Query<Wanted>| {
        let (stats, inbox) = (stats.clone(), inbox.clone());
        let certificate = tls.as_deref().map(certificate);
        async move {
            // Before it is asked whether events get through: by the answer all that waited now is dealt with.
            let queued = stats.queued.load(Relaxed);
            match health(&inbox).await {
                Some(recovery) => {
                    let largest_rooms = inbox.largest_rooms(wanted.rooms.min(MOST_ROOMS)).await;
                    let backlog = if wanted.backlog { Some(inbox.backlog().await) } else { None };
                    let stats = stats.read(recovery);
                    let stats = types::Stats { certificate, largest_rooms, queued, backlog, ..stats };
                    Json(stats).into_response()
                }
                None => (StatusCode::SERVICE_UNAVAILABLE, "the sequencer does not answer").into_response(),
            }
        }
    };
    let handovers = Handovers { asked: handovers, alone: Arc::new(Semaphore::new(1)) };
    let routes =
        Router::new().route("/stats", get(answer)).route("/handover", get(hand_over)).with_state(handovers);
    crate::control::server::serve(listener, routes)
}

async fn hand_over(State(handovers): State<Handovers>, mut request: Request) -> Response {
    let format = request.headers().get(header::UPGRADE);
    if format.is_none_or(|format| format != NAME) {
        return (StatusCode::UPGRADE_REQUIRED, [(header::UPGRADE, NAME)]).into_response();
    }
    let Ok(alone) = handovers.alone.try_acquire_owned() else { return StatusCode::CONFLICT.into_response() };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // Whoever asked has gone.
        let Ok(upgraded) = upgraded.await else { return };
        let Ok(parts) = downcast::<TokioIo<tokio::net::UnixStream>>(upgraded) else {
            tracing::error!("a bug: the control socket is not the stream it came in by");
            return;
        };
        match parts.io.into_inner().into_std() {
            // Full or closed: the process is ending.
            Ok(stream) => drop(handovers.asked.try_send(Asked { stream, _alone: alone })),
            Err(error) => tracing::warn!(%error, "cannot hand over"),
        }
    });
    let headers = [
        (header::CONNECTION.as_str(), "upgrade".to_owned()),
        (header::UPGRADE.as_str(), NAME.to_owned()),
        (PID, std::process::id().to_string()),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

fn certificate(tls: &Tls) -> types::Certificate {
    let expires = tls.expires();
    types::Certificate {
        expires: expires.to_string(),
        expires_in_s: expires.as_second() - jiff::Timestamp::now().as_second(),
    }
}
