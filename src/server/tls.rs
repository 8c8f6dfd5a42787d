//! TLS: who this server is, and how that changes while it runs.
//!
//! TLS 1.2 and 1.3, HTTP/1.1 (WebSockets need it). The certificate is looked up for each handshake, so a new one is in
//! force with the next; connections that are open keep theirs. One that is not usable changes nothing.
//!
//! A connection of TLS 1.3 can go to another process with what belongs to it; see [`stream`].

mod records;
mod stream;
mod tap;
#[cfg(test)]
mod tests;

use crate::{
    certificate::{self, Usable},
    config,
    error::Failure,
};
use jiff::Timestamp;
use std::{
    io,
    sync::{Arc, PoisonError, RwLock},
};
pub(super) use stream::{State, Stream};
use tap::Tap;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};

/// See the module.
pub(super) struct Tls {
    files: config::Tls,
    current: Arc<Current>,
    acceptor: TlsAcceptor,
}

/// The certificate in force, and when it expires.
#[derive(Debug)]
struct Current(RwLock<Usable>);

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
        let usable = certificate::read(&files).map_err(unusable)?;
        if usable.expires <= Timestamp::now() {
            tracing::warn!(cert = %files.cert.display(), "the certificate has expired on {}", usable.expires);
        }
        let current = Arc::new(Current(RwLock::new(usable)));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(error.to_string()))?;
        let mut config = config.with_no_client_auth().with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // For the next server alone.
        config.enable_secret_extraction = true;
        Ok(Self { files, current, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Reads both files again, and has new handshakes use what is in them.
    ///
    /// # Errors
    /// It cannot be used, and why; what was in force goes on.
    pub(super) fn reload(&self) -> Result<Timestamp, String> {
        let usable = certificate::read(&self.files)?;
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

    /// Shakes hands with a client.
    ///
    /// # Errors
    /// The two do not agree, or it goes.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        Ok(Stream::Begun(Box::new(self.acceptor.accept(Tap::new(stream)).await?)))
    }
}
