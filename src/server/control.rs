//! The chat server's side of the control API: `GET /stats`, over the Unix socket the supervisor holds.

use super::{http::health, sequencer::Inbox, stats::Stats, tls::Tls};
use crate::control::types;
use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
use std::{io, os::unix::net::UnixListener, sync::Arc};
use tokio::task::JoinHandle;

/// Serves it until the task that is given back is aborted.
///
/// # Errors
/// The socket cannot be used.
pub(super) fn start(
    listener: UnixListener,
    stats: Arc<Stats>,
    inbox: Inbox,
    tls: Option<Arc<Tls>>,
) -> io::Result<JoinHandle<()>> {
    // Answers only when events get through the sequencer: the supervisor takes it as a sign of life.
    let answer = move || {
        let (stats, inbox) = (stats.clone(), inbox.clone());
        let certificate = tls.as_deref().map(certificate);
        async move {
            match health(&inbox).await {
                Some(recovery) => Json(types::Stats { certificate, ..stats.read(recovery) }).into_response(),
                None => (StatusCode::SERVICE_UNAVAILABLE, "the sequencer does not answer").into_response(),
            }
        }
    };
    crate::control::server::serve(listener, Router::new().route("/stats", get(answer)))
}

fn certificate(tls: &Tls) -> types::Certificate {
    let expires = tls.expires();
    types::Certificate {
        expires: expires.to_string(),
        expires_in_s: expires.as_second() - jiff::Timestamp::now().as_second(),
    }
}
