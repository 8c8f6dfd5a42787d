//! The server's part of [`crate::workbench`].
#![expect(clippy::unwrap_used, reason = "what does not work here is a broken benchmark, and is to be seen")]

pub(crate) mod hostile;

use super::{
    edge::client_frames::ClientFrames,
    engine_builder,
    link::Link,
    outbox::Bounds,
    packet::Packet,
    recovery::Recovery,
    sequencer::{self, Command, Event, Inbox, Sequencer},
    socket,
    stats::Stats,
};
use crate::{
    chat::{self, Body, Chat, Given, Identity},
    config::{self, Profile},
};
use socketioxide::service::SocketIoService;
use std::{
    collections::HashMap,
    fmt,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed, mpsc},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncWriteExt, DuplexStream, duplex},
    runtime::Runtime,
    task::yield_now,
};
use tower_service::Service;

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

/// Follows frames as a client writes them, in reads of so many bytes; whether there was a pong.
#[must_use]
pub fn client_frames(stream: &[u8], read: usize) -> bool {
    let mut frames = ClientFrames::default();
    stream.chunks(read).fold(false, |pong, bytes| frames.feed(bytes).pong | pong)
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

/// More than a client is ever behind here: what is read ends where a frame does.
const WIRE: usize = 1 << 22;
/// A client's `40`: it connects.
const CONNECT: &[u8] = b"\x81\x82\0\0\0\x0040";

/// One room with everything between its members and the sequencer but the edge and the network.
pub struct Room {
    sequencer: Sequencer,
    commands: mpsc::Receiver<Command>,
    inbox: Inbox,
    stats: Arc<Stats>,
    members: Vec<(Arc<Link>, DuplexStream)>,
    runtime: Runtime,
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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let context = runtime.enter();
        let (dir, settings, stats) = (tempfile::tempdir().unwrap(), settings(), Arc::new(Stats::new()));
        // Nobody answers the heartbeat that is sent at once.
        let (engine, io) =
            engine_builder(&settings.limits).ping_timeout(Duration::from_secs(86_400)).build_svc();
        let (inbox, commands) = sequencer::inbox(stats.clone());
        socket::install(&io, inbox.clone(), None);
        let limits = settings.limits;
        let bounds = Bounds { packets: limits.max_queue, bytes: limits.max_queue_bytes };
        let chat = Chat::new(Profile::Web, limits);
        let recovery = recovery(&settings, dir.path());
        let sequencer = Sequencer::new(chat, recovery, bounds, jiff::tz::TimeZone::UTC, stats.clone());
        drop(context);
        let mut room = Self { sequencer, commands, inbox, stats, members: Vec::new(), runtime, _dir: dir };
        (0..members).for_each(|_| room.connect(&engine));
        room.queue(r#"["join_room",{"type":1}]"#, members);
        room.step(Instant::now());
        room
    }

    fn connect(&mut self, engine: &SocketIoService<engineioxide::service::NotFoundService>) {
        let (mut ours, theirs) = duplex(WIRE);
        let identity = Identity { name: Given::new("kim", 256), room: Given::new("room", 256) };
        let link = Link::new(identity, false, None, Arc::default());
        let mut request = http::Request::new(());
        *request.uri_mut() = http::Uri::from_static("/socket.io/?EIO=4&transport=websocket");
        request.extensions_mut().insert(link.clone());
        self.runtime.block_on(async {
            let call = Service::<(DuplexStream, http::Request<()>)>::call;
            call(&mut engine.clone(), (theirs, request)).await.unwrap();
            ours.write_all(CONNECT).await.unwrap();
        });
        while self.stats.connections.load(Relaxed) as usize == self.members.len() {
            self.runtime.block_on(yield_now());
            self.step(Instant::now());
        }
        link.seen_connect();
        self.members.push((link, ours));
    }

    /// So many of them say this.
    pub fn queue(&mut self, text: &str, speakers: usize) {
        for (link, _) in self.members.iter().take(speakers) {
            let (name, payload) = chat::parse(text, Vec::new()).unwrap();
            let link = link.clone();
            self.inbox.push_event(Event { link, name, payload, ack: None, at: Instant::now() });
        }
    }

    /// The sequencer deals with what is queued: judges it, keeps it, and queues what follows for each member.
    pub fn step(&mut self, now: Instant) {
        let _context = self.runtime.enter();
        self.sequencer.step(&self.commands, &mut Vec::new(), now);
    }

    /// What is there for the members leaves; so many bytes.
    pub fn receive(&mut self) -> usize {
        let mut received = 0;
        for (link, _) in &self.members {
            while let Some(run) = link.take_run(None) {
                received += run.frames.len();
                link.sent(run.packets);
            }
        }
        received
    }
}
