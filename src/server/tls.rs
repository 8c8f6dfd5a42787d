//! TLS: who this server is, and how that changes while it runs.
//!
//! TLS 1.2 and 1.3, HTTP/1.1 (WebSockets need it). The certificate is looked up for each handshake, so a new one is in
//! force with the next; connections that are open keep theirs. One that is not usable changes nothing.
//!
//! The cryptography is aws-lc: jsonwebtoken has it in common with rustls, so there is one library for both.

use crate::{config, error::Failure};
use jiff::Timestamp;
use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};
use x509_cert::{Certificate, der::Decode};

/// See the module.
pub(super) struct Tls {
    files: config::Tls,
    current: Arc<Current>,
    acceptor: TlsAcceptor,
}

/// The certificate in force, and when it expires.
#[derive(Debug)]
struct Current(RwLock<Usable>);

#[derive(Debug, Clone)]
struct Usable {
    key: Arc<CertifiedKey>,
    expires: Timestamp,
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get().key)
    }
}

impl Current {
    fn get(&self) -> Usable {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Tls {
    /// Reads the certificate and its key.
    ///
    /// # Errors
    /// Says which file, and what is wrong with it.
    pub(super) fn load(files: config::Tls) -> Result<Self, Failure> {
        let unusable = |problem: String| {
            Failure::usage(format_args!("cannot serve TLS: {problem}")).hint(
                "`tls` in chat.toml names two PEM files: the certificate with its chain, and its private key",
            )
        };
        let usable = read(&files).map_err(unusable)?;
        if usable.expires <= Timestamp::now() {
            tracing::warn!(cert = %files.cert.display(), "the certificate has expired on {}", usable.expires);
        }
        let current = Arc::new(Current(RwLock::new(usable)));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(error.to_string()))?;
        let mut config = config.with_no_client_auth().with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { files, current, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Reads both files again, and has new handshakes use what is in them.
    ///
    /// # Errors
    /// It cannot be used, and why; what was in force goes on.
    pub(super) fn reload(&self) -> Result<Timestamp, String> {
        let usable = read(&self.files)?;
        if usable.expires <= Timestamp::now() {
            return Err(format!("{}: has expired on {}", self.files.cert.display(), usable.expires));
        }
        let expires = usable.expires;
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = usable;
        Ok(expires)
    }

    /// When the certificate in force expires.
    pub(super) fn expires(&self) -> Timestamp {
        self.current.get().expires
    }

    pub(super) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }
}

fn read(files: &config::Tls) -> Result<Usable, String> {
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
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| pem(key, "private key", error))?;
    let usable = CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider());
    let usable = usable.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("{} is not the key of {}", key.display(), cert.display())
        }
        error => format!("{}: {error}", key.display()),
    })?;
    Ok(Usable { key: Arc::new(usable), expires })
}

fn expiry(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Timestamp::from_second(i64::try_from(end.as_secs()).ok()?).ok()
}
