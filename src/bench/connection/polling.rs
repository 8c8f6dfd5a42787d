//! HTTP long-polling: one request that waits for what the server has to say, and one for what is said to it.
//!
//! Each has a connection of its own that is kept, as browsers do it.

use super::{MAX_PACKET, MAX_UNSENT, Sent, said};
use crate::{
    bench::{
        talk::{self, Identity},
        target::{Dialled, Target},
    },
    http_client as http,
};
use ::http::{Request, StatusCode};
use anyhow::{Context, Error, Result, bail, ensure};
use bytes::Bytes;
use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Instant,
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// What Engine.IO's clients send.
const TEXT: &str = "text/plain;charset=UTF-8";
/// Between packets of one request or answer.
const SEPARATOR: u8 = 0x1e;
/// Bytes that are said in one request: well below what a server takes (`maxPayload`).
const MAX_REQUEST: usize = 64 << 10;

/// See the module.
pub(in crate::bench) struct Polling {
    /// What opens the session.
    opening: String,
    /// Where it is, once it is open.
    path: OnceCell<String>,
    endpoint: String,
    asks: Mutex<http::Connection>,
    says: Mutex<http::Connection>,
    unsaid: RefCell<VecDeque<Vec<u8>>>,
    unsaid_bytes: Cell<usize>,
    /// Somebody sees to what is unsaid.
    is_saying: Cell<bool>,
    /// It is over; and why, if it broke while something was said.
    over: CancellationToken,
    why: RefCell<Option<Error>>,
}

impl Polling {
    pub(super) async fn dial(target: &Target, who: &Identity) -> Result<Self> {
        let connect = async || {
            let connection = match target.dial().await? {
                Dialled::Plain(stream) => http::Connection::named(stream, target.host.clone()).await?,
                Dialled::Tls(stream) => http::Connection::named(stream, target.host.clone()).await?,
            };
            anyhow::Ok(Mutex::new(connection.with_longest(MAX_PACKET)))
        };
        let endpoint = format!("{}&transport=polling", target.path);
        Ok(Self {
            opening: format!("{endpoint}{}", who.query()),
            path: OnceCell::new(),
            endpoint,
            asks: connect().await?,
            says: connect().await?,
            unsaid: RefCell::default(),
            unsaid_bytes: Cell::default(),
            is_saying: Cell::default(),
            over: CancellationToken::new(),
            why: RefCell::default(),
        })
    }

    /// See [`super::Connection::receive`]: the first time it opens the session.
    pub(super) async fn receive(self: &Rc<Self>, mut each: impl FnMut(&[u8], Instant)) -> Result<()> {
        let request = Request::get(self.path.get().unwrap_or(&self.opening));
        let answer = tokio::select! {
            answer = exchange(&self.asks, request, Bytes::new()) => answer?,
            () = self.over.cancelled() => return Err(self.why.take().unwrap_or_else(|| Error::msg("it was cut"))),
        };
        let now = Instant::now();
        if self.path.get().is_none() {
            self.begin(&answer)?;
        }
        for packet in answer.split(|byte| *byte == SEPARATOR) {
            match packet {
                b"2" => self.say(b"3".to_vec()),
                b"1" | b"41" => bail!("the server ended the session"),
                packet => each(packet, now),
            }
        }
        Ok(())
    }

    /// The session that the answer opens is that of all that follows.
    fn begin(&self, answer: &[u8]) -> Result<()> {
        #[derive(serde::Deserialize)]
        struct Open<'a> {
            sid: &'a str,
        }
        let open = answer.strip_prefix(b"0").context("it is not what an Engine.IO server answers")?;
        let open: Open<'_> = serde_json::from_slice(open).context("it names no session")?;
        let _ = self.path.set(format!("{}&sid={}", self.endpoint, open.sid));
        Ok(())
    }

    /// See [`super::Connection::send`].
    pub(super) fn send(self: &Rc<Self>, frame: &[u8]) -> Sent {
        if self.unsaid_bytes.get() + frame.len() > MAX_UNSENT {
            return Sent::Dropped;
        }
        self.say(talk::packet(frame));
        Sent::Whole
    }

    fn say(self: &Rc<Self>, packet: Vec<u8>) {
        self.unsaid_bytes.update(|bytes| bytes + packet.len());
        self.unsaid.borrow_mut().push_back(packet);
        if !self.is_saying.replace(true) {
            let me = self.clone();
            tokio::task::spawn_local(async move {
                while let Some(body) = me.next_body() {
                    let request = Request::post(me.path.get().unwrap_or(&me.endpoint));
                    let said = tokio::select! {
                        said = exchange(&me.says, request, body.into()) => said,
                        () = me.over.cancelled() => return,
                    };
                    if let Err(why) = said {
                        *me.why.borrow_mut() = Some(why);
                        me.over.cancel();
                    }
                }
                me.is_saying.set(false);
            });
        }
    }

    /// As many packets as fit into one request; `None`: nothing is unsaid.
    fn next_body(&self) -> Option<Vec<u8>> {
        let mut unsaid = self.unsaid.borrow_mut();
        let mut body = unsaid.pop_front()?;
        self.unsaid_bytes.update(|bytes| bytes - body.len());
        while let Some(next) = unsaid.pop_front_if(|next| body.len() + next.len() < MAX_REQUEST) {
            self.unsaid_bytes.update(|bytes| bytes - next.len());
            body.push(SEPARATOR);
            body.extend_from_slice(&next);
        }
        Some(body)
    }

    /// See [`super::Connection::cut`].
    pub(super) fn cut(&self) {
        self.over.cancel();
    }

    /// See [`super::Connection::leave`].
    pub(super) fn leave(self: &Rc<Self>) {
        self.say(b"41".to_vec());
        self.say(b"1".to_vec());
    }
}

async fn exchange(
    connection: &Mutex<http::Connection>,
    request: ::http::request::Builder,
    body: Bytes,
) -> Result<Bytes> {
    let (status, body) = connection.lock().await.exchange(request, TEXT, body).await?;
    ensure!(status == StatusCode::OK, "the server does not take polling here: {status} {}", said(&body));
    Ok(body)
}
