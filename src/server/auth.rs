//! Who somebody is: tokens (JWT, RFC 7519), and the keys that they are signed with.
//!
//! A key says by which algorithm it is used; what the token says about that is only compared (RFC 8725, section 3.1). The
//! keys are read again on SIGHUP: a new set is in force for whoever connects from then on. A set that cannot be
//! used changes nothing.

mod keys;

pub(crate) use keys::holds_a_secret;

use crate::{
    chat::{Allowed, Rights},
    config,
    error::Failure,
};
use jsonwebtoken::{Validation, decode, decode_header, errors::ErrorKind};
use keys::Key;
use serde::Deserialize;
use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

/// What is longer is no token of a chat.
pub(super) const LONGEST: usize = 8192;

/// See the module.
pub(super) struct Auth {
    settings: config::Auth,
    file: PathBuf,
    max_name: usize,
    keys: RwLock<Arc<[Key]>>,
}

/// Why somebody is not let in; goes to the client as the message of its `connect_error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error("a token is needed: give it as `auth: {{ token }}`")]
    Missing,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    Early,
    #[error("the token is not signed by a key of this server")]
    Signature,
    #[error("the token is not for this server")]
    Elsewhere,
    #[error("the token is not usable: {0}")]
    Unusable(String),
    #[error("the token is for another name than the handshake")]
    Name,
    #[error("{0}")]
    Full(super::doors::Full),
}

/// What a token says.
#[derive(Deserialize)]
struct Claims {
    exp: f64,
    name: Text,
    #[serde(default)]
    rooms: Option<Some_>,
    #[serde(default)]
    roles: Option<Some_>,
}

/// A text; numbers are their text, as everywhere in this chat.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Text(String),
    Number(serde_json::Number),
}

impl From<Text> for Arc<str> {
    fn from(text: Text) -> Self {
        match text {
            Text::Text(text) => text.into(),
            Text::Number(number) => number.to_string().into(),
        }
    }
}

/// One, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Some_ {
    One(Text),
    Several(Vec<Text>),
}

impl Some_ {
    fn into_texts(self) -> Vec<Arc<str>> {
        match self {
            Self::One(one) => vec![one.into()],
            Self::Several(several) => several.into_iter().map(Into::into).collect(),
        }
    }
}

impl Auth {
    /// Reads the keys; `None`: none are configured, and nobody has to prove anything.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub(super) fn load(settings: config::Auth, max_name: usize) -> Result<Option<Self>, Failure> {
        let Some(file) = settings.keys.clone() else { return Ok(None) };
        let keys = keys::read(&file).map_err(|problem| {
            Failure::usage(format_args!("cannot tell who people are: {problem}")).hint(
                "[auth] keys names a file: a JWKS, a public key in PEM, or a secret of at least 32 characters",
            )
        })?;
        Ok(Some(Self { settings, file, max_name, keys: RwLock::new(keys.into()) }))
    }

    /// Reads the keys again; gives how many there are.
    ///
    /// # Errors
    /// They cannot be used, and why; those in force go on.
    pub(super) fn reload(&self) -> Result<usize, String> {
        let keys = keys::read(&self.file)?;
        let count = keys.len();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
        Ok(count)
    }

    /// What a token allows.
    pub(super) fn judge(&self, token: Option<&str>) -> Result<Rights, Denied> {
        let token = token.filter(|token| !token.is_empty()).ok_or(Denied::Missing)?;
        let unusable = |why: &str| Denied::Unusable(why.to_owned());
        if token.len() > LONGEST {
            return Err(unusable("it is too long"));
        }
        let header = decode_header(token).map_err(|_| unusable("it is no JWT"))?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        let named = keys.iter().any(|key| key.id.is_some() && key.id == header.kid);
        let fits = |key: &&Key| key.algorithm == header.alg && (!named || key.id == header.kid);
        let mut denied = Denied::Signature;
        for key in keys.iter().filter(fits) {
            match self.verify(token, key) {
                Err(Denied::Signature) => {}
                Err(why) => denied = why,
                Ok(rights) => return Ok(rights),
            }
        }
        Err(denied)
    }

    fn verify(&self, token: &str, key: &Key) -> Result<Rights, Denied> {
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = self.settings.leeway.as_secs();
        validation.validate_nbf = true;
        validation.validate_aud = self.settings.audience.is_some();
        let mut required = vec!["exp"];
        if let Some(audience) = &self.settings.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        if let Some(issuer) = &self.settings.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        let decoded = decode::<Claims>(token, &key.key, &validation);
        let claims = decoded.map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => Denied::Expired,
            ErrorKind::ImmatureSignature => Denied::Early,
            ErrorKind::InvalidSignature => Denied::Signature,
            ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => Denied::Elsewhere,
            ErrorKind::MissingRequiredClaim(claim) => Denied::Unusable(format!("it has no `{claim}`")),
            ErrorKind::Json(_) => {
                Denied::Unusable("its claims are not `exp`, `name`, `rooms` and `roles`".to_owned())
            }
            _ => Denied::Unusable("it cannot be read".to_owned()),
        })?;
        self.rights(claims.claims)
    }

    fn rights(&self, claims: Claims) -> Result<Rights, Denied> {
        let name: Arc<str> = claims.name.into();
        if name.is_empty() || name.len() > self.max_name {
            return Err(Denied::Unusable(format!(
                "its `name` is empty, or longer than {} bytes",
                self.max_name
            )));
        }
        let rooms = claims.rooms.map(Some_::into_texts).unwrap_or_default();
        let any = rooms.iter().any(|room| &**room == "*");
        let roles = claims.roles.map(Some_::into_texts).unwrap_or_default();
        let may_exit = roles.iter().any(|role| self.settings.exit_roles.iter().any(|exit| **exit == **role));
        let rooms = if any { Allowed::Any } else { Allowed::Only(rooms.into_iter().collect()) };
        // What is left of it counts with the leeway.
        // The largest number there is means "never" to many, as PHP_INT_MAX.
        let leeway = i64::try_from(self.settings.leeway.as_secs()).unwrap_or(i64::MAX);
        let expires = (claims.exp as i64).saturating_add(leeway);
        Ok(Rights { name, rooms, may_exit, expires })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn auth(keys: &str) -> Auth {
        let settings = config::Auth {
            keys: None,
            issuer: None,
            audience: None,
            leeway: std::time::Duration::ZERO,
            exit_roles: vec!["moderator".into()],
        };
        Auth {
            settings,
            file: PathBuf::new(),
            max_name: 16,
            keys: RwLock::new(keys::of(keys.as_bytes()).unwrap().into()),
        }
    }

    fn token(claims: &Value) -> String {
        encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET)).unwrap()
    }

    fn now() -> u64 {
        jsonwebtoken::get_current_timestamp()
    }

    #[test]
    fn a_token_is_what_its_claims_say() {
        let auth = auth(std::str::from_utf8(SECRET).unwrap());
        let exp = now() + 60;
        let judged = auth.judge(Some(&token(
            &json!({ "exp": exp, "name": "kim", "rooms": [7, "r"], "roles": "moderator" }),
        )));
        let rooms = Allowed::Only(["7".into(), "r".into()].into());
        let expires = i64::try_from(exp).unwrap();
        assert_eq!(judged, Ok(Rights { name: "kim".into(), rooms, may_exit: true, expires }));
        let plain = auth.judge(Some(&token(&json!({ "exp": exp, "name": 5, "rooms": "*" })))).unwrap();
        assert_eq!((&*plain.name, plain.rooms, plain.may_exit), ("5", Allowed::Any, false));
        for never in [json!(i64::MAX), json!(u64::MAX), json!(1e19)] {
            let mut auth = super::tests::auth(std::str::from_utf8(SECRET).unwrap());
            auth.settings.leeway = std::time::Duration::from_secs(10);
            let judged = auth.judge(Some(&token(&json!({ "exp": never, "name": "kim" }))));
            assert_eq!(judged.map(|rights| rights.expires), Ok(i64::MAX), "{never}");
        }
        let nowhere = auth.judge(Some(&token(&json!({ "exp": exp, "name": "kim" })))).unwrap();
        assert_eq!(nowhere.rooms, Allowed::Only([].into()), "what is not allowed is not");
    }

    #[test]
    fn what_is_no_token_has_a_reason() {
        let strict = {
            let mut auth = auth(std::str::from_utf8(SECRET).unwrap());
            (auth.settings.issuer, auth.settings.audience) = (Some("us".into()), Some("chat".into()));
            auth
        };
        let auth = auth(std::str::from_utf8(SECRET).unwrap());
        let exp = now() + 60;
        let good = json!({ "exp": exp, "name": "kim" });
        let forged = encode(&Header::default(), &good, &EncodingKey::from_secret(b"another")).unwrap();
        let unsigned = "eyJhbGciOiJub25lIn0.eyJleHAiOjk5OTk5OTk5OTksIm5hbWUiOiJraW0ifQ.";
        for (token, reason) in [
            (String::new(), "a token is needed"),
            ("nonsense".to_owned(), "no JWT"),
            ("a.b.c".to_owned(), "no JWT"),
            ("x".repeat(LONGEST + 1), "too long"),
            (forged, "not signed by a key"),
            (unsigned.to_owned(), "no JWT"),
            (token(&json!({ "exp": 1, "name": "kim" })), "has expired"),
            (token(&json!({ "name": "kim" })), "claims are not"),
            (token(&json!({ "exp": "never", "name": "kim" })), "not usable"),
            (token(&json!({ "exp": exp })), "claims are not"),
            (token(&json!({ "exp": exp, "name": "" })), "`name` is empty"),
            (token(&json!({ "exp": exp, "name": "x".repeat(17) })), "longer than 16"),
            (token(&json!({ "exp": exp, "name": "kim", "nbf": exp })), "not valid yet"),
        ] {
            let denied = auth.judge(Some(&token)).unwrap_err().to_string();
            assert!(denied.contains(reason), "{token}: {denied}");
        }
        let half = json!({ "exp": exp, "name": "kim", "iss": "us" });
        assert_eq!(strict.judge(Some(&token(&half))), Err(Denied::Unusable("it has no `aud`".into())));
        let elsewhere = json!({ "exp": exp, "name": "kim", "iss": "them", "aud": "chat" });
        assert_eq!(strict.judge(Some(&token(&elsewhere))), Err(Denied::Elsewhere));
        let here = json!({ "exp": exp, "name": "kim", "iss": "us", "aud": ["chat"] });
        assert!(strict.judge(Some(&token(&here))).is_ok());
    }

    /// A public key must not be taken for a secret, whatever a token says.
    #[test]
    fn a_key_is_used_as_it_is_meant() {
        let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----";
        let auth = auth(public);
        let forged = encode(
            &Header::default(),
            &json!({ "exp": now() + 60, "name": "kim" }),
            &EncodingKey::from_secret(public.as_bytes()),
        );
        assert_eq!(auth.judge(Some(&forged.unwrap())), Err(Denied::Signature));
        let keys = keys::of(br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},{"kty":"oct","alg":"HS512","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#);
        let keys: Vec<Algorithm> = keys.unwrap().iter().map(|key| key.algorithm).collect();
        assert_eq!(keys, [Algorithm::EdDSA, Algorithm::HS512]);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_no_token(text in "[A-Za-z0-9_.-]{0,120}", key in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(auth(std::str::from_utf8(SECRET).unwrap()).judge(Some(&text)).is_err());
            let _ = keys::of(&key);
        }
    }
}
