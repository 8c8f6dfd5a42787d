//! A little HTTP client: one connection, small answers.

pub(crate) mod tls;

use anyhow::{Result, bail};
use bytes::Bytes;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tls::Trust;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_util::task::AbortOnDropHandle;

/// No answer that is read is longer, unless more was allowed.
const LONGEST: usize = 64 << 10;

/// An HTTP connection; it ends when dropped.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    longest: usize,
    _driven: AbortOnDropHandle<()>,
}

impl Connection {
    /// Over a stream to this machine.
    ///
    /// # Errors
    /// It is closed.
    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Self> {
        Self::named(stream, "chatctl".to_owned()).await
    }

    /// To where this URL is served, `http` or `https`; and by whom, where that can be known.
    ///
    /// # Errors
    /// It is another URL, nobody listens there, or it is nobody to be trusted.
    pub(crate) async fn to_url(url: &Uri, trust: Trust) -> Result<Self> {
        // Names in brackets are IPv6 addresses (RFC 3986, section 3.2.2).
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let authority = url.authority().map(|authority| authority.as_str().rsplit('@').next().unwrap_or(""));
        let name = authority.unwrap_or_default().to_owned();
        let connect = |port| TcpStream::connect((host, url.port_u16().unwrap_or(port)));
        match url.scheme_str() {
            Some("http") => Self::named(connect(80).await?, name).await,
            Some("https") => Self::named(tls::connect(connect(443).await?, host, trust).await?, name).await,
            _ => bail!("{url} is spoken to neither by http nor by https"),
        }
    }

    /// Over a stream to where this host is served.
    ///
    /// # Errors
    /// It is closed.
    pub(crate) async fn named(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        host: String,
    ) -> Result<Self> {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driven = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, host, longest: LONGEST, _driven: AbortOnDropHandle::new(driven) })
    }

    /// Answers may have so many bytes.
    pub(crate) fn with_longest(self, longest: usize) -> Self {
        Self { longest, ..self }
    }

    /// Asks, and waits for the whole answer.
    ///
    /// # Errors
    /// The connection breaks, or the answer is too long.
    pub(crate) async fn exchange(
        &mut self,
        request: http::request::Builder,
        content_type: &'static str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes)> {
        self.sender.ready().await?;
        let request = request.header("host", &self.host).header("content-type", content_type);
        let response = self.sender.send_request(request.body(Full::new(body))?).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), self.longest).collect().await;
        Ok((status, body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes()))
    }
}

/// Path and query of a URL.
pub(crate) fn path(url: &Uri) -> &str {
    url.path_and_query().map_or("/", |path| path.as_str())
}
