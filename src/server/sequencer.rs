//! The sequencer: one thread that gives all events one order, applies the chat's rules and sends what follows.
//!
//! It is what makes all members of a room see one order, keeps member counts exact without asking anybody, and
//! knows before it queues a packet that there is room for it (see [`super::outbox`]). It alone changes the chat's
//! state and the rooms of socketioxide, so the two never disagree.
//!
//! Its inbox is bounded by the links' credit. It must never await, and never die of an event: what panics is
//! logged, refused, and over.

use super::{
    link::Link,
    outbox::{Bounds, Peer, TooSlow},
    stats::Stats,
};
use crate::chat::{Body, Chat, Effect, Kind, MemberId, Payload, Refusal, WallTime};
use futures_util::FutureExt;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use socketioxide::{
    BroadcastError, SocketError, SocketIo,
    extract::{AckSender, SocketRef},
};
use std::{
    collections::{HashMap, hash_map::Entry},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Longest wait for the last packets to leave when the server stops.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes an acknowledgement takes in a queue, roughly.
const ACK_SIZE: usize = 48;

/// What the sequencer is asked to do.
pub(super) enum Command {
    /// A client's event.
    Event(Box<Event>),
    /// A socket is gone.
    Gone(MemberId),
    /// Answer, to show that events get through.
    Health(oneshot::Sender<()>),
    /// Deal with all that came before, let it leave, and announce nobody's leaving from now on.
    Drain(oneshot::Sender<()>),
}

/// One event of one client, read but not yet judged.
pub(super) struct Event {
    pub(super) member: MemberId,
    pub(super) socket: SocketRef,
    pub(super) link: Arc<Link>,
    /// Its name on the wire.
    pub(super) name: String,
    pub(super) payload: Result<Payload, Refusal>,
    /// Present when the client asked for an acknowledgement.
    pub(super) ack: Option<AckSender>,
}

/// Where the handlers put what the clients do; cheap to clone.
#[derive(Clone)]
pub(super) struct Inbox(Sender<Command>);

impl Inbox {
    /// Queues a command; without a sequencer (the process is ending) it is lost, as is the process.
    pub(super) fn push(&self, command: Command) {
        let _ = self.0.send(command);
    }

    /// Queues a client's event, on its credit.
    pub(super) fn push_event(&self, event: Event) {
        event.link.take_credit();
        self.push(Command::Event(Box::new(event)));
    }
}

/// An inbox, and the receiving end for [`Sequencer::run`].
pub(super) fn inbox() -> (Inbox, Receiver<Command>) {
    let (sender, receiver) = channel();
    (Inbox(sender), receiver)
}

/// See the module.
pub(super) struct Sequencer {
    io: SocketIo,
    chat: Chat,
    peers: HashMap<MemberId, Peer>,
    bounds: Bounds,
    clock: Clock,
    offsets: Offsets,
    stats: Arc<Stats>,
    /// The server is stopping: nobody is announced as gone.
    quiet: bool,
}

impl Sequencer {
    pub(super) fn new(io: SocketIo, chat: Chat, bounds: Bounds, zone: TimeZone, stats: Arc<Stats>) -> Self {
        let (clock, offsets) = (Clock::new(zone), Offsets::new());
        Self { io, chat, peers: HashMap::new(), bounds, clock, offsets, stats, quiet: false }
    }

    /// Works until every inbox is gone. Must run in the runtime's context: cutting a client spawns.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        while let Ok(command) = commands.recv() {
            if catch_unwind(AssertUnwindSafe(|| self.handle(command))).is_err() {
                tracing::error!("a bug: an event could not be dealt with; it was dropped, the chat goes on");
            }
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Event(event) => self.event(*event),
            Command::Gone(member) => self.gone(member),
            Command::Health(reply) => {
                let _ = reply.send(());
            }
            Command::Drain(reply) => {
                self.quiet = true;
                let deadline = Instant::now() + LAST_WORDS;
                self.peers.values_mut().for_each(|peer| peer.wait_until_sent(deadline));
                let _ = reply.send(());
            }
        }
    }

    fn event(&mut self, event: Event) {
        let Event { member, socket, link, name, payload, ack } = event;
        // Given back however this ends.
        let _credit = Credit(link.clone());
        if let Entry::Vacant(vacant) = self.peers.entry(member) {
            // A late event of a socket that is gone already: nobody would ever take it out of its rooms again.
            if !socket.connected() || link.is_closed() {
                return;
            }
            vacant.insert(Peer::new(socket, link.clone()));
        }
        let result = Kind::named(&name).ok_or(Refusal::UnknownEvent).and_then(|kind| {
            let effects = self.chat.handle(member, &link.identity, kind, &payload?, self.clock.now())?;
            Ok((kind, effects))
        });
        match result {
            Ok((kind, effects)) => {
                self.stats.accepted.fetch_add(1, Relaxed);
                let offset = (kind == Kind::Chat).then(|| self.offsets.next());
                self.perform(effects);
                self.acknowledge(member, ack, &Accepted { ok: true, offset });
            }
            Err(refusal) => {
                self.stats.refused.fetch_add(1, Relaxed);
                self.refuse(member, &name, &refusal, ack);
            }
        }
    }

    fn gone(&mut self, member: MemberId) {
        if let Some(peer) = self.peers.remove(&member) {
            // It may have joined after the engine had forgotten it.
            peer.socket.leave_all();
        }
        let effects = self.chat.gone(member);
        if !self.quiet {
            self.perform(effects);
        }
        self.stats.rooms.store(self.chat.room_count() as u64, Relaxed);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Enter(member, room) => {
                    if let Some(peer) = self.peers.get(&member).filter(|peer| !peer.closed) {
                        peer.socket.join(room.to_string());
                    }
                }
                Effect::Exit(member, room) => {
                    if let Some(peer) = self.peers.get(&member) {
                        peer.socket.leave(room.to_string());
                    }
                }
                Effect::Say(room, event, body) => self.say(&room, event, &body),
                Effect::Tell(member, event, body) => self.tell(member, event, &body),
            }
        }
        self.stats.rooms.store(self.chat.room_count() as u64, Relaxed);
    }

    fn say(&mut self, room: &Arc<str>, event: &'static str, body: &Body) {
        let (mut receivers, size) = (0, body.size());
        for member in self.chat.members(room) {
            let Some(peer) = self.peers.get_mut(&member).filter(|peer| !peer.closed) else { continue };
            match peer.make_room(size, self.bounds) {
                Ok(()) => receivers += 1,
                Err(slow) => close(peer, &slow, &self.stats),
            }
        }
        self.stats.delivered.fetch_add(receivers, Relaxed);
        // Never pending: everything is local.
        let sent = self.io.to(room.to_string()).emit(event, body).now_or_never();
        match sent {
            Some(Err(BroadcastError::Socket(errors)))
                if errors.iter().all(|e| matches!(e, SocketError::Closed)) => {}
            Some(Err(error)) => {
                tracing::error!(%error, room = &**room, "a bug: a packet was not queued for everybody")
            }
            Some(Ok(())) => {}
            None => tracing::error!("a bug: a local broadcast did not finish"),
        }
    }

    fn tell(&mut self, member: MemberId, event: &'static str, body: &Body) {
        if let Some(socket) = self.reach(member, body.size())
            && let Err(error) = socket.emit(event, body)
        {
            tracing::debug!(%error, event, "not sent");
        }
    }

    fn acknowledge(&mut self, member: MemberId, ack: Option<AckSender>, answer: &impl Serialize) {
        if let Some(ack) = ack
            && self.reach(member, ACK_SIZE).is_some()
            && let Err(error) = ack.send(answer)
        {
            tracing::debug!(%error, "not acknowledged");
        }
    }

    fn refuse(&mut self, member: MemberId, event: &str, refusal: &Refusal, ack: Option<AckSender>) {
        tracing::debug!(member, event, %refusal, "refused");
        let reason = refusal.to_string();
        if ack.is_some() {
            self.acknowledge(member, ack, &Refused { error: &reason });
        } else {
            // The name is the client's own; it need not come back whole.
            let event: String = event.chars().take(64).collect();
            self.tell(member, "chat_error", &Body::refusal(&event, &reason));
        }
    }

    /// The socket of a client, with room for one packet; `None` when it is gone or has to go.
    fn reach(&mut self, member: MemberId, size: usize) -> Option<&SocketRef> {
        let peer = self.peers.get_mut(&member).filter(|peer| !peer.closed)?;
        if let Err(slow) = peer.make_room(size, self.bounds) {
            close(peer, &slow, &self.stats);
            return None;
        }
        self.stats.delivered.fetch_add(1, Relaxed);
        Some(&peer.socket)
    }
}

/// Gives up a client that does not keep up. It is told by its connection closing, and may come back.
fn close(peer: &mut Peer, slow: &TooSlow, stats: &Stats) {
    peer.closed = true;
    peer.socket.leave_all();
    if peer.link.is_closed() {
        return; // went by itself meanwhile
    }
    let TooSlow { packets, bytes } = slow;
    tracing::warn!(socket = %peer.socket.id, packets, bytes, "closed a client that does not keep up: its queue is full");
    stats.slow_closed.fetch_add(1, Relaxed);
    peer.link.cut();
}

#[derive(Serialize)]
struct Accepted {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<String>,
}

#[derive(Serialize)]
struct Refused<'a> {
    error: &'a str,
}

/// Returns an event's credit when it has been dealt with.
struct Credit(Arc<Link>);

impl Drop for Credit {
    fn drop(&mut self) {
        self.0.give_credit();
    }
}

/// Numbers the messages: `<epoch>-<number>`, the epoch being this server's start.
struct Offsets {
    epoch: i64,
    last: u64,
}

impl Offsets {
    fn new() -> Self {
        Self { epoch: Timestamp::now().as_millisecond(), last: 0 }
    }

    fn next(&mut self) -> String {
        self.last += 1;
        format!("{:x}-{}", self.epoch, self.last)
    }
}

/// The wall clock of the messages, asked for its zone once a minute.
struct Clock {
    zone: TimeZone,
    minute: i64,
    now: WallTime,
}

impl Clock {
    fn new(zone: TimeZone) -> Self {
        Self { zone, minute: i64::MIN, now: WallTime { hour: 0, minute: 0 } }
    }

    fn now(&mut self) -> WallTime {
        let now = Timestamp::now();
        let minute = now.as_second().div_euclid(60);
        if minute != self.minute {
            let local = self.zone.to_datetime(now);
            self.minute = minute;
            self.now = WallTime {
                hour: u8::try_from(local.hour()).unwrap_or(0),
                minute: u8::try_from(local.minute()).unwrap_or(0),
            };
        }
        self.now
    }
}
