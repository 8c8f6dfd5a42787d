//! HTTP: accepting connections, and what is served beside the chat itself.

use super::{
    Settings, edge, page,
    sequencer::{Command, Inbox},
};
use crate::control::types;
use axum::{
    Router,
    http::{HeaderValue, Method, StatusCode},
    routing::{any, get},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{io, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

/// Longest time a client may take to send a request's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer of a healthy sequencer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause when the process is out of descriptors, so that it does not spin until some are free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
        .layer(cors(&settings.server.cors_origins))
}

/// Whether events get through: how recovery is, as the sequencer says.
pub(super) async fn health(inbox: &Inbox) -> Option<types::Recovery> {
    let (reply, answer) = tokio::sync::oneshot::channel();
    inbox.push(Command::Health(reply));
    tokio::time::timeout(HEALTH_TIMEOUT, answer).await.ok()?.ok()
}

/// Any origin gets `*`, as from the replaced server; named ones get themselves, and may send cookies.
fn cors(origins: &[String]) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods(AllowMethods::list([Method::GET, Method::POST]))
        .allow_headers(AllowHeaders::mirror_request());
    if origins.iter().any(|origin| origin == "*") {
        return layer.allow_origin(AllowOrigin::any());
    }
    let named = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    layer.allow_origin(AllowOrigin::list(named)).allow_credentials(true)
}

/// Takes a listener into the runtime.
pub(super) fn into_tokio(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Accepts connections until `stop`, each served by a task of its own.
pub(super) async fn accept(listener: TcpListener, app: Router, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small packets go out at once.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(app.clone());
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
}
