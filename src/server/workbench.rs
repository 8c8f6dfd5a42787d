//! The server's part of [`crate::workbench`].
#![expect(clippy::unwrap_used, reason = "what does not work here is a broken benchmark, and is to be seen")]

pub(crate) mod hostile;

use super::{
    edge::{client_frames::ClientFrames, websocket::READ_BUFFER},
    link::Link,
    outbox::Bounds,
    packet::Packet,
    recovery::{Claim, Recovery},
    sequencer::{self, Command, Event, Inbox, Sequencer},
    stats::Stats,
};
use crate::{
    chat::{self, Body, Chat, Given, Identity},
    config::{self, Profile},
};
use std::{
    collections::HashMap,
    fmt,
    path::Path,
    sync::{Arc, mpsc},
    time::Instant,
};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// Encodes what is said, as everybody with a WebSocket gets it; so many bytes.
pub(crate) fn encode(event: &str, body: &Body, receiver: &Receiver) -> usize {
    Packet::new(event, body, Some("0123456789ab-123456")).frames(&receiver.0).len()
}

/// One of them.
pub(crate) struct Receiver(Arc<Link>);

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl Default for Receiver {
    fn default() -> Self {
        Self(Link::new(Identity::default(), false, None, Arc::default()))
    }
}

/// Follows frames as a client writes them, in reads of the server's size; whether there was a pong.
#[must_use]
pub fn client_frames(stream: &[u8]) -> bool {
    let mut frames = ClientFrames::default();
    stream.chunks(READ_BUFFER).fold(false, |pong, bytes| frames.feed(bytes).pong | pong)
}

fn settings() -> config::Server {
    let mut settings = config::Config::from_text(config::DEFAULT, None).unwrap().server;
    settings.limits.room_messages.per_second = 0;
    settings.timezone = Some(jiff::tz::TimeZone::UTC);
    settings
}

fn recovery(settings: &config::Server, dir: &Path) -> Recovery {
    Recovery::open(settings, &dir.join("chat.sqlite"), None, &HashMap::new())
        .unwrap_or_else(|_| unreachable!())
        .0
}

/// A journal that is full: what comes pushes out what was there.
pub struct Journal {
    recovery: Recovery,
    body: Body,
    _dir: TempDir,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl Journal {
    /// In which so many messages have their place.
    #[must_use]
    pub fn full(messages: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings();
        settings.recovery.max_messages = messages as u64;
        let body = Body::refusal("chatting", &"as long as people write ".repeat(4));
        let mut journal = Self { recovery: recovery(&settings, dir.path()), body, _dir: dir };
        journal.batch(messages, Instant::now());
        journal
    }

    /// Keeps so many with one commit.
    pub fn batch(&mut self, messages: usize, now: Instant) {
        for _ in 0..messages {
            self.recovery.record(&"room".into(), "chatting", &self.body);
        }
        self.recovery.commit(now);
        assert!(self.recovery.stats().trouble.is_none());
    }
}

/// One room with everything behind the edge.
pub struct Room {
    sequencer: Sequencer,
    commands: mpsc::Receiver<Command>,
    inbox: Inbox,
    members: Vec<Arc<Link>>,
    _dir: TempDir,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("members", &self.members.len()).finish_non_exhaustive()
    }
}

impl Room {
    /// With so many members, and a journal.
    #[must_use]
    pub fn of(members: usize) -> Self {
        let (dir, settings, stats) = (tempfile::tempdir().unwrap(), settings(), Arc::new(Stats::new()));
        let (inbox, commands) = sequencer::inbox(stats.clone());
        let limits = settings.limits;
        let bounds = Bounds { packets: limits.max_queue, bytes: limits.max_queue_bytes };
        let chat = Chat::new(Profile::Web, limits);
        let recovery = recovery(&settings, dir.path());
        let sequencer = Sequencer::new(chat, recovery, bounds, jiff::tz::TimeZone::UTC, stats);
        let mut room = Self { sequencer, commands, inbox, members: Vec::new(), _dir: dir };
        (0..members).for_each(|_| room.connect());
        room.queue(r#"["join_room",{"type":1}]"#, members);
        room.step(Instant::now());
        room
    }

    fn connect(&mut self) {
        let identity = Identity { name: Given::new("kim", 256), room: Given::new("room", 256) };
        let link = Link::new(identity, false, None, Arc::default());
        let (done, _admitted) = oneshot::channel();
        self.inbox.push(Command::Admit(Claim::default(), link.clone(), done));
        self.inbox.push(Command::Arrived(link.clone()));
        self.step(Instant::now());
        link.seen_connect();
        self.members.push(link);
    }

    /// So many of them say this.
    pub fn queue(&mut self, text: &str, speakers: usize) {
        for link in self.members.iter().take(speakers) {
            let (name, payload) = chat::parse(text, Vec::new()).unwrap();
            let link = link.clone();
            self.inbox.push_event(Event { link, name, payload, ack: None, at: Instant::now() });
        }
    }

    /// The sequencer deals with what is queued: judges it, keeps it, and queues what follows for each member.
    pub fn step(&mut self, now: Instant) {
        self.sequencer.step(&self.commands, &mut Vec::new(), now);
    }

    /// What is there for the members leaves; so many bytes.
    pub fn receive(&mut self) -> usize {
        let mut received = 0;
        for link in &self.members {
            while let Some(run) = link.take_run(None) {
                received += run.frames.len();
                link.sent(run.packets);
            }
        }
        received
    }
}
