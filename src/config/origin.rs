//! Which pages may connect: origins (RFC 6454) as browsers send them, and wildcards of subdomains.

/// One entry of `[cors] origins`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `*`
    Any,
    /// `https://chat.example.com`, `http://localhost:8080`, or `null` (pages from files and sandboxed frames).
    Exact(String),
    /// `https://*.example.com:8443`: any name below, however deep; not the name itself.
    Below {
        /// With `://`.
        scheme: String,
        /// With its leading dot, and the port.
        domain: String,
    },
}

impl Origin {
    /// What people write.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let lower = text.to_ascii_lowercase();
        if lower == "null" {
            return Ok(Self::Exact(lower));
        }
        // Browsers leave out the port that a scheme has anyway (RFC 6454, section 6.2).
        let schemes = [("https://", ":443"), ("http://", ":80")];
        let scheme = schemes.into_iter().find(|(scheme, _)| lower.starts_with(scheme));
        let rest = scheme.map(|(scheme, port)| {
            let rest = &lower[scheme.len()..];
            rest.strip_suffix(port).unwrap_or(rest)
        });
        let plain = |host: &str| {
            !host.is_empty() && !host.contains(['/', '*', ' ', '?', '#', '@']) && host.is_ascii()
        };
        match scheme.zip(rest) {
            Some(((scheme, _), rest)) => match rest.strip_prefix('*') {
                Some(domain) if domain.len() > 1 && domain.starts_with('.') && plain(domain) => {
                    Ok(Self::Below { scheme: scheme.to_owned(), domain: domain.to_owned() })
                }
                None if plain(rest) => Ok(Self::Exact(format!("{scheme}{rest}"))),
                _ => Err(()),
            },
            None => Err(()),
        }
        .map_err(|()| {
            format!(
                "{text:?} is not an origin: write \"*\", or scheme://host[:port] without a path; \
                 \"https://*.example.com\" is every name below example.com"
            )
        })
    }

    /// Whether it covers what a browser says in `Origin`.
    pub(crate) fn covers(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => origin.eq_ignore_ascii_case(exact),
            Self::Below { scheme, domain } => {
                let origin = origin.to_ascii_lowercase();
                let name =
                    origin.strip_prefix(scheme.as_str()).and_then(|rest| rest.strip_suffix(domain.as_str()));
                name.is_some_and(|name| {
                    !name.is_empty()
                        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_cover_names_below_and_nothing_else() {
        let origin = Origin::read("https://*.Example.com").unwrap();
        for (text, covered) in [
            ("https://a.example.com", true),
            ("https://a.b.EXAMPLE.com", true),
            ("https://example.com", false),
            ("https://.example.com", false),
            ("https://evilexample.com", false),
            ("https://a.example.com.evil.net", false),
            ("http://a.example.com", false),
            ("https://a.example.com:8443", false),
            ("https://evil.net/.example.com", false),
            ("https://evil.net#.example.com", false),
            ("https://x@evil.example.com", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(origin.covers(text), covered, "{text}");
        }
        assert!(Origin::read("http://*.localhost:3000").unwrap().covers("http://a.localhost:3000"));
    }

    #[test]
    fn exact_ones_are_compared_as_a_whole() {
        let origin = Origin::read("https://chat.example.com").unwrap();
        assert!(origin.covers("https://Chat.example.com"));
        assert!(!origin.covers("https://chat.example.com:444"));
        for (written, sent) in
            [("https://a:443", "https://a"), ("http://a:80", "http://a"), ("http://a:443", "http://a:443")]
        {
            assert!(Origin::read(written).unwrap().covers(sent), "{written}");
        }
        assert!(Origin::read("https://*.a.example:443").unwrap().covers("https://b.a.example"));
        assert!(Origin::read("null").unwrap().covers("null"));
        assert!(Origin::read("*").unwrap().covers("anything"));
    }

    #[test]
    fn what_is_none_is_said() {
        for text in [
            "example.com",
            "https://",
            "https://a/b",
            "https://*",
            "https://*.",
            "https://a.*.com",
            "ftp://a",
            "https://*a.com",
            "https://u@a",
        ] {
            assert!(Origin::read(text).is_err(), "{text}");
        }
    }
}
