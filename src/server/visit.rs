//! A visit: the requests of one connection, one after another, each told where it comes from. It ends with the
//! connection, or when that becomes a WebSocket; and between two requests it can be left, and gone on with later.

use super::{
    parking::Parking,
    source::{Proxies, Source},
    transport::Transport,
};
use axum::{Router, extract::Request, response::Response};
use http::{HeaderValue, StatusCode, header};
use hyper::{
    body::Incoming,
    rt::{Sleep, Timer},
    server::conn::http1,
    service::Service,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    convert::Infallible,
    future::poll_fn,
    net::IpAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// See the module.
pub(super) struct Visit {
    requests: Requests,
    /// Longest wait for the head of a request.
    patience: Duration,
}

/// What came of it.
pub(super) enum Served {
    /// It has ended.
    Ended(hyper::Result<()>),
    /// It is between two requests, and newcomers wait for the next server: nothing of the next one has been read, or, with
    /// TLS, it is to be read again.
    Between(Transport),
}

impl Visit {
    /// One of this client, whose requests are answered by `app`.
    pub(super) fn new(
        app: &Router,
        proxies: &Proxies,
        client: IpAddr,
        patience: Duration,
        parking: &Arc<Parking>,
    ) -> Self {
        let (app, seen) = (TowerToHyperService::new(app.clone()), Arc::default());
        let (proxies, parking) = (proxies.clone(), parking.clone());
        Self { requests: Requests { app, proxies, client, parking, seen }, patience }
    }

    /// Whether there was a request.
    pub(super) fn has_asked(&self) -> bool {
        self.requests.seen.requests.load(Relaxed) > 0
    }

    /// Serves what it asks for. `parks`: once newcomers wait, it is left between two requests; else the request it begins
    /// with then is its last, and the answer says so. When nobody is looked at any more it ends between two.
    pub(super) async fn serve(&self, mut transport: Transport, mut parks: bool) -> Served {
        let Requests { seen, parking, .. } = &self.requests;
        let _served = parking.serving();
        loop {
            let mut connection = http1::Builder::new()
                .timer(Clock(seen.clone()))
                .header_read_timeout(self.patience)
                .serve_connection(TokioIo::new(transport), self.requests.clone())
                .with_upgrades();
            let mut leaves = pin!(if parks { parking.opened() } else { parking.cleared() });
            let served = poll_fn(|cx| {
                if let Poll::Ready(served) = Pin::new(&mut connection).poll(cx) {
                    return Poll::Ready(Some(served));
                }
                if leaves.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                // It begins to wait for the next request when it looks for one once more.
                match Pin::new(&mut connection).poll(cx) {
                    Poll::Ready(served) => Poll::Ready(Some(served)),
                    Poll::Pending if seen.waits.load(Relaxed) > 0 => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            });
            if let Some(served) = served.await {
                return Served::Ended(served);
            }
            let Some(parts) = connection.into_parts().filter(|_| parks) else { return Served::Ended(Ok(())) };
            transport = parts.io.into_inner();
            if !parts.read_buf.is_empty() {
                transport.put_back(&parts.read_buf);
                // What was read the next server would not see, unless it is told.
                if transport.is_plain() {
                    parks = false;
                    continue;
                }
            }
            return Served::Between(transport);
        }
    }
}

/// Answers the requests.
#[derive(Clone)]
struct Requests {
    app: TowerToHyperService<Router>,
    proxies: Proxies,
    client: IpAddr,
    parking: Arc<Parking>,
    seen: Arc<Seen>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.seen.requests.fetch_add(1, Relaxed);
        let source = self.proxies.client(self.client, request.headers());
        request.extensions_mut().insert(Source(source));
        let (answered, parking) = (self.app.call(request), self.parking.clone());
        Box::pin(async move {
            let mut answer = answered.await?;
            // While newcomers wait, this connection is for no other request. A proxy may have one for it, of somebody
            // else, as soon as it has this answer, and before it is seen here that there is nothing more to do.
            if parking.is_open() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer)
        })
    }
}

/// What is seen of a visit from outside.
#[derive(Default)]
struct Seen {
    /// So many requests there were.
    requests: AtomicUsize,
    /// Above 0: it waits for one, and all before have been answered.
    waits: AtomicUsize,
}

/// The time, for hyper. It limits how long it waits for the head of a request, and nothing else: so it is seen that it
/// waits. (hyper saying so, or letting go of a connection that is idle, would make this go away.)
struct Clock(Arc<Seen>);

impl Timer for Clock {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.0.waits.fetch_add(1, Relaxed);
        Box::pin(Wait { limit: TokioTimer::new().sleep_until(deadline), seen: self.0.clone() })
    }
}

/// The wait for the head of a request.
struct Wait {
    limit: Pin<Box<dyn Sleep>>,
    seen: Arc<Seen>,
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.limit.as_mut().poll(cx)
    }
}

impl Sleep for Wait {}

impl Drop for Wait {
    fn drop(&mut self) {
        self.seen.waits.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Config, DEFAULT},
        server::{doors::Doors, stats::Stats},
    };
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        sync::Semaphore,
        time::timeout,
    };

    const DEADLINE: Duration = Duration::from_secs(20);
    const ASKS: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    /// A visit that is served, and its client. Each request is counted, and answered when there is a permit for it.
    struct Begun {
        parking: Arc<Parking>,
        asked: Arc<Semaphore>,
        permits: Arc<Semaphore>,
        client: TcpStream,
        served: tokio::task::JoinHandle<Served>,
    }

    async fn begin(parks: bool) -> Begun {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let limits = Config::from_text(DEFAULT, None).unwrap().server.limits;
        let doors = Doors::new(limits, Vec::new(), false, Arc::new(Stats::new()));
        let transport = Transport::plain(stream, DEADLINE, doors.carry_on(peer.ip()));
        let parking = Arc::new(Parking::new());
        let [asked, permits] = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
        let (counted, waits) = (asked.clone(), permits.clone());
        let answer = move || {
            counted.add_permits(1);
            let waits = waits.clone();
            async move { waits.acquire_owned().await.map_or("", |permit| (permit.forget(), "answer").1) }
        };
        let app = Router::new().route("/", get(answer));
        let visit = Visit::new(&app, &Proxies(Vec::new()), peer.ip(), DEADLINE, &parking);
        let served = tokio::spawn(async move { visit.serve(transport, parks).await });
        Begun { parking, asked, permits, client, served }
    }

    impl Begun {
        /// The next answer, up to its end.
        async fn answer(&mut self) -> String {
            let mut text = Vec::new();
            while !text.ends_with(b"answer") {
                let byte = timeout(DEADLINE, self.client.read_u8()).await.unwrap();
                text.push(byte.unwrap());
            }
            String::from_utf8(text).unwrap()
        }
    }

    #[tokio::test]
    async fn a_connection_between_two_requests_is_left_as_it_is() {
        let mut begun = begin(true).await;
        begun.permits.add_permits(1);
        begun.client.write_all(ASKS).await.unwrap();
        assert!(!begun.answer().await.contains("connection: close"));
        begun.parking.open();
        assert!(matches!(timeout(DEADLINE, begun.served).await.unwrap().unwrap(), Served::Between(_)));
    }

    #[tokio::test]
    async fn one_that_cannot_be_left_is_served_until_the_end_has_come() {
        let mut begun = begin(false).await;
        begun.permits.add_permits(1);
        begun.client.write_all(ASKS).await.unwrap();
        begun.answer().await;
        assert!(begun.parking.serves());
        begun.parking.clear().await;
        assert!(matches!(timeout(DEADLINE, begun.served).await.unwrap().unwrap(), Served::Ended(Ok(()))));
        timeout(DEADLINE, begun.parking.served()).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_being_answered_is_waited_for() {
        let mut begun = begin(true).await;
        begun.client.write_all(ASKS).await.unwrap();
        timeout(DEADLINE, begun.asked.acquire()).await.unwrap().unwrap().forget();
        begun.parking.open();
        begun.parking.clear().await;
        begun.permits.add_permits(1);
        let served = begun.parking.clone();
        let (_, text) = tokio::join!(timeout(DEADLINE, served.served()), async {
            let text = begun.answer().await;
            // It waits for the client to go.
            begun.client.shutdown().await.unwrap();
            text
        });
        assert!(text.contains("connection: close"));
        assert!(!begun.parking.serves());
    }

    /// A proxy has the next request, of somebody else, as soon as it has the answer to the last.
    #[tokio::test]
    async fn a_request_that_was_under_way_is_the_last_and_its_client_knows() {
        let mut begun = begin(true).await;
        begun.client.write_all(ASKS).await.unwrap();
        timeout(DEADLINE, begun.asked.acquire()).await.unwrap().unwrap().forget();
        begun.parking.open();
        begun.client.write_all(ASKS).await.unwrap();
        begun.permits.add_permits(2);
        assert!(begun.answer().await.contains("connection: close"));
        let mut more = Vec::new();
        timeout(DEADLINE, begun.client.read_to_end(&mut more)).await.unwrap().unwrap();
        assert!(more.is_empty() && begun.asked.available_permits() == 0, "{more:?}");
        drop(begun.client);
        assert!(matches!(timeout(DEADLINE, begun.served).await.unwrap().unwrap(), Served::Ended(Ok(()))));
    }
}
