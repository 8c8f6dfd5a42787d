//! The link: what edge and sequencer know in common of one Engine.IO session.
//!
//! What the sequencer has sent waits here until it leaves, whatever the transport. Both ends are counted: the sequencer
//! counts the packets it queues, the edge those that leave. The difference is the backlog, and the sequencer keeps it
//! below the queue's size: nothing is ever dropped in silence.
//!
//! Against a client that sends faster than it can be served, a link has credit: with [`CREDIT`] of its events
//! waiting, the edge reads no more from it. What waits is therefore bounded by the credit plus one read.

mod outgoing;
mod travel;

pub(super) use crate::lock::lock;
pub(super) use travel::Stage;

use super::{
    doors::Ticket,
    edge::Poller,
    living::{Counted, Kind, Living},
    permit::Permit,
    recovery::{Admission, Pid},
};
use crate::{
    chat::{Identity, MemberId},
    config::RefusedBy,
};
use futures_util::task::AtomicWaker;
use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::*},
    },
    task::Waker,
    thread::Thread,
    time::Instant,
};

/// Events of one client that may wait for the sequencer before its transport is read no further.
pub(super) const CREDIT: u32 = 256;

/// See the module.
pub(super) struct Link {
    /// Its number in the log: the session's own id is a secret, whoever has it can speak for the client.
    pub(super) conn: u64,
    /// When it came.
    pub(super) born: Instant,
    /// Who the client said it is.
    pub(super) identity: Identity,
    /// Engine.IO 3 (clients 2.x).
    pub(super) eio3: bool,
    transport: AtomicU8,
    cut: AtomicBool,
    closed: AtomicBool,
    /// Events in the sequencer's inbox.
    waiting: AtomicU32,
    outgoing: outgoing::Outgoing,
    /// Socket.IO packets that left for the client.
    sent: AtomicU64,
    /// Where the sequencer's own count stood when it last let go of this link.
    pub(super) queued: AtomicU64,
    /// The kernel takes no more: the client is not reading.
    stalled: AtomicBool,
    /// The sequencer waits for the backlog to shrink.
    awaited: AtomicBool,
    sequencer: OnceLock<Thread>,
    /// The task of its WebSocket.
    reader: AtomicWaker,
    /// Who it is in the chat; 0: not known yet.
    member: AtomicUsize,
    /// How it comes in, until the sequencer has let it in.
    admission: Mutex<Option<Admission>>,
    /// The client knows connection state recovery, and with it how to go on after a packet that is none.
    modern: AtomicBool,
    /// The client said that it goes for good.
    farewell: AtomicBool,
    drain: AtomicU8,
    /// The client is told that it is connected.
    connected: AtomicBool,
    rooted: AtomicBool,
    stage: AtomicU8,
    moving: Mutex<travel::Moving>,
    /// Only what began as polling has one.
    pub(super) polling: Option<Box<Poller>>,
    living: Arc<Living>,
    counted: Counted,
    /// What it was let in by, and how fast it may be.
    pub(super) ticket: OnceLock<Ticket>,
    /// What its token allows, where tokens are asked for.
    pub(super) permit: Permit,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.living.forget(self.conn);
        if let Some(polling) = &self.polling {
            polling.forget();
        }
        self.living.recount(&mut lock(&self.counted), None);
        self.living.settled();
        tracing::debug!(conn = self.conn, "forgotten");
    }
}

const POLLING: u8 = 0;
const WEBSOCKET: u8 = 1;

/// How far the server is with saying goodbye, when it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Drain {
    /// It does not stop.
    Not,
    /// The client is told to go, once it has taken in what was sent.
    Start,
    /// It is told now: it had its time.
    Late,
}

impl Link {
    /// A link for a session that begins as WebSocket, or as polling with what only that has.
    pub(super) fn new(
        identity: Identity,
        eio3: bool,
        polling: Option<Box<Poller>>,
        living: Arc<Living>,
    ) -> Arc<Self> {
        Arc::new(Self::of(identity, eio3, polling, living))
    }

    fn of(identity: Identity, eio3: bool, polling: Option<Box<Poller>>, living: Arc<Living>) -> Self {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(1);
        let conn = CONNECTIONS.fetch_add(1, Relaxed);
        tracing::debug!(conn, eio3, polling = polling.is_some(), "opened");
        Self {
            conn,
            born: Instant::now(),
            identity,
            eio3,
            transport: AtomicU8::new(if polling.is_some() { POLLING } else { WEBSOCKET }),
            cut: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            waiting: AtomicU32::new(0),
            outgoing: outgoing::Outgoing::default(),
            sent: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            awaited: AtomicBool::new(false),
            sequencer: OnceLock::new(),
            reader: AtomicWaker::new(),
            member: AtomicUsize::new(0),
            admission: Mutex::new(None),
            modern: AtomicBool::new(false),
            farewell: AtomicBool::new(false),
            drain: AtomicU8::new(Drain::Not as u8),
            connected: AtomicBool::new(false),
            rooted: AtomicBool::new(false),
            stage: AtomicU8::new(Stage::Here as u8),
            moving: Mutex::default(),
            polling,
            living,
            counted: Counted::default(),
            ticket: OnceLock::new(),
            permit: Permit::default(),
        }
    }

    // --- who it is

    /// Says who the client is in the chat, and under which id it may come back.
    pub(super) fn admit(&self, admission: Admission) {
        self.member.store(admission.member, Release);
        *lock(&self.admission) = Some(admission);
        let mut counted = lock(&self.counted);
        let kind = if self.is_websocket() { Kind::WebSocket } else { Kind::Polling };
        if counted.is_none() {
            self.living.recount(&mut counted, Some(kind));
        }
    }

    /// See [`Link::admit`]; 0: nobody yet.
    pub(super) fn member(&self) -> MemberId {
        self.member.load(Acquire)
    }

    /// Under which id the client may come back, when it is let in.
    pub(super) fn pid(&self) -> Option<Pid> {
        lock(&self.admission).as_ref()?.pid
    }

    /// Whether it is still to be let in.
    pub(super) fn is_admitted(&self) -> bool {
        lock(&self.admission).is_some()
    }

    /// How it comes in, once.
    pub(super) fn take_admission(&self) -> Option<Admission> {
        let admission = lock(&self.admission).take();
        self.living.settled();
        admission
    }

    /// The client is told that it is connected.
    pub(super) fn seen_connect(&self) {
        self.connected.store(true, Release);
        self.living.settled();
    }

    /// See [`Link::seen_connect`].
    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Acquire)
    }

    /// The client is seen to know connection state recovery.
    pub(super) fn seen_modern(&self) {
        self.modern.store(true, Relaxed);
    }

    /// See [`Link::seen_modern`].
    pub(super) fn is_modern(&self) -> bool {
        self.modern.load(Relaxed)
    }

    /// The client says that it goes for good, as a tab that is closed.
    pub(super) fn say_farewell(&self) {
        self.farewell.store(true, Release);
    }

    /// See [`Link::say_farewell`].
    pub(super) fn said_farewell(&self) -> bool {
        self.farewell.load(Acquire)
    }

    /// The server stops: lets the client go, or makes it.
    pub(super) fn drain(&self, how: Drain) {
        self.drain.fetch_max(how as u8, AcqRel);
        self.wake();
    }

    /// How far that is.
    pub(super) fn draining(&self) -> Drain {
        match self.drain.load(Acquire) {
            0 => Drain::Not,
            1 => Drain::Start,
            _ => Drain::Late,
        }
    }

    /// The session has moved from polling to WebSocket.
    pub(super) fn upgraded(&self) {
        let mut counted = lock(&self.counted);
        self.transport.store(WEBSOCKET, Release);
        if *counted == Some(Kind::Polling) {
            self.living.recount(&mut counted, Some(Kind::WebSocket));
        }
        self.living.settled();
        tracing::debug!(conn = self.conn, "upgraded");
    }

    /// Whether it is a WebSocket now.
    pub(super) fn is_websocket(&self) -> bool {
        self.transport.load(Acquire) == WEBSOCKET
    }

    /// Its client tries a WebSocket; not while it tries another, nor when it has one: one task at a time is woken.
    pub(super) fn begins_trial(&self) -> bool {
        !self.is_websocket() && self.polling.as_ref().is_some_and(|polling| polling.begin_trial())
    }

    /// It has come to nothing.
    pub(super) fn ends_trial(&self) {
        if let Some(polling) = &self.polling {
            polling.give_up_upgrade();
        }
    }

    /// Breaks the transport: the client sees its connection close and comes back by itself.
    ///
    /// Never by Socket.IO's own disconnect, after which clients stay away.
    pub(super) fn cut(&self) {
        if !self.cut.swap(true, AcqRel) {
            tracing::debug!(conn = self.conn, "cut");
        }
        if let Some(polling) = &self.polling {
            polling.cut(self);
        }
        self.wake();
    }

    /// Whether it was cut.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Acquire)
    }

    /// The transport is gone.
    pub(super) fn close(&self) {
        self.closed.store(true, SeqCst);
        self.living.settled();
        tracing::debug!(conn = self.conn, "transport closed");
        self.wake_sequencer();
    }

    /// Its client did not connect in time.
    pub(super) fn never_connected(&self) {
        if let Some(ticket) = self.ticket.get() {
            ticket.turn_away(RefusedBy::HandshakeTimeout);
        }
    }

    /// Whether nothing sent on it can arrive any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst) || self.is_cut()
    }

    /// Has whoever has the transport look again: there is something to read, to write, or to go on with.
    pub(super) fn wake(&self) {
        self.reader.wake();
        if let Some(polling) = &self.polling {
            polling.wake();
        }
    }

    // --- what comes in

    /// One more event of this client waits for the sequencer.
    pub(super) fn take_credit(&self) {
        self.waiting.fetch_add(1, AcqRel);
    }

    /// The sequencer has dealt with one; at half the credit the transport is read on.
    pub(super) fn give_credit(&self) {
        if self.waiting.fetch_sub(1, AcqRel) == CREDIT / 2 {
            self.wake();
        }
    }

    /// Whether its transport may be read.
    pub(super) fn has_credit(&self) -> bool {
        let paused = self.ticket.get().is_some_and(|ticket| ticket.pace.is_paused());
        self.waiting.load(Acquire) < CREDIT && !paused
    }

    // --- what goes out

    /// `packets` of the sequencer's left for the client.
    pub(super) fn sent(&self, packets: u64) {
        if packets > 0 {
            self.sent.fetch_add(packets, SeqCst);
            self.wake_sequencer();
        }
    }

    /// The kernel took everything, or does not take more.
    pub(super) fn stall(&self, stalled: bool) {
        if self.stalled.load(Relaxed) != stalled {
            self.stalled.store(stalled, SeqCst);
            self.wake_sequencer();
        }
    }

    /// Packets that left so far.
    pub(super) fn sent_so_far(&self) -> u64 {
        self.sent.load(SeqCst)
    }

    /// Whether the client is what holds things up, rather than this server's own pace. On its way to another process a
    /// connection takes everything, whatever its client does.
    pub(super) fn is_stalled(&self) -> bool {
        if self.stage() != Stage::Here {
            return false;
        }
        match &self.polling {
            Some(polling) if !self.is_websocket() => !polling.is_listening(),
            _ => self.stalled.load(SeqCst),
        }
    }

    /// The sequencer wants to be woken by what leaves, until it says `false`.
    ///
    /// It says so, and looks once more; the edge changes what there is to see, and looks whether it was said. One of
    /// the two sees the other only where all four are in one order: hence `SeqCst`.
    pub(super) fn await_progress(&self, waiting: bool) {
        if waiting {
            self.sequencer.get_or_init(std::thread::current);
        }
        self.awaited.store(waiting, SeqCst);
        if waiting {
            self.wake();
        }
    }

    fn wake_sequencer(&self) {
        if self.awaited.load(SeqCst)
            && let Some(thread) = self.sequencer.get()
        {
            thread.unpark();
        }
    }

    /// Registers who reads the transport, for [`Link::cut`] and returning credit.
    pub(super) fn register_reader(&self, waker: &Waker) {
        self.reader.register(waker);
    }
}
