//! Which pages may connect, and what browsers are told about it.
//!
//! Headers alone keep nobody out: browsers do not apply them to WebSockets, and send simple requests before they
//! look. So a request that names another origin is refused. One that names none is no page's (or a page of this server
//! itself): who has no browser is kept out by `[auth]`, not by this.

use crate::config::Cors;
use http::{HeaderMap, Method, header, request};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

/// Any origin gets `*`, as from the replaced server; named ones get themselves, and may send cookies.
pub(super) fn layer(cors: &Cors) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods(AllowMethods::list([Method::GET, Method::POST]))
        .allow_headers(AllowHeaders::mirror_request());
    if cors.is_open() {
        return layer.allow_origin(AllowOrigin::any());
    }
    let named = cors.clone();
    let allows = move |origin: &header::HeaderValue, _: &request::Parts| {
        origin.to_str().is_ok_and(|origin| named.allows(origin))
    };
    layer.allow_origin(AllowOrigin::predicate(allows)).allow_credentials(cors.credentials)
}

/// Whether a request with these headers may be answered.
pub(super) fn admits(cors: &Cors, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN).filter(|_| !cors.is_open()) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    cors.allows(origin) || is_own(origin, headers)
}

/// Whether the page came from here: the server it was loaded from is the one it asks for now.
fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let from = origin.split_once("://").map(|(_, from)| from);
    let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    from.zip(asked).is_some_and(|(from, asked)| from.eq_ignore_ascii_case(asked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn pages_of_others_are_refused_and_nobody_else() {
        let text = "[[app]]\nname = \"a\"\nlisten = 3000\n[cors]\norigins = [\"https://php.example\", \"https://*.example.org\"]\n";
        let named = Config::from_text(text, None).unwrap().server.cors;
        let open = Config::from_text(crate::config::DEFAULT, None).unwrap().server.cors;
        for (origin, admitted) in [
            (None, true),
            (Some("https://php.example"), true),
            (Some("https://a.example.org"), true),
            (Some("https://chat.example:3000"), true),
            (Some("https://chat.example"), false),
            (Some("https://evil.example"), false),
            (Some("null"), false),
            (Some(""), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "chat.example:3000".parse().unwrap());
            origin.map(|origin| headers.insert(header::ORIGIN, origin.parse().unwrap()));
            assert_eq!(admits(&named, &headers), admitted, "{origin:?}");
            assert!(admits(&open, &headers), "{origin:?}");
        }
    }
}
