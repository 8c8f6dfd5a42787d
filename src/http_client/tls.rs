//! TLS, as a client: 1.2 and 1.3, for HTTP/1.1.

use anyhow::{Context, Result, ensure};
use std::sync::{Arc, LazyLock};
use tokio::{net::TcpStream, task::spawn_blocking};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
        client::{
            WebPkiServerVerifier,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};

/// Who may be at the other end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trust {
    /// Whom one that this machine trusts vouches for: its certificates, or those in `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    Vouched,
    /// Anybody. Only for what is no secret: it is asked whether a server lives, or how fast it is, and not who it is.
    Anybody,
}

/// One for all who trust anybody: what it keeps makes the next handshake cheap.
static ANYBODY: LazyLock<Result<TlsConnector, Error>> =
    LazyLock::new(|| to_anybody(aws_lc_rs::default_provider()));

/// Shakes hands with who is said to have this name, or this address.
///
/// # Errors
/// It is not TLS that is spoken there, or it is nobody to be trusted, and why.
pub(crate) async fn connect(stream: TcpStream, host: &str, trust: Trust) -> Result<TlsStream<TcpStream>> {
    let connector = match trust {
        Trust::Anybody => ANYBODY.clone()?,
        Trust::Vouched => spawn_blocking(vouched).await??,
    };
    let name = ServerName::try_from(host.to_owned())?;
    connector.connect(name, stream).await.with_context(|| format!("no TLS with {host}"))
}

/// Trusts anybody, and speaks with these ciphers.
///
/// # Errors
/// With these nothing can be said.
pub(crate) fn to_anybody(provider: CryptoProvider) -> Result<TlsConnector, Error> {
    let provider = Arc::new(provider);
    connector(Arc::new(Anybody(provider.clone())), provider)
}

fn connector(
    verifier: Arc<dyn ServerCertVerifier>,
    provider: Arc<CryptoProvider>,
) -> Result<TlsConnector, Error> {
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The certificates are read anew each time: it is seldom, they change, and they take a megabyte.
fn vouched() -> Result<TlsConnector> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    let trouble = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
    ensure!(
        !roots.is_empty(),
        "this machine trusts nobody who could vouch for anybody{trouble}: install ca-certificates, or name a file in SSL_CERT_FILE"
    );
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    Ok(connector(verifier, provider)?)
}

/// Takes any certificate, from who has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
