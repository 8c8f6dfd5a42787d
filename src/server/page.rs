//! The chat page and the browser client, as routes: exact paths, so that they stand beside the chat's own.
//!
//! The client is always served, as the replaced server did: PHP and React pages load it from here. The page is the
//! built-in one, the operator's own folder, or none.

use super::assets::{FILES, File, REVALIDATE};
use crate::config::{self, Profile};
use axum::{
    Json, Router,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{path::Path, sync::Arc};
use tower_http::services::{ServeDir, ServeFile};

/// Only files of this server run and style the page, whatever a message says; it talks to this server only, by any
/// transport (`'self'` does not cover WebSockets in older Safari).
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'self'",
);
const OFF: &str = "This is a chat server. Its page is switched off.\n";

/// Everything a browser loads from this server before it chats.
pub(crate) fn router(server: &config::Server, profile: Profile) -> Router {
    let client = FILES.iter().filter(|file| file.path.starts_with("/socket.io/"));
    let router = client.fold(Router::new(), |router, file| {
        router.route(file.path, get(move |headers: HeaderMap| async move { file.answer(&headers) }))
    });
    match (&server.page.dir, server.page.enabled) {
        (_, false) => router.route("/", get(off)).route("/room", get(off)),
        (None, true) => built_in(router).route("/page/config.json", about(profile)),
        (Some(dir), true) => own(router, dir).route("/page/config.json", about(profile)),
    }
}

async fn off() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, OFF)
}

/// Tells the page which profile it is to speak.
fn about(profile: Profile) -> axum::routing::MethodRouter {
    get(move || async move {
        let about = serde_json::json!({ "profile": profile.as_str() });
        ([(header::CACHE_CONTROL, REVALIDATE)], Json(about))
    })
}

fn built_in(router: Router) -> Router {
    FILES.iter().filter(|file| file.path.starts_with("/page/")).fold(router, |router, file| {
        let path = match file.path {
            "/page/index.html" => "/",
            "/page/room.html" => "/room",
            path => path,
        };
        router.route(path, get(move |headers: HeaderMap| async move { guarded(file, &headers) }))
    })
}

fn guarded(file: &File, request: &HeaderMap) -> Response {
    let mut response = file.answer(request);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    // Nickname and room stand in the address: links in messages must not carry it away.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// The operator's folder: `/` is its index.html, `/room` its room.html, the rest by name.
fn own(router: Router, dir: &Path) -> Router {
    let room = ServeFile::new(dir.join("room.html"));
    let files = Arc::new(ServeDir::new(dir));
    let serve = move |request: Request| {
        let files = ServeDir::clone(&files);
        async move {
            if is_hidden(request.uri().path()) {
                return StatusCode::NOT_FOUND.into_response();
            }
            fresh(tower::ServiceExt::oneshot(files, request).await)
        }
    };
    router
        .route(
            "/room",
            get(move |request: Request| async { fresh(tower::ServiceExt::oneshot(room, request).await) }),
        )
        .route("/", get(serve.clone()))
        .route("/{*path}", get(serve))
}

/// An answer that browsers ask for again, so that an edited page is seen at once.
fn fresh<B>(answer: Result<axum::http::Response<B>, std::convert::Infallible>) -> Response
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let Ok(response) = answer;
    let mut response = response.map(axum::body::Body::new);
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(REVALIDATE);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Whether a path leads to or through a dot file: a `.git` or `.env` beside the page is not part of it.
fn is_hidden(path: &str) -> bool {
    let path = path.to_ascii_lowercase().replace("%2f", "/").replace("%2e", ".");
    path.split('/').any(|segment| segment.starts_with('.') && segment != ".well-known")
}
