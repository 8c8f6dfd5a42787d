//! The supervisor's side: answers `GET /status` with what the driver knows and what the chat servers say right now.

use super::{
    client,
    types::{AppStatus, Health, Status},
};
use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
use futures_util::future::join_all;
use std::{io, os::unix::net::UnixListener, path::PathBuf, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// For a fresh answer of a chat server; later, what its last probe said is shown.
const FRESH: Duration = Duration::from_millis(15);

/// Serves it for the life of the process; `run` is the folder of the chat servers' sockets.
///
/// # Errors
/// The socket cannot be used.
pub(crate) fn start(
    listener: UnixListener,
    driver: mpsc::Sender<oneshot::Sender<Status>>,
    run: PathBuf,
) -> io::Result<()> {
    let answer = move || {
        let (driver, run) = (driver.clone(), run.clone());
        async move {
            let (reply, status) = oneshot::channel();
            let _ = driver.send(reply).await;
            let Ok(mut status) = status.await else {
                return (StatusCode::SERVICE_UNAVAILABLE, "the supervisor is stopping").into_response();
            };
            join_all(status.apps.iter_mut().map(|app| freshen(app, run.clone()))).await;
            Json(status).into_response()
        }
    };
    serve(listener, Router::new().route("/status", get(answer)))
}

/// Serves one side of the control API for the life of the process.
///
/// # Errors
/// The socket cannot be used.
pub(crate) fn serve(listener: UnixListener, app: Router) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "the control API has ended");
        }
    });
    Ok(())
}

async fn freshen(app: &mut AppStatus, run: PathBuf) {
    if app.state != "online" {
        return;
    }
    if let Ok((stats, latency)) = client::stats(&client::stats_socket(&run, &app.name), FRESH).await {
        app.connections = stats.connections;
        app.rooms = stats.rooms;
        app.health = Health::Ok;
        app.health_reason = None;
        app.health_latency_ms = Some(client::millis(latency));
    }
}
