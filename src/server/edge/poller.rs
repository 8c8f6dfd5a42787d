//! A session whose client polls: between two requests nobody has it, so it is kept here, with what waits to be fetched.

use super::session::{End, Session, UNANSWERED, protocol};
use crate::{
    frames::{Frame, Frames, TEXT, push_frame},
    server::link::{Link, lock},
};
use bytes::Bytes;
use engineioxide_core::{
    Packet, PacketBuf, Sid,
    payload::{self, Payload},
};
use futures_util::{stream, task::AtomicWaker};
use std::{
    future::poll_fn,
    iter, mem,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering::*},
    },
    task::Poll,
    time::Instant,
};
use tokio::sync::Notify;

/// A reply is as long as this, and one packet more.
const REPLY: usize = 256 << 10;
/// Between packets of a reply (Engine.IO protocol 4, "Packet encoding").
const SEPARATOR: u8 = 0x1e;
/// Engine.IO packets: the session is closed; nothing, in answer to somebody who waits.
pub(super) const CLOSE: &[u8] = b"1";
const NOOP: &[u8] = b"6";

/// Who knows polling sessions by their ids.
pub(in crate::server) trait Sessions: Send + Sync {
    /// There is no such session any more.
    fn forget(&self, sid: &Sid);
}

/// See the module.
pub(in crate::server) struct Poller {
    sid: Sid,
    /// The client wants base64 instead of binary (protocol 3).
    b64: bool,
    sessions: Weak<dyn Sessions>,
    /// `None`: it has ended, or is a WebSocket's now.
    session: Mutex<Option<Session>>,
    /// What the session has answered, as frames. It comes before what the sequencer says.
    answers: Mutex<Vec<u8>>,
    /// Its client is trying a WebSocket, and no other.
    trying: AtomicBool,
    /// And has been answered: what waits here is for that.
    upgrading: AtomicBool,
    /// The task that keeps its time.
    keeper: AtomicWaker,
    /// GETs that wait for packets now.
    gets: AtomicU32,
    /// Told when those are to look again who wait: there is something to fetch, or to go on with, or it has ended.
    changed: Notify,
    /// How it takes leave when the server stops.
    pub(super) leave: Leave,
}

/// A polling session on its way out: when the server stops, it has to be known that nothing of it is under way.
#[derive(Default)]
pub(super) struct Leave {
    /// POSTs that are being taken in, and when the last one was.
    pub(super) posts: AtomicU32,
    pub(super) last_post: Mutex<Option<Instant>>,
    /// It was told to go.
    pub(super) told: AtomicBool,
}

impl Poller {
    /// Without a session yet.
    pub(super) fn new(sid: Sid, b64: bool, sessions: Weak<dyn Sessions>) -> Self {
        Self {
            sid,
            b64,
            sessions,
            session: Mutex::default(),
            answers: Mutex::default(),
            trying: AtomicBool::new(false),
            upgrading: AtomicBool::new(false),
            keeper: AtomicWaker::new(),
            gets: AtomicU32::new(0),
            changed: Notify::new(),
            leave: Leave::default(),
        }
    }

    /// This is its session; somebody has to [`keep`] it.
    pub(super) fn begin(&self, session: Session) {
        *lock(&self.session) = Some(session);
    }

    /// Whether its client waits for something to fetch.
    pub(in crate::server) fn is_listening(&self) -> bool {
        self.gets.load(Acquire) > 0
    }

    /// Has those look again who wait.
    pub(in crate::server) fn wake(&self) {
        self.changed.notify_waiters();
    }

    /// Its client tries a WebSocket; whether it is the only one.
    pub(in crate::server) fn begin_trial(&self) -> bool {
        !self.trying.swap(true, AcqRel)
    }

    /// Whether its client is trying a WebSocket.
    pub(super) fn is_upgrading(&self) -> bool {
        self.upgrading.load(Acquire)
    }

    /// It has tried, and been answered: what is said from now on is for the WebSocket.
    pub(super) fn begin_upgrade(&self) {
        self.upgrading.store(true, Release);
        self.wake();
    }

    /// It has not succeeded.
    pub(in crate::server) fn give_up_upgrade(&self) {
        self.upgrading.store(false, Release);
        self.trying.store(false, Release);
        self.wake();
    }

    /// The session, for a WebSocket.
    pub(super) fn take_session(&self) -> Option<Session> {
        let mut session = lock(&self.session).take()?;
        session.answered_before(&mem::take(&mut *lock(&self.answers)));
        self.keeper.wake();
        Some(session)
    }

    /// Waits until more of its client may be read.
    pub(super) async fn credit(&self, link: &Link) {
        self.watch(|| (link.has_credit() || link.is_closed()).then_some(())).await;
    }

    /// Takes in a packet.
    ///
    /// # Errors
    /// The session has ended, and why if it is by this.
    pub(super) fn hear(&self, packet: Packet) -> Result<(), Option<End>> {
        let mut place = lock(&self.session);
        let session = place.as_mut().ok_or(None)?;
        if lock(&self.answers).len() > UNANSWERED {
            return Err(Some(End::Deaf));
        }
        session.hear(packet).map_err(Some)?;
        self.keep_answers(session);
        // It may have something to wait for.
        self.keeper.wake();
        Ok(())
    }

    fn keep_answers(&self, session: &mut Session) {
        if !session.answers().is_empty() {
            lock(&self.answers).extend_from_slice(session.answers());
            session.answered();
            self.wake();
        }
    }

    /// Ends the session, if it is still here. A client that waits is told so, but for one that has closed it itself.
    pub(super) fn end(&self, link: &Link, why: &End) {
        let Some(mut session) = lock(&self.session).take() else { return };
        session.end(why);
        push_frame(&mut lock(&self.answers), TEXT, &[if *why == End::Closed { NOOP } else { CLOSE }]);
        self.keeper.wake();
        link.close();
        self.wake();
    }

    /// Its client is sent away, and comes back by itself.
    pub(in crate::server) fn cut(&self, link: &Link) {
        self.end(link, &End::SentAway);
    }

    /// Nobody holds the link any more.
    pub(in crate::server) fn forget(&self) {
        if let Some(sessions) = self.sessions.upgrade() {
            sessions.forget(&self.sid);
        }
    }

    // --- what is fetched

    /// A GET that waits for as long as this is kept; `None`: another one does already.
    pub(super) fn listen(&self) -> Option<Counted<'_>> {
        let before = self.gets.fetch_add(1, AcqRel);
        let listening = Counted(&self.gets);
        (before == 0).then_some(listening)
    }

    /// Waits until there is something to look at, after this look. Gives what it finds.
    pub(super) async fn watch<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            // Made before the look, it hears of what changes meanwhile.
            let changed = self.changed.notified();
            if let Some(found) = look() {
                return found;
            }
            changed.await;
        }
    }

    /// What waits to be fetched, as frames; `None`: nothing does.
    pub(super) fn fetch(&self, link: &Link) -> Option<Vec<u8>> {
        // Held: what is answered meanwhile comes before what is said meanwhile.
        let mut answers = lock(&self.answers);
        let (mut frames, mut packets) = (mem::take(&mut *answers), 0);
        while frames.len() < REPLY
            && !link.is_closed()
            && let Some(run) = link.take_run(None)
        {
            frames.extend_from_slice(&run.frames);
            packets += run.packets;
        }
        link.sent(packets);
        (!frames.is_empty()).then_some(frames)
    }

    /// The body of a reply with these frames, and whether it is binary.
    pub(super) async fn encode(&self, frames: &[u8], eio3: bool) -> (Bytes, bool) {
        // Protocol 4 has texts stand as they are, one after the other, and there is hardly ever anything else.
        if !eio3 && Frames(frames).all(|frame| frame.is_text()) {
            let texts: Vec<_> = Frames(frames).map(|frame| frame.payload).collect();
            return (texts.join(&SEPARATOR).into(), false);
        }
        let packets = Frames(frames).filter_map(|frame| packet(&frame, eio3));
        let packets: Vec<_> = packets.map(|packet| PacketBuf::from_iter(iter::once(packet))).collect();
        let encoded = payload::encoder(stream::iter(packets), protocol(eio3), !self.b64, u64::MAX).await;
        let Payload { data, has_binary, .. } = encoded;
        (data, has_binary)
    }
}

fn packet(frame: &Frame<'_>, eio3: bool) -> Option<Packet> {
    if frame.is_text() {
        return Packet::parse(protocol(eio3), String::from_utf8_lossy(frame.payload).into_owned()).ok();
    }
    match (eio3, frame.payload) {
        (false, data) => Some(Packet::Binary(Bytes::copy_from_slice(data))),
        // Its type, which the encoder writes itself.
        (true, [_, data @ ..]) => Some(Packet::BinaryV3(Bytes::copy_from_slice(data))),
        (true, []) => None,
    }
}

/// Keeps the time of a session until it ends or is a WebSocket's.
pub(super) async fn keep(link: Arc<Link>) {
    let Some(poller) = &link.polling else { return };
    let end = poll_fn(|cx| {
        poller.keeper.register(cx.waker());
        let mut place = lock(&poller.session);
        let Some(session) = place.as_mut() else { return Poll::Ready(None) };
        let end = session.poll(cx);
        poller.keep_answers(session);
        end.map(Some)
    });
    if let Some(end) = end.await {
        poller.end(&link, &end);
    }
}

/// Counts a request for as long as it lasts, also when its client goes away meanwhile.
pub(super) struct Counted<'a>(&'a AtomicU32);

impl<'a> Counted<'a> {
    pub(super) fn new(requests: &'a AtomicU32) -> Self {
        requests.fetch_add(1, AcqRel);
        Self(requests)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, AcqRel);
    }
}
