//! The keys that tokens are signed with: read from a file, each with the algorithm by which it is used.

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse},
};
use std::path::Path;

/// A shorter secret can be guessed by trying (RFC 7518, section 3.2: as long as the hash).
const SHORTEST_SECRET: usize = 32;

/// A key, and how it is used.
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// Whether a file of keys holds a secret, and not only public keys.
///
/// # Errors
/// They cannot be used, and why.
pub(crate) fn holds_a_secret(file: &Path) -> Result<bool, String> {
    let shared = |key: &Key| matches!(key.algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512);
    Ok(read(file)?.iter().any(shared))
}

pub(super) fn read(file: &Path) -> Result<Vec<Key>, String> {
    let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    of(&text).map_err(|problem| format!("{}: {problem}", file.display()))
}

/// The keys of a file, by what it looks like.
pub(super) fn of(text: &[u8]) -> Result<Vec<Key>, String> {
    let text = text.trim_ascii();
    if text.starts_with(b"{") {
        return jwks(text);
    }
    if text.starts_with(b"-----BEGIN") {
        let readers = [
            (Algorithm::EdDSA, DecodingKey::from_ed_pem as fn(&[u8]) -> _),
            (Algorithm::ES256, DecodingKey::from_ec_pem),
            (Algorithm::RS256, DecodingKey::from_rsa_pem),
        ];
        let found = readers.into_iter().find_map(|(algorithm, read)| Some((algorithm, read(text).ok()?)));
        let (algorithm, key) =
            found.ok_or("it is no public key of Ed25519 (EdDSA), P-256 (ES256) or RSA (RS256)")?;
        return Ok(vec![Key { id: None, algorithm, key }]);
    }
    if text.len() < SHORTEST_SECRET {
        return Err(format!("a secret of {} bytes is too short: {SHORTEST_SECRET} at least", text.len()));
    }
    Ok(vec![Key { id: None, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(text) }])
}

/// A JWKS (RFC 7517), or one JWK.
fn jwks(text: &[u8]) -> Result<Vec<Key>, String> {
    let no_jwks = |error| format!("it is no JWKS: {error}");
    let whole: serde_json::Value = serde_json::from_slice(text).map_err(no_jwks)?;
    let set: Result<JwkSet, _> = if whole.get("keys").is_some() {
        serde_json::from_value(whole)
    } else {
        serde_json::from_value::<Jwk>(whole).map(|key| JwkSet { keys: vec![key] })
    };
    let set = set.map_err(no_jwks)?;
    let mut keys = Vec::new();
    for jwk in set.keys.iter().filter(|jwk| jwk.common.public_key_use != Some(PublicKeyUse::Encryption)) {
        let id = jwk.common.key_id.clone();
        let called = id.as_deref().unwrap_or("without `kid`").to_owned();
        let algorithm =
            algorithm(jwk).ok_or_else(|| format!("key {called}: its algorithm is not one for signing"))?;
        let key = DecodingKey::from_jwk(jwk).map_err(|error| format!("key {called}: {error}"))?;
        if algorithm == Algorithm::HS256
            && key.try_get_as_bytes().is_ok_and(|key| key.len() < SHORTEST_SECRET)
        {
            return Err(format!("key {called}: a secret of less than {SHORTEST_SECRET} bytes"));
        }
        keys.push(Key { id, algorithm, key });
    }
    if keys.is_empty() { Err("there is no key in it".to_owned()) } else { Ok(keys) }
}

/// How a key is used: as it says, else as its kind is.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    if let Some(named) = jwk.common.key_algorithm {
        return named.to_string().parse().ok();
    }
    Some(match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
        AlgorithmParameters::OctetKeyPair(_) => Algorithm::EdDSA,
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => Algorithm::ES256,
            EllipticCurve::P384 => Algorithm::ES384,
            _ => return None,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_none_are_said() {
        for (text, problem) in [
            ("short", "too short"),
            ("", "too short"),
            ("{}", "not one for signing"),
            ("{\"keys\":3}", "no JWKS"),
            (r#"{"keys":[]}"#, "no key"),
            (r#"{"keys":[{"kty":"oct","k":"c2hvcnQ"}]}"#, "less than 32"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "no public key"),
        ] {
            let said = of(text.as_bytes()).err().unwrap();
            assert!(said.contains(problem), "{text}: {said}");
        }
    }
}
