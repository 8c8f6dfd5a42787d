//! HTTP: what is served beside the chat itself.

use super::{
    Settings, cors, edge, page,
    sequencer::{Command, Inbox},
};
use crate::control::types;
use axum::{
    Router,
    http::StatusCode,
    routing::{any, get},
};
use std::{sync::Arc, time::Duration};

/// Longest answer of a healthy sequencer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

/// Everything the listener answers.
pub(super) fn router(settings: &Settings, edge: Arc<edge::Edge>, inbox: Inbox) -> Router {
    let health = move || {
        let inbox = inbox.clone();
        async move {
            if self::health(&inbox).await.is_some() {
                (StatusCode::OK, "ok\n")
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, "not ok\n")
            }
        }
    };
    Router::new()
        .route("/socket.io", any(edge::handle))
        .route("/socket.io/", any(edge::handle))
        .with_state(edge)
        .route("/healthz", get(health))
        .merge(page::router(&settings.server, settings.profile))
        .layer(cors::layer(&settings.server.cors))
}

/// Whether events get through: how recovery is, as the sequencer says.
pub(super) async fn health(inbox: &Inbox) -> Option<types::Recovery> {
    let (reply, answer) = tokio::sync::oneshot::channel();
    inbox.push(Command::Health(reply));
    tokio::time::timeout(HEALTH_TIMEOUT, answer).await.ok()?.ok()
}
