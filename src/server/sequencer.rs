//! The sequencer: one thread that gives all events one order, applies the chat's rules and keeps what follows.
//!
//! It takes what is queued as a batch: judges each event, writes what was said into the journal, commits once, and
//! only then sends it ([`super::delivery`]), in the same order. So whatever anybody has received, or had
//! acknowledged, survives this process.
//!
//! It is what makes all members of a room see one order, and keeps member counts exact without asking anybody. It
//! alone changes the chat's state, the sessions and the audiences, so they never disagree.
//!
//! At rest it deals with what comes at once, and writes it by itself. Under load it lets a batch grow for a moment.
//!
//! Its inbox is bounded by the links' credit. It must never await, and never die of an event: what panics is
//! logged, refused, and over.

mod inbox;
#[cfg(test)]
mod tests;

pub(super) use inbox::{Command, Event, Inbox, inbox};

use super::{
    delivery::{Delivery, Step},
    link::Link,
    outbox::Bounds,
    packet::Ack,
    recovery::{Admission, Due, Entry, Record, Recovery},
    stats::Stats,
    wall_clock::Clock,
};
use crate::{
    chat::{Body, Caller, Chat, Effect, Kind, MemberId, Refusal, RoomId},
    config::RefusedBy,
    control::types,
};
use jiff::tz::TimeZone;
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering::Relaxed, mpsc::Receiver},
    time::{Duration, Instant},
};

/// Longest wait for the last packets to leave when the server stops.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Pause before the next part of what somebody has missed, when its queue is full.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(5);

/// See the module.
pub(super) struct Sequencer {
    chat: Chat,
    recovery: Recovery,
    delivery: Delivery,
    clock: Clock,
    stats: Arc<Stats>,
    /// The server is stopping: who goes now is not gone for the chat.
    closing: bool,
    /// Those all the same, should it go on.
    gone_meanwhile: Vec<(Arc<Link>, bool)>,
    /// What clients have said before they were let in, by their links' numbers: two may be coming back as one member.
    early: HashMap<u64, Vec<Event>>,
    /// What follows from the batch, to be done when it is safe.
    steps: Vec<Step>,
}

impl Sequencer {
    pub(super) fn new(
        chat: Chat,
        recovery: Recovery,
        bounds: Bounds,
        zone: TimeZone,
        stats: Arc<Stats>,
    ) -> Self {
        let delivery = Delivery::new(bounds, recovery.last(), stats.clone());
        Self {
            chat,
            recovery,
            delivery,
            clock: Clock::new(zone),
            stats,
            closing: false,
            gone_meanwhile: Vec::new(),
            early: HashMap::new(),
            steps: Vec::new(),
        }
    }

    /// Works until every inbox is gone.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        let mut batch = Vec::with_capacity(inbox::BATCH);
        while self.wait(commands, &mut batch) {
            self.step(commands, &mut batch, Instant::now());
        }
    }

    /// Deals with the batch, and what else has come meanwhile: judges it, keeps what follows, and then sends it.
    pub(super) fn step(&mut self, commands: &Receiver<Command>, batch: &mut Vec<Command>, now: Instant) {
        inbox::take(commands, batch);
        if !self.closing {
            self.guarded(|me| me.tick(now));
        }
        for command in batch.drain(..) {
            self.guarded(|me| me.handle(command));
        }
        if !self.guarded(|me| me.recovery.commit(now)) {
            self.recovery.fail("a bug: what was said could not be kept");
        }
        for step in std::mem::take(&mut self.steps) {
            self.guarded(|me| me.delivery.perform(step, &mut me.recovery));
        }
        if !self.closing {
            self.guarded(|me| me.delivery.catch_up(&mut me.recovery));
        }
        self.delivery.write_on();
        self.stats.rooms.store(self.chat.room_count() as u64, Relaxed);
    }

    /// Waits for a command, or for something to become due. Whether to go on.
    fn wait(&self, commands: &Receiver<Command>, batch: &mut Vec<Command>) -> bool {
        let due = self.recovery.next_due().filter(|_| !self.closing);
        let due = due.map(|at| at.saturating_duration_since(Instant::now()));
        let pause = self.delivery.is_catching_up().then_some(CATCH_UP_PAUSE);
        inbox::wait(commands, batch, [due, pause].into_iter().flatten().min())
    }

    /// Whether the work was done to its end.
    fn guarded(&mut self, work: impl FnOnce(&mut Self)) -> bool {
        let done = catch_unwind(AssertUnwindSafe(|| work(self))).is_ok();
        if !done {
            tracing::error!("a bug: an event could not be dealt with; it was dropped, the chat goes on");
        }
        done
    }

    fn handle(&mut self, command: Command) {
        match command {
            // Too late: the next process knows nothing of whom this one would let in.
            Command::Admit(_, link, _) if self.closing => link.cut(),
            Command::Admit(claim, link, reply) => {
                // Protocol 3 has no way to say who it was.
                let rights = link.permit.rights();
                let admission = self.recovery.admit(&claim, !link.eio3, rights.as_deref());
                drop(rights);
                let (member, returns) = (admission.member, admission.entry != Entry::New);
                tracing::debug!(conn = link.conn, member, returns, claims = claim.pid.is_some(), "admitted");
                link.admit(admission);
                let _ = reply.send(());
            }
            Command::Arrived(link) => self.arrive(&link),
            Command::Event(event) => {
                self.stats.queued.fetch_sub(1, Relaxed);
                self.event(*event);
            }
            Command::Gone { link, for_good } => self.gone(link, for_good),
            Command::Denied => self.stats.turn_away(RefusedBy::Auth),
            Command::Expired(link) => {
                self.stats.turn_away(RefusedBy::Auth);
                let (member, body) = (link.member(), Body::reason("the token has expired"));
                self.steps.push(Step::Tell { member, event: "auth_expired", body, id: None });
            }
            Command::Health(reply) => self.steps.push(Step::Health(reply)),
            Command::Rooms(count, reply) => {
                let largest = self.chat.largest_rooms(count).into_iter();
                let size = |(room, members): (RoomId, usize)| types::RoomSize {
                    room: room.to_string(),
                    members: members as u64,
                };
                let _ = reply.send(largest.map(size).collect());
            }
            Command::Backlog(reply) => drop(reply.send(self.delivery.backlog())),
            Command::Flush(reply) => self.steps.push(Step::Flush(reply, LAST_WORDS)),
            Command::Close(reply) => {
                self.closing = true;
                self.recovery.close();
                self.steps.push(Step::Closed(reply));
            }
            Command::HandOver(reply) => {
                self.closing = true;
                self.steps.push(Step::HandOver(reply, LAST_WORDS));
            }
            Command::Resume => {
                self.recovery.resume();
                self.closing = false;
                for (link, for_good) in std::mem::take(&mut self.gone_meanwhile) {
                    self.gone(link, for_good);
                }
            }
        }
    }

    /// Those whose connections are about to come from another process, before anything else.
    pub(super) fn board(&mut self, coming: &HashMap<MemberId, &Record>) {
        for (member, record) in coming {
            let seats =
                record.seats.iter().map(|(room, name, _)| (room.as_str().into(), name.as_str().into()));
            self.chat.board(*member, seats.collect());
            self.recovery.board(*member, record);
        }
    }

    fn tick(&mut self, now: Instant) {
        self.recovery.tick(now);
        for due in self.recovery.sessions.due(now) {
            match due {
                Due::Overdue(member) => {
                    let effects = self.chat.overdue(member);
                    self.follow(effects);
                }
                Due::Expired(member) => {
                    let effects = self.chat.gone(member);
                    self.follow(effects);
                    self.recovery.forget(member);
                }
            }
        }
    }

    /// Lets a client in, and deals with what it has said already.
    fn arrive(&mut self, link: &Arc<Link>) {
        // Without an admission it is gone again, and its end was dealt with before.
        let Some(Admission { member, pid, entry }) = link.take_admission() else { return };
        let (link, conn) = (link.clone(), link.conn);
        let rooms = self.recovery.sessions.get(member).map(|session| session.rooms());
        match (entry, rooms) {
            (Entry::Back(from), Some(rooms)) => {
                if let Some(old) = self.recovery.returned(member, link.clone()) {
                    // An earlier connection of the same client that nobody has given up yet.
                    old.cut();
                    self.chat.lost(member);
                }
                tracing::debug!(conn, member, "recovered");
                self.chat.back(member);
                self.steps.push(Step::Return { member, link, from, rooms });
            }
            (Entry::Moved(from), Some(rooms)) if self.recovery.moved(member, link.clone()) => {
                tracing::debug!(conn, member, "taken over");
                self.steps.push(Step::Return { member, link, from, rooms });
            }
            // It has expired since it was told that it is recovered, or has come back by another connection before its
            // own had moved: it has to come again.
            (Entry::Back(_) | Entry::Moved(_), _) => {
                self.early.remove(&conn);
                return link.cut();
            }
            (Entry::New, _) => {
                tracing::debug!(conn, member, "connected");
                self.recovery.arrived(member, pid, link.clone());
                let rights = link.permit.rights();
                let caller = Caller { said: &link.identity, rights: rights.as_deref() };
                let effects = self.chat.step_in(member, caller);
                self.steps.push(Step::Arrive { member, link });
                self.follow(effects);
            }
        }
        for event in self.early.remove(&conn).unwrap_or_default() {
            self.event(event);
        }
    }

    fn is_current(&self, member: MemberId, link: &Arc<Link>) -> bool {
        let session = self.recovery.sessions.get(member);
        session.and_then(|session| session.link.as_ref()).is_some_and(|current| Arc::ptr_eq(current, link))
    }

    fn event(&mut self, event: Event) {
        let member = event.link.member();
        if !self.is_current(member, &event.link) {
            // The client is quicker than the news that it is connected, before which nothing can be sent to it.
            // What comes after its end is over. Each waits on its credit.
            if event.link.is_admitted() {
                self.early.entry(event.link.conn).or_default().push(event);
            } else {
                event.link.give_credit();
            }
            return;
        }
        let Event { link, name, payload, ack, at } = event;
        // Given back when all that follows has been done, however this ends.
        let credit = Credit { link: link.clone(), at };
        // Without a journal nothing is accepted any more: the next process is about to go on.
        if self.closing {
            return;
        }
        tracing::trace!(target: "chatctl::messages", conn = link.conn, member, name, ?payload, "said");
        let result = Kind::named(&name).ok_or(Refusal::UnknownEvent).and_then(|kind| {
            let effects = {
                let rights = link.permit.rights();
                let caller = Caller { said: &link.identity, rights: rights.as_deref() };
                self.chat.handle(member, caller, kind, &payload?, self.clock.now())?
            };
            Ok((kind, effects))
        });
        match result {
            Ok((kind, effects)) => {
                self.stats.accepted.fetch_add(1, Relaxed);
                tracing::trace!(conn = link.conn, member, event = name, "accepted");
                let newcomer = kind == Kind::Join;
                let last = self.follow_as(effects, newcomer, kind == Kind::Chat);
                let id = last.filter(|_| kind == Kind::Chat);
                self.steps.extend(ack.map(|ack| Step::Accept { member, ack, id }));
            }
            Err(refusal) => {
                self.stats.refused.fetch_add(1, Relaxed);
                refusal.limit().into_iter().for_each(|limit| self.stats.turn_away(limit));
                // What it called the event is its own text.
                let event = Kind::named(&name).map_or("unknown", |_| name.as_str());
                tracing::debug!(conn = link.conn, member, event, %refusal, "refused");
                self.steps.push(refuse(member, &name, &refusal, ack));
            }
        }
        self.steps.push(Step::Credit(credit));
    }

    fn gone(&mut self, link: Arc<Link>, for_good: bool) {
        let member = link.member();
        let current = self.is_current(member, &link);
        tracing::debug!(conn = link.conn, member, for_good, current, "gone");
        // Who comes from another process may be gone before it has arrived.
        let admission = if current { None } else { link.take_admission() };
        if admission.is_some() {
            let early = self.early.remove(&link.conn).unwrap_or_default();
            early.iter().for_each(|event| event.link.give_credit());
        }
        let moved = admission.is_some_and(|admission| matches!(admission.entry, Entry::Moved(_)))
            && self.recovery.moved(member, link.clone());
        if self.closing && current {
            return self.gone_meanwhile.push((link, for_good));
        }
        self.steps.push(Step::Leave { member, link });
        if !(current || moved) {
            return;
        }
        if for_good {
            let effects = self.chat.gone(member);
            self.follow(effects);
            self.recovery.forget(member);
        } else {
            self.chat.lost(member);
            self.recovery.lost(member);
        }
    }

    fn follow(&mut self, effects: Vec<Effect>) {
        self.follow_as(effects, false, false);
    }

    /// Keeps what follows, and has it done when that is safe. Gives the id of what was said last.
    fn follow_as(&mut self, effects: Vec<Effect>, newcomer: bool, message: bool) -> Option<u64> {
        let mut last = None;
        for effect in effects {
            let step = match effect {
                Effect::Enter(member, room, name) => {
                    let (since, new) = self.recovery.seated(member, &room, &name);
                    let history = (newcomer && new).then(|| self.recovery.remembered(&room)).flatten();
                    self.steps.push(Step::Enter { member, room, since });
                    let Some(body) = history else { continue };
                    Step::Tell { member, event: "history", body, id: None }
                }
                Effect::Exit(member, room) => {
                    self.recovery.unseated(member, &room);
                    Step::Exit { member, room }
                }
                Effect::Say(room, event, body) => {
                    let id = self.recovery.record(&room, event, &body);
                    if message {
                        self.recovery.remember(&room, id, &body);
                    }
                    last = Some(id);
                    Step::Say { room, event, body, id }
                }
                Effect::Tell(member, event, body) => {
                    let id = self.recovery.record_for(member, event, &body);
                    Step::Tell { member, event, body, id: Some(id) }
                }
                Effect::Stands(member, standing) => {
                    self.recovery.stands(member, standing);
                    continue;
                }
            };
            self.steps.push(step);
        }
        last
    }
}

fn refuse(member: MemberId, event: &str, refusal: &Refusal, ack: Option<Ack>) -> Step {
    let reason = refusal.to_string();
    match ack {
        Some(ack) => Step::Refuse { member, ack, reason },
        None => {
            // The name is the client's own; it need not come back whole.
            let event: String = event.chars().take(64).collect();
            Step::Tell { member, event: "chat_error", body: Body::refusal(&event, &reason), id: None }
        }
    }
}

/// Returns an event's credit when it has been dealt with.
pub(super) struct Credit {
    link: Arc<Link>,
    /// When the event came.
    pub(super) at: Instant,
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.link.give_credit();
    }
}
