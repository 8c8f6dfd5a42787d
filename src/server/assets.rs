//! The files inside the binary, as build.rs left them: each as gzip and as brotli, and as it is where that is no larger.
//!
//! Nothing is compressed while serving; for the rare client that takes no coding a file is unpacked, once. Names carry no version, so browsers are told to ask each time: an upgrade of
//! the server is seen at the next load of a page, and asking costs one empty 304.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use flate2::read::GzDecoder;
use std::{io::Read, sync::OnceLock};

/// Every embedded file.
pub(crate) static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// For answers that must be seen as they are now: stored, but never used without asking.
pub(crate) const REVALIDATE: HeaderValue = HeaderValue::from_static("public, max-age=0, must-revalidate");

/// An embedded file.
#[derive(Debug)]
pub(crate) struct File {
    /// `/socket.io/..` or `/page/..`
    pub(crate) path: &'static str,
    content_type: &'static str,
    identity: Form,
    /// The compressed forms, where they are smaller.
    gzip: Option<Form>,
    brotli: Option<Form>,
    unpacked: OnceLock<Bytes>,
}

/// A file the way it goes over the wire.
#[derive(Debug)]
struct Form {
    /// Strong: no two forms share one.
    etag: &'static str,
    /// `None`: unpack the gzip form.
    bytes: Option<&'static [u8]>,
}

impl File {
    /// The answer to GET, and to HEAD once the body is taken off.
    pub(crate) fn answer(&self, request: &HeaderMap) -> Response {
        let Some((form, encoding)) = self.choose(&Accepted::read(request)) else {
            return (StatusCode::NOT_ACCEPTABLE, [(header::VARY, "accept-encoding")]).into_response();
        };
        let mut response = if is_current(request, form.etag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            Body::from(form.bytes.map_or_else(|| self.unpack(), Bytes::from_static)).into_response()
        };
        let sends = response.status() == StatusCode::OK;
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: &'static str| {
            headers.insert(name, HeaderValue::from_static(value));
        };
        set(header::ETAG, form.etag);
        set(header::VARY, "accept-encoding");
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        if sends {
            set(header::CONTENT_TYPE, self.content_type);
            if let Some(encoding) = encoding {
                set(header::CONTENT_ENCODING, encoding);
            }
        }
        headers.insert(header::CACHE_CONTROL, REVALIDATE);
        response
    }

    /// The file as it is, from its gzip form.
    fn unpack(&self) -> Bytes {
        let unpack = || {
            let mut bytes = Vec::new();
            // What build.rs has packed can be unpacked: a test sees it.
            let _ = GzDecoder::new(self.gzip.as_ref()?.bytes?).read_to_end(&mut bytes);
            Some(bytes.into())
        };
        self.unpacked.get_or_init(|| unpack().unwrap_or_default()).clone()
    }

    /// The form the client likes best; of equals the smallest.
    fn choose(&self, accepted: &Accepted) -> Option<(&Form, Option<&'static str>)> {
        let offers = [
            (self.brotli.as_ref(), Some("br"), accepted.brotli),
            (self.gzip.as_ref(), Some("gzip"), accepted.gzip),
            (Some(&self.identity), None, accepted.identity),
        ];
        let mut best: Option<(&Form, Option<&'static str>, u16)> = None;
        for (form, encoding, weight) in offers {
            let Some(form) = form else { continue };
            if weight > best.map_or(0, |(_, _, weight)| weight) {
                best = Some((form, encoding, weight));
            }
        }
        best.map(|(form, encoding, _)| (form, encoding))
    }
}

/// `Accept-Encoding`: how much the client likes each coding, in thousandths; 0 is never.
#[derive(Debug, PartialEq, Eq)]
struct Accepted {
    brotli: u16,
    gzip: u16,
    identity: u16,
}

impl Accepted {
    fn read(headers: &HeaderMap) -> Self {
        let (mut brotli, mut gzip, mut identity, mut others) = (None, None, None, None);
        let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        for item in values.flat_map(|value| value.split(',')) {
            let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
            let weight = weight(parameters);
            match coding.trim().to_ascii_lowercase().as_str() {
                "br" => brotli = Some(weight),
                "gzip" | "x-gzip" => gzip = Some(weight),
                "identity" => identity = Some(weight),
                "*" => others = Some(weight),
                _ => {}
            }
        }
        Self {
            brotli: brotli.or(others).unwrap_or(0),
            gzip: gzip.or(others).unwrap_or(0),
            // Unless it is ruled out it will do, when nothing that was asked for is there.
            identity: identity.or(others).unwrap_or(1),
        }
    }
}

/// The `q` of one item; what cannot be read counts as not wanted.
fn weight(parameters: &str) -> u16 {
    let q = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let Some(q) = q else { return 1000 };
    match q.parse::<f32>() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
        Ok(q) if (0.0..=1.0).contains(&q) => (q * 1000.0) as u16,
        _ => 0,
    }
}

/// Whether the client has this form already. Weakly compared: a proxy on the way may have weakened the tag.
fn is_current(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|tag| {
        let tag = tag.trim();
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::HashSet,
        hash::{DefaultHasher, Hasher},
    };

    fn client() -> &'static File {
        FILES.iter().find(|file| file.path == "/socket.io/socket.io.min.js").unwrap()
    }

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_coding_follows_what_the_client_accepts() {
        for (accept, encoding) in [
            ("gzip, deflate, br, zstd", Some("br")),
            ("gzip, deflate", Some("gzip")),
            ("GZIP", Some("gzip")),
            ("br;q=0, gzip", Some("gzip")),
            ("br;q=0.5, gzip;q=0.8", Some("gzip")),
            ("br;q=0.1", Some("br")),
            ("identity, br;q=0.5", None),
            ("*", Some("br")),
            ("*;q=0.5, br;q=0", Some("gzip")),
            ("br;q=nonsense, gzip ; q=1.0", Some("gzip")),
            ("deflate", None),
            ("", None),
        ] {
            let response = client().answer(&headers(&[(header::ACCEPT_ENCODING, accept)]));
            assert_eq!(response.status(), StatusCode::OK, "{accept}");
            let got = response.headers().get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap());
            assert_eq!(got, encoding, "{accept}");
        }
    }

    #[test]
    fn a_client_that_rules_out_everything_is_told() {
        for accept in ["identity;q=0", "*;q=0"] {
            let response = client().answer(&headers(&[(header::ACCEPT_ENCODING, accept)]));
            assert_eq!(response.status(), StatusCode::NOT_ACCEPTABLE, "{accept}");
        }
    }

    #[test]
    fn a_known_tag_is_answered_without_the_file() {
        let etag = client().brotli.as_ref().unwrap().etag;
        for (tag, status) in [
            (etag.to_owned(), StatusCode::NOT_MODIFIED),
            (format!("\"other\", W/{etag}"), StatusCode::NOT_MODIFIED),
            ("*".to_owned(), StatusCode::NOT_MODIFIED),
            (client().identity.etag.to_owned(), StatusCode::OK),
        ] {
            let mut request = headers(&[(header::ACCEPT_ENCODING, "br")]);
            request.insert(header::IF_NONE_MATCH, tag.parse().unwrap());
            let response = client().answer(&request);
            assert_eq!(response.status(), status, "{tag}");
            assert_eq!(response.headers()[header::ETAG], etag);
            assert_eq!(response.headers()[header::VARY], "accept-encoding");
            assert_eq!(response.headers()[header::CACHE_CONTROL], REVALIDATE);
        }
    }

    #[test]
    fn no_two_forms_share_a_tag() {
        let forms = FILES.iter().flat_map(|file| {
            [Some(&file.identity), file.gzip.as_ref(), file.brotli.as_ref()].into_iter().flatten()
        });
        let mut seen = HashSet::new();
        for form in forms {
            assert!(seen.insert(form.etag), "{}", form.etag);
        }
    }

    #[test]
    fn a_file_is_as_it_was_before_it_was_packed() {
        for file in FILES {
            let bytes = file.identity.bytes.map_or_else(|| file.unpack(), Bytes::from_static);
            assert_eq!(file.identity.etag, tag(&bytes), "{}", file.path);
        }
    }

    /// As build.rs makes it.
    fn tag(bytes: &[u8]) -> String {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        format!("\"{:016x}-{:x}\"", hasher.finish(), bytes.len())
    }

    #[test]
    fn everything_the_replaced_server_served_is_there() {
        for name in ["socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js"] {
            for (name, kind) in [
                (name.to_owned(), "text/javascript; charset=utf-8"),
                (format!("{name}.map"), "application/json"),
            ] {
                let path = format!("/socket.io/{name}");
                let file = FILES.iter().find(|file| file.path == path).unwrap();
                let response = file.answer(&HeaderMap::new());
                assert_eq!(response.headers()[header::CONTENT_TYPE], kind, "{name}");
                assert!(file.gzip.is_some() && file.brotli.is_some(), "{name}");
            }
        }
    }
}
