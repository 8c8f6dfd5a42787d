//! Newcomers while this server hands over: accepted, but left unread for the next server, so that none of them is sent
//! away. Connections of sessions that are here already are served: who polls needs them to take leave.
//!
//! What a connection is for is seen by the request line that waits in it, which is looked at and not taken.

use super::link::lock;
use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::*},
    },
    time::Duration,
};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// Longest look at a connection in which nothing comes: it is a newcomer's.
const LOOK: Duration = Duration::from_millis(100);
/// Before the next look at one in which only a part of the line has come.
const AGAIN: Duration = Duration::from_millis(2);
/// Longer request lines say what they are for in so many bytes.
const LINE: usize = 2048;
/// As many wait at most; more are served, and told to come again.
const PLACES: usize = 4096;

/// See the module.
#[derive(Default)]
pub(super) struct Parking {
    open: AtomicBool,
    parked: Mutex<Vec<TcpStream>>,
    looking: TaskTracker,
}

impl Parking {
    /// From now on newcomers wait here.
    pub(super) fn open(&self) {
        self.open.store(true, Release);
    }

    /// Whether they do; as long as the token lives, [`Parking::clear`] waits.
    pub(super) fn token(&self) -> Option<TaskTrackerToken> {
        self.open.load(Acquire).then(|| self.looking.token())
    }

    /// Looks at what a connection is for: gives it back if it is to be served here.
    pub(super) async fn look(&self, stream: TcpStream) -> Option<TcpStream> {
        let newcomer = timeout(LOOK, is_newcomers(&stream)).await;
        if matches!(newcomer, Ok(Ok(false) | Err(_))) {
            return Some(stream);
        }
        let mut parked = lock(&self.parked);
        if parked.len() >= PLACES {
            return Some(stream);
        }
        parked.push(stream);
        None
    }

    /// Everybody who waits, when nobody is looked at any more.
    pub(super) async fn clear(&self) -> Vec<TcpStream> {
        self.looking.close();
        self.looking.wait().await;
        std::mem::take(&mut lock(&self.parked))
    }
}

async fn is_newcomers(stream: &TcpStream) -> io::Result<bool> {
    let mut line = vec![0; LINE];
    loop {
        let len = stream.peek(&mut line).await?;
        let end = line[..len].iter().position(|byte| *byte == b'\n');
        if end.is_some() || len == LINE {
            return Ok(asks_for_a_page_or_session(&line[..end.unwrap_or(len)]));
        }
        if len == 0 {
            return Ok(false);
        }
        sleep(AGAIN).await;
    }
}

/// A request that belongs to nothing that is here. Whatever else it may be is served here.
fn asks_for_a_page_or_session(line: &[u8]) -> bool {
    line.starts_with(b"GET /") && !line.windows(4).any(|part| part == b"sid=")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    #[tokio::test]
    async fn newcomers_wait_unread_and_others_do_not() {
        let parking = Parking::default();
        assert!(parking.token().is_none());
        parking.open();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (said, parked) in [
            ("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n", true),
            ("GET / HTTP/1.1\r\n", true),
            ("GET /soc", true),
            ("", true),
            ("GET /socket.io/?EIO=4&transport=websocket&sid=x HTTP/1.1\r\n", false),
            ("POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\n", false),
            ("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", false),
            ("\r\n\r\n\0\r\nQUIT\n", false),
        ] {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            client.write_all(said.as_bytes()).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let token = parking.token();
            assert_eq!(parking.look(stream).await.is_none(), parked, "{said:?}");
            drop(token);
            let waiting = parking.clear().await;
            assert_eq!(waiting.len(), usize::from(parked), "{said:?}");
            for stream in waiting {
                let mut bytes = vec![0; said.len() + 1];
                let unread = if said.is_empty() { 0 } else { stream.peek(&mut bytes).await.unwrap() };
                assert_eq!(unread, said.len(), "{said:?}");
            }
        }
    }
}
