//! What the two processes say to each other, over one Unix socket: messages with their sockets, in a fixed order.
//!
//! A message is its kind (one byte), the lengths of a JSON text and of a run of bytes (four each, little-endian), and
//! these. The sockets of a batch come with its first byte, in the order of its travellers.

use super::{Announced, Freed, Life, Traveller};
use crate::{
    control::descriptors,
    server::{debts::Missing, parking::Newcomer, tls},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    io::{self, Read, Write},
    net::IpAddr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

/// The format, as the token of the HTTP upgrade; another format has another number.
pub(in crate::server) const NAME: &str = "chatctl-handover/3";
/// The header of the answer to it that names the giver's process.
pub(in crate::server) const PID: &str = "x-chatctl-pid";

/// No message is longer: a batch of packets cut in the middle, and of what slow clients have not read.
const LONGEST: usize = 1 << 30;
const ANNOUNCED_AT_ONCE: usize = 256;
/// Bytes of a batch, roughly: what it takes in memory on both sides.
const BATCH_SIZE: usize = 8 << 20;
const HEADER: usize = 9;

/// Why it does not go on.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum Broken {
    /// The other process has ended, or given up.
    #[error("the other process has gone")]
    Closed,
    /// It says nothing, or takes nothing.
    #[error("the other process does not answer")]
    Silent,
    /// It says something that is not expected.
    #[error("the other process said something else")]
    Foreign,
    /// This process, or the socket.
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                Self::Closed
            }
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            _ => Self::Io(error),
        }
    }
}

/// What comes first when nobody is served any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begin {
    /// Where the ids stand.
    pub(super) left: Life,
    /// Since when nobody is served, by the machine's monotonic clock, in microseconds.
    pub(super) paused_us: u64,
    /// Clients that were sent away beforehand.
    pub(super) goodbyes: u64,
    /// Clients whose connection was cut: they could neither be moved nor sent away in time.
    pub(super) cut: u64,
    /// What addresses owe. Not said before: who does not know of it forgives it.
    #[serde(default)]
    pub(super) owed: Vec<(IpAddr, Missing)>,
}

/// One message.
#[derive(Debug)]
pub(super) enum Message {
    /// Those that are going to come, in as many messages as it takes.
    Announced(Vec<Announced>),
    /// These were all, as far as is known.
    AllAnnounced,
    /// The taker has made everything ready for them.
    Ready,
    /// Nobody is served any more.
    Begin(Begin),
    /// Then those whose next request nobody has answered yet, and the others, in as many messages as it takes.
    Newcomers(Vec<(OwnedFd, Option<tls::State>)>),
    Batch(Vec<Received>),
    /// That was all: so many connections.
    End(u64),
    /// The taker has them all, and waits.
    Prepared,
    /// They are the taker's.
    Commit,
}

/// A connection as it comes.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) traveller: Traveller,
    pub(super) socket: OwnedFd,
    pub(super) read: Vec<u8>,
    pub(super) write: Vec<u8>,
    pub(super) heartbeat: Option<Duration>,
    pub(super) missing: Option<Missing>,
    pub(super) tls: Option<tls::State>,
}

/// A connection's part of a batch, as it is written.
#[derive(Serialize)]
struct Listed<'a> {
    traveller: &'a Traveller,
    read: usize,
    write: usize,
    heartbeat: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<Missing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<tls::State>,
}

/// As it is read.
#[derive(Deserialize)]
struct Found {
    traveller: Traveller,
    read: usize,
    write: usize,
    heartbeat: Option<Duration>,
    /// Not said before either.
    #[serde(default)]
    missing: Option<Missing>,
    #[serde(default)]
    tls: Option<tls::State>,
}

/// One end of it. Blocks, for so long at most as it was made with.
#[derive(Debug)]
pub(super) struct Wire(UnixStream);

impl Wire {
    /// # Errors
    /// The socket cannot be used.
    pub(super) fn new(stream: UnixStream, patience: Duration) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self(stream))
    }

    /// Says who is going to come.
    pub(super) fn announced(&self, all: &[Announced]) -> Result<(), Broken> {
        all.chunks(ANNOUNCED_AT_ONCE).try_for_each(|some| self.send(b'A', &some, &[], &[]))
    }

    pub(super) fn all_announced(&self) -> Result<(), Broken> {
        self.send(b'a', &(), &[], &[])
    }

    pub(super) fn ready(&self) -> Result<(), Broken> {
        self.send(b'R', &(), &[], &[])
    }

    pub(super) fn begin(&self, begin: &Begin) -> Result<(), Broken> {
        self.send(b'B', begin, &[], &[])
    }

    /// Sends those whose next request nobody has answered yet.
    pub(super) fn newcomers(&self, all: &[Newcomer]) -> Result<(), Broken> {
        all.chunks(descriptors::MOST).try_for_each(|some| {
            let sockets: Vec<_> = some.iter().map(|one| one.stream.as_fd()).collect();
            let tls: Vec<_> = some.iter().map(|one| &one.tls).collect();
            self.send(b'N', &tls, &[], &sockets)
        })
    }

    /// Sends all connections, in batches, and says that these were all.
    pub(super) fn connections(&self, all: &[Freed]) -> Result<(), Broken> {
        let mut rest = all;
        while !rest.is_empty() {
            let mut size = 0;
            let fits = |(_, _, detached): &&Freed| {
                size += detached.read.len() + detached.write.len();
                size < BATCH_SIZE
            };
            let count = rest.iter().take(descriptors::MOST).take_while(fits).count().max(1);
            let (batch, after) = rest.split_at(count);
            self.batch(batch)?;
            rest = after;
        }
        self.send(b'E', &all.len(), &[], &[])
    }

    fn batch(&self, batch: &[Freed]) -> Result<(), Broken> {
        let now = Instant::now();
        let list: Vec<_> = batch
            .iter()
            .map(|(link, traveller, detached)| Listed {
                traveller,
                read: detached.read.len(),
                write: detached.write.len(),
                heartbeat: detached.heartbeat,
                missing: link.ticket.get().and_then(|ticket| ticket.pace.left().missing(now)),
                tls: detached.io.tls_state(),
            })
            .collect();
        let bytes: Vec<&[u8]> =
            batch.iter().flat_map(|(_, _, detached)| [&detached.read[..], &detached.write[..]]).collect();
        let sockets: Option<Vec<_>> = batch.iter().map(|(_, _, detached)| detached.io.socket()).collect();
        // Only those that can move are let go of.
        self.send(b'C', &list, &bytes.concat(), &sockets.ok_or(Broken::Foreign)?)
    }

    pub(super) fn prepared(&self) -> Result<(), Broken> {
        self.send(b'P', &(), &[], &[])
    }

    pub(super) fn commit(&self) -> Result<(), Broken> {
        self.send(b'!', &(), &[], &[])
    }

    fn send(
        &self,
        kind: u8,
        json: &impl Serialize,
        bytes: &[u8],
        fds: &[std::os::fd::BorrowedFd<'_>],
    ) -> Result<(), Broken> {
        let json = serde_json::to_vec(json).map_err(io::Error::from)?;
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        let message = [&[kind][..], &len(&json), &len(bytes), &json, bytes].concat();
        let sent = descriptors::send(&self.0, &message, fds)?;
        Ok((&self.0).write_all(&message[sent..])?)
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// None comes, or it is none.
    pub(super) fn receive(&self) -> Result<Message, Broken> {
        let mut header = [0; HEADER];
        let (came, fds) = descriptors::receive(&self.0, &mut header)?;
        if came == 0 {
            return Err(Broken::Closed);
        }
        (&self.0).read_exact(&mut header[came..])?;
        let [kind, a, b, c, d, e, f, g, h] = header;
        let json = self.bytes([a, b, c, d])?;
        let bytes = self.bytes([e, f, g, h])?;
        match kind {
            b'A' => read(&json).map(Message::Announced),
            b'a' => Ok(Message::AllAnnounced),
            b'R' => Ok(Message::Ready),
            b'B' => read(&json).map(Message::Begin),
            b'N' => pair(fds, read(&json)?).map(Message::Newcomers),
            b'C' => unpack(read(&json)?, &bytes, fds).map(Message::Batch),
            b'E' => read(&json).map(Message::End),
            b'P' => Ok(Message::Prepared),
            b'!' => Ok(Message::Commit),
            _ => Err(Broken::Foreign),
        }
    }

    fn bytes(&self, len: [u8; 4]) -> Result<Vec<u8>, Broken> {
        let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
        if len > LONGEST {
            return Err(Broken::Foreign);
        }
        let mut bytes = vec![0; len];
        (&self.0).read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Lets nothing more in: from now on the other side cannot send. What has come already can still be received.
    pub(super) fn shut(&self) {
        // One that is shut already needs no shutting.
        let _ = self.0.shutdown(std::net::Shutdown::Read);
    }

    /// The socket itself, to ask who is at its other end.
    pub(super) fn stream(&self) -> &UnixStream {
        &self.0
    }
}

fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Broken> {
    serde_json::from_slice(json).map_err(|_| Broken::Foreign)
}

/// Each socket with what belongs to it.
fn pair<T>(fds: Vec<OwnedFd>, with: Vec<T>) -> Result<Vec<(OwnedFd, T)>, Broken> {
    if with.len() == fds.len() { Ok(fds.into_iter().zip(with).collect()) } else { Err(Broken::Foreign) }
}

fn unpack(list: Vec<Found>, mut bytes: &[u8], fds: Vec<OwnedFd>) -> Result<Vec<Received>, Broken> {
    let mut next = |len: usize| {
        let (part, rest) = bytes.split_at_checked(len).ok_or(Broken::Foreign)?;
        bytes = rest;
        Ok::<_, Broken>(part.to_vec())
    };
    let unpacked = pair(fds, list)?.into_iter().map(|(socket, found)| {
        let Found { traveller, read, write, heartbeat, missing, tls } = found;
        Ok(Received { traveller, socket, read: next(read)?, write: next(write)?, heartbeat, missing, tls })
    });
    unpacked.collect()
}
