//! Certificates: what the two files of a `tls` hold, and until when it is good. For the server, which serves them, and
//! for `check`, which looks at them before anything is started.
//!
//! The cryptography is aws-lc: jsonwebtoken has it in common with rustls, so there is one library for both.

use crate::config;
use jiff::Timestamp;
use std::{path::Path, sync::Arc};
use tokio_rustls::rustls::{
    self, CertificateError,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use x509_cert::{Certificate, der::Decode};

/// A certificate with its chain, and the key that belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Usable {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) expires: Timestamp,
}

/// Reads both files. One that has expired is usable: clients decide.
///
/// # Errors
/// Says which file, and what is wrong with it.
pub(crate) fn read(files: &config::Tls) -> Result<Usable, String> {
    let pem = |file: &Path, what: &str, error: rustls::pki_types::pem::Error| match error {
        rustls::pki_types::pem::Error::Io(error) => format!("{}: {error}", file.display()),
        rustls::pki_types::pem::Error::NoItemsFound => {
            format!("{}: there is no {what} in it", file.display())
        }
        error => format!("{}: {error}", file.display()),
    };
    let (cert, key) = (files.cert.as_path(), files.key.as_path());
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| pem(cert, "certificate", error))?;
    let first = chain.first().ok_or_else(|| format!("{}: there is no certificate in it", cert.display()))?;
    let expires = expiry(first).ok_or_else(|| format!("{}: is no X.509 certificate", cert.display()))?;
    let private = PrivateKeyDer::from_pem_file(key);
    let private = private.map_err(|error| match is_encrypted(key) {
        true => format!(
            "{}: the key is encrypted; write it without a passphrase: openssl pkey -in FILE -out FILE",
            key.display()
        ),
        false => pem(key, "private key", error),
    })?;
    let usable = CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider());
    let usable = usable.map_err(|error| match error {
        // Of the key the certificate's own is compared, which is read for it.
        rustls::Error::InvalidCertificate(error) => {
            let why = match error {
                // Another library's error, in its own words and not as rustls wraps it.
                CertificateError::Other(error) => error.to_string(),
                error => error.to_string(),
            };
            format!("{}: the certificate cannot be used: {why}", cert.display())
        }
        rustls::Error::InconsistentKeys(_) => {
            format!("{} is not the key of {}", key.display(), cert.display())
        }
        error => format!("{}: {error}", key.display()),
    })?;
    Ok(Usable { key: Arc::new(usable), expires })
}

/// Whether it takes a passphrase to read this key (PKCS #8, or as OpenSSL did before: RFC 1421).
fn is_encrypted(key: &Path) -> bool {
    std::fs::read_to_string(key).is_ok_and(|text| {
        text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
    })
}

fn expiry(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Timestamp::from_second(i64::try_from(end.as_secs()).ok()?).ok()
}
