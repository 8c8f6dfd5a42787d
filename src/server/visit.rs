//! A visit: the requests of one connection, one after another, each told where it comes from. It ends with the
//! connection, or when that becomes a WebSocket; and between two requests it can be left, and gone on with later.

use super::{
    parking::Parking,
    source::{Proxies, Source},
    transport::Transport,
};
use axum::{Router, extract::Request};
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
    future::{pending, poll_fn},
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
    /// It is between two requests, and newcomers wait for the next server: nothing of the next one has been read.
    Between(Transport),
}

impl Visit {
    /// One of this client, whose requests are answered by `app`.
    pub(super) fn new(app: &Router, proxies: &Proxies, client: IpAddr, patience: Duration) -> Self {
        let (app, seen) = (TowerToHyperService::new(app.clone()), Arc::default());
        Self { requests: Requests { app, proxies: proxies.clone(), client, seen }, patience }
    }

    /// Whether there was a request.
    pub(super) fn has_asked(&self) -> bool {
        self.requests.seen.requests.load(Relaxed) > 0
    }

    /// Serves what it asks for; `parking`: when that is open it is not to begin another request.
    pub(super) async fn serve(&self, mut transport: Transport, parking: Option<&Parking>) -> Served {
        let seen = &self.requests.seen;
        // One that has begun with a request goes on to the next.
        let mut first = 0;
        loop {
            let mut connection = http1::Builder::new()
                .timer(Clock(seen.clone()))
                .header_read_timeout(self.patience)
                .serve_connection(TokioIo::new(transport), self.requests.clone())
                .with_upgrades();
            let mut opened = pin!(async {
                match parking {
                    Some(parking) => parking.opened().await,
                    None => pending().await,
                }
            });
            let served = poll_fn(|cx| {
                if let Poll::Ready(served) = Pin::new(&mut connection).poll(cx) {
                    return Poll::Ready(Some(served));
                }
                let open = parking.is_some_and(Parking::is_open) || opened.as_mut().poll(cx).is_ready();
                if !open || seen.requests.load(Relaxed) < first {
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
            let Some(parts) = connection.into_parts() else { return Served::Ended(Ok(())) };
            transport = parts.io.into_inner();
            if parts.read_buf.is_empty() {
                return Served::Between(transport);
            }
            transport.put_back(parts.read_buf);
            first = seen.requests.load(Relaxed) + 1;
        }
    }
}

/// Answers the requests.
#[derive(Clone)]
struct Requests {
    app: TowerToHyperService<Router>,
    proxies: Proxies,
    client: IpAddr,
    seen: Arc<Seen>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.seen.requests.fetch_add(1, Relaxed);
        let source = self.proxies.client(self.client, request.headers());
        request.extensions_mut().insert(Source(source));
        self.app.call(request)
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
