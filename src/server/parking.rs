//! Newcomers while this server hands over: left unread for the next server, so that none of them is sent away. Requests
//! of sessions that are here already are served: who polls needs them to take leave.
//!
//! Whether a connection was accepted just now or has been here for hours: between two requests it is nobody's, and waits
//! here. What its next request is for is seen by the line that waits in it, which is looked at and not taken. Those that
//! say nothing until the end go to the next server as well, and are never closed at the moment they are used.
//!
//! What is under TLS says what it is for only when hands have been shaken and its first line was read. It waits with its
//! keys, and with that line. Towards the end, when nobody who is here needs a new connection any more, it is left as it
//! came: with its first byte in the kernel.

use super::{link::lock, source::Proxies, tls, transport::Transport};
use std::{io, net::IpAddr, sync::Mutex, time::Duration};
use tokio::{net::TcpStream, time::sleep};
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFuture},
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// Longest look at a connection in which nothing has ever come: it is a newcomer's.
const LOOK: Duration = Duration::from_millis(100);
/// Before the next look at one in which only a part of the line has come.
const AGAIN: Duration = Duration::from_millis(2);
/// Longest wait for hands that are being shaken at the end.
const SHAKING: Duration = Duration::from_millis(500);
/// Longer request lines say what they are for in so many bytes.
const LINE: usize = 2048;
/// As many wait at most; more are served, and told to come again.
const PLACES: usize = 4096;

/// A connection whose next request, if there is one, nobody has answered yet.
#[derive(Debug)]
pub(super) struct Newcomer {
    pub(super) stream: TcpStream,
    /// Hands have been shaken.
    pub(super) tls: Option<tls::State>,
}

/// See the module.
pub(super) struct Parking {
    open: CancellationToken,
    full: CancellationToken,
    clear: CancellationToken,
    /// `None`: those who waited are on their way already.
    parked: Mutex<Option<Vec<Newcomer>>>,
    looking: TaskTracker,
    serving: TaskTracker,
}

impl Parking {
    pub(super) fn new() -> Self {
        let [open, full, clear] = [(); 3].map(|()| CancellationToken::new());
        let [looking, serving] = [(); 2].map(|()| TaskTracker::new());
        Self { open, full, clear, parked: Mutex::new(Some(Vec::new())), looking, serving }
    }

    /// From now on newcomers wait here.
    pub(super) fn open(&self) {
        self.open.cancel();
    }

    /// Whether they do.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_cancelled()
    }

    /// Waits until they do.
    pub(super) fn opened(&self) -> WaitForCancellationFuture<'_> {
        self.open.cancelled()
    }

    /// Waits until nobody is looked at any more.
    pub(super) fn cleared(&self) -> WaitForCancellationFuture<'_> {
        self.clear.cancelled()
    }

    /// As long as this lives, [`Parking::served`] waits.
    pub(super) fn serving(&self) -> TaskTrackerToken {
        self.serving.token()
    }

    /// Whether somebody is being served.
    pub(super) fn serves(&self) -> bool {
        !self.serving.is_empty()
    }

    /// Waits until nobody is.
    pub(super) async fn served(&self) {
        self.serving.close();
        self.serving.wait().await;
    }

    /// From now on no new connection is for somebody who is here.
    pub(super) fn take_all(&self) {
        self.full.cancel();
    }

    /// Waits for the first byte of a connection; gives it back if that is to be read here.
    pub(super) async fn await_hello(&self, stream: TcpStream) -> Option<TcpStream> {
        let mut hello = [0];
        let here = tokio::select! {
            biased;
            () = self.full.cancelled() => false,
            // Broken: whoever reads it finds out.
            _ = stream.peek(&mut hello) => true,
        };
        if here { Some(stream) } else { self.park(stream) }
    }

    /// Leaves a connection as it is; gives it back if that cannot be.
    fn park(&self, stream: TcpStream) -> Option<TcpStream> {
        self.place(stream, |stream| Some(Newcomer { stream, tls: None }))
    }

    /// The same once hands have been shaken.
    fn park_with_keys(&self, transport: Transport) -> Option<Transport> {
        self.place(transport, |transport| {
            // One that is broken is nobody's.
            let (stream, tls, _) = transport.into_parts()?;
            Some(Newcomer { stream, tls })
        })
    }

    /// Has it wait, as what this makes of it; gives it back if there is no place.
    fn place<T>(&self, one: T, newcomer: impl FnOnce(T) -> Option<Newcomer>) -> Option<T> {
        match &mut *lock(&self.parked) {
            Some(parked) if parked.len() < PLACES => {
                parked.extend(newcomer(one));
                None
            }
            _ => Some(one),
        }
    }

    /// Waits until it is too late to shake hands.
    pub(super) async fn closing(&self) {
        self.clear.cancelled().await;
        sleep(SHAKING).await;
    }

    /// As long as this lives, [`Parking::clear`] waits.
    pub(super) fn token(&self) -> TaskTrackerToken {
        self.looking.token()
    }

    /// Looks at what a connection is for: gives it back if it is to be served here. `used`: there were requests on it;
    /// else it may begin with a header of these proxies, should `peer` be one.
    pub(super) async fn look(
        &self,
        stream: TcpStream,
        peer: IpAddr,
        used: bool,
        proxies: &Proxies,
    ) -> Option<TcpStream> {
        let newcomer = tokio::select! {
            newcomer = is_newcomers(&stream, peer, proxies) => newcomer.unwrap_or(false),
            () = self.clear.cancelled() => true,
            () = sleep(LOOK), if !used => true,
        };
        if newcomer { self.park(stream) } else { Some(stream) }
    }

    /// Looks at what a connection with TLS is for: gives it back if it is to be served here.
    pub(super) async fn look_within(&self, mut transport: Transport) -> Option<Transport> {
        let newcomer = tokio::select! {
            newcomer = is_newcomers_within(&mut transport) => newcomer.unwrap_or(false),
            () = self.clear.cancelled() => true,
        };
        if newcomer { self.park_with_keys(transport) } else { Some(transport) }
    }

    /// Everybody who waits, when nobody is looked at any more.
    pub(super) async fn clear(&self) -> Vec<Newcomer> {
        self.full.cancel();
        self.clear.cancel();
        self.looking.close();
        self.looking.wait().await;
        lock(&self.parked).take().unwrap_or_default()
    }
}

async fn is_newcomers(stream: &TcpStream, peer: IpAddr, proxies: &Proxies) -> io::Result<bool> {
    let mut start = vec![0; LINE];
    loop {
        let len = stream.peek(&mut start).await?;
        let line = proxies.after_header(peer, &start[..len]);
        let end = line.iter().position(|byte| *byte == b'\n');
        if end.is_some() || len == LINE {
            return Ok(asks_for_a_page_or_session(&line[..end.unwrap_or(line.len())]));
        }
        if len == 0 {
            return Ok(false);
        }
        sleep(AGAIN).await;
    }
}

async fn is_newcomers_within(transport: &mut Transport) -> io::Result<bool> {
    loop {
        let start = transport.unread();
        let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if line.len() < start.len() || start.len() >= LINE {
            return Ok(asks_for_a_page_or_session(line));
        }
        let known = start.len();
        transport.read_ahead().await?;
        if transport.unread().len() == known {
            return Ok(false);
        }
    }
}

/// A request that belongs to nothing that is here. Whatever else it may be is served here.
fn asks_for_a_page_or_session(line: &[u8]) -> bool {
    line.starts_with(b"GET /") && !line.windows(4).any(|part| part == b"sid=")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// What came of a connection on which this is said: whether it waits, and whether it is left as it was.
    async fn parked(said: &str, used: bool, end: bool) -> bool {
        let proxies = Proxies(vec!["127.0.0.1/32".parse().unwrap()]);
        let (parking, listener) = (Parking::new(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        parking.open();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(said.as_bytes()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let look = async {
            let _token = parking.token();
            parking.look(stream, HERE, used, &proxies).await
        };
        let (looked, waiting) =
            if end { tokio::join!(look, parking.clear()) } else { (look.await, parking.clear().await) };
        assert_eq!(waiting.len(), usize::from(looked.is_none()), "{said:?}");
        for Newcomer { stream, .. } in &waiting {
            let mut bytes = vec![0; said.len() + 1];
            let unread = if said.is_empty() { 0 } else { stream.peek(&mut bytes).await.unwrap() };
            assert_eq!(unread, said.len(), "{said:?}");
        }
        looked.is_none()
    }

    #[tokio::test]
    async fn newcomers_wait_unread_and_others_do_not() {
        for (said, waits) in [
            ("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n", true),
            ("GET / HTTP/1.1\r\n", true),
            ("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1\r\n", true),
            ("GET /socket.io/?EIO=4&transport=websocket&sid=x HTTP/1.1\r\n", false),
            ("POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\n", false),
            ("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nPOST / HTTP/1.1\r\n", false),
            ("PROXY TCP4 ?\r\n", false),
            ("\r\n\r\n\0\r\nQUIT\n", false),
        ] {
            for used in [false, true] {
                assert_eq!(parked(said, used, false).await, waits, "{said:?}");
            }
        }
        for said in ["GET /soc", ""] {
            assert!(parked(said, false, false).await, "{said:?}");
            assert!(parked(said, true, true).await, "{said:?}, once everybody is cleared away");
        }
    }

    #[tokio::test]
    async fn who_comes_when_they_are_on_their_way_is_served_here() {
        let (parking, listener) = (Parking::new(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        parking.open();
        assert!(parking.clear().await.is_empty());
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert!(parking.look(stream, HERE, true, &Proxies(Vec::new())).await.is_some());
    }
}
