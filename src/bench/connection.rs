//! One connection of a client: Engine.IO 4 over either transport, and Socket.IO 5 on that (their protocol documents).

mod polling;
mod websocket;

use super::{
    run::{Run, Scratch},
    talk::Identity,
};
use anyhow::{Context, Result, bail};
use polling::Polling;
use serde::Serialize;
use std::{
    io,
    rc::Rc,
    time::{Duration, Instant},
};
use websocket::WebSocket;

/// The longest that coming in may take.
const ENTRY: Duration = Duration::from_secs(30);
/// Bytes that may wait for the server to take them; what is said beyond that is not sent, and counted.
const MAX_UNSENT: usize = 1 << 20;
/// Characters of what a server says that are shown.
const LONGEST: usize = 200;
/// A packet larger than this is no packet.
const MAX_PACKET: usize = 64 << 20;

/// What carries the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// A WebSocket from the first byte.
    Websocket,
    /// HTTP requests.
    Polling,
}

impl Transport {
    /// Connections of TCP that one client has.
    pub(super) fn connections(self) -> u32 {
        match self {
            Self::Websocket => 1,
            // What it asks waits for an answer, while it says something.
            Self::Polling => 2,
        }
    }
}

/// See the module.
pub(super) enum Connection {
    WebSocket(WebSocket),
    Polling(Rc<Polling>),
}

/// A packet that came with the answer to CONNECT, and when.
type Early = (Vec<u8>, Instant);

/// One who is in.
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// The private id of its session, where the server has such.
    pub(super) pid: Option<String>,
    pub(super) early: Vec<Early>,
}

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is on its way.
    Whole,
    /// The server takes no more just now: [`Connection::flush`] is to be called.
    Waits,
    /// The same, and somebody has been told already.
    Queued,
    /// Too much waits: it was thrown away.
    Dropped,
}

impl Connection {
    /// Connects, and comes in as this one; `claim`: what takes up its session.
    ///
    /// # Errors
    /// The server is not there, does not want it, speaks something else, or takes too long.
    pub(super) async fn open(run: &Run, who: &Identity, claim: Option<(&str, &str)>) -> Result<Opened> {
        let entering = async {
            let connection = match run.against.transport {
                Transport::Websocket => Self::WebSocket(WebSocket::dial(&run.target, who).await?),
                Transport::Polling => Self::Polling(Rc::new(Polling::dial(&run.target, who).await?)),
            };
            let (pid, early) = connection.enter(run, claim).await?;
            anyhow::Ok(Opened { connection, pid, early })
        };
        tokio::time::timeout(ENTRY, entering)
            .await
            .with_context(|| format!("not connected within {ENTRY:?}"))?
    }

    async fn enter(&self, run: &Run, claim: Option<(&str, &str)>) -> Result<(Option<String>, Vec<Early>)> {
        let connect = run.talk.connect(claim);
        let (mut entered, mut refused, mut early) = (None, None, Vec::new());
        while entered.is_none() {
            let hear = |packet: &[u8], at| match packet {
                [b'0', ..] => drop(self.send(&connect)),
                [b'4', b'0', rest @ ..] => entered = Some(pid(rest)),
                [b'4', b'4', rest @ ..] => refused = Some(said(rest)),
                packet => early.push((packet.to_vec(), at)),
            };
            self.receive(&run.scratch, hear).await?;
            if let Some(why) = refused.take() {
                bail!("the server did not let it in: {why}");
            }
        }
        Ok((entered.flatten(), early))
    }

    /// Waits for what comes, and gives each packet in it that is whole, with the time. Heartbeats are answered.
    ///
    /// # Errors
    /// The connection is at its end, and why.
    pub(super) async fn receive(&self, scratch: &Scratch, each: impl FnMut(&[u8], Instant)) -> Result<()> {
        match self {
            Self::WebSocket(socket) => socket.receive(scratch, each).await,
            Self::Polling(polling) => polling.receive(each).await,
        }
    }

    /// Sends a packet, in the frame that [`super::talk`] has put it in.
    pub(super) fn send(&self, frame: &[u8]) -> Sent {
        match self {
            Self::WebSocket(socket) => socket.send(frame),
            Self::Polling(polling) => polling.send(frame),
        }
    }

    /// Sends what waits.
    pub(super) async fn flush(&self) -> io::Result<()> {
        match self {
            Self::WebSocket(socket) => socket.flush().await,
            Self::Polling(_) => Ok(()), // sees to it by itself
        }
    }

    /// Breaks off: whoever listens hears the end, and so does the server, without a word.
    pub(super) fn cut(&self) {
        match self {
            Self::WebSocket(socket) => socket.cut(),
            Self::Polling(polling) => polling.cut(),
        }
    }

    /// Says goodbye, as a page does that is left.
    pub(super) fn leave(&self) {
        match self {
            Self::WebSocket(socket) => socket.leave(),
            Self::Polling(polling) => polling.leave(),
        }
    }
}

/// What a server says, for people: one line, and not a long one. It may be a page.
pub(super) fn said(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace(|c: char| c.is_control(), " ");
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LONGEST {
        line
    } else {
        line.chars().take(LONGEST).chain("...".chars()).collect()
    }
}

/// The private id in a CONNECT reply: `{"sid":..,"pid":..}`.
fn pid(reply: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Reply {
        pid: Option<String>,
    }
    serde_json::from_slice::<Reply>(reply).ok()?.pid
}

#[cfg(test)]
mod tests {
    use super::said;

    #[test]
    fn whatever_a_server_says_is_one_line() {
        assert_eq!(said(b"<html>\r\n  <b>no\x1b[2J</b>\0\xff"), "<html> <b>no [2J</b> \u{fffd}");
        assert_eq!(said("é".repeat(5000).as_bytes()), "é".repeat(200) + "...");
    }
}
