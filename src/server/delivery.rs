//! Delivery: what the sequencer has decided and made safe goes out here, step by step, in order.
//!
//! It knows who really receives what now: the audience of each room. That is not always who is in it: somebody who
//! has come back is first replayed what it missed, a part at a time as its queue has room, and only then hears the
//! rest. An event of an id goes to each member once, in the order of the ids, replayed or not.

use super::{
    handover::{Leaving, Traveller},
    link::{Link, Stage},
    outbox::{Bounds, Peer, TooSlow},
    packet::{Ack, Packet},
    recovery::Recovery,
    sequencer::Credit,
    stats::Stats,
};
use crate::{
    chat::{Body, MemberId, RoomId},
    control::types,
    slack::give_back,
};
use indexmap::IndexSet;
use serde::Serialize;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// To so many it is written here, at once: to wake their tasks would take as long. Beyond that the writing, some
/// milliseconds of it, is shared among the runtime's threads.
const AT_ONCE: usize = 512;
/// Bytes an acknowledgement takes in a queue, roughly.
const ACK_SIZE: usize = 48;

/// One thing to be done.
pub(super) enum Step {
    /// A newcomer is connected.
    Arrive { member: MemberId, link: Arc<Link> },
    /// Somebody is back: it is to be told what was said in its rooms after `from`, and since it entered each.
    Return { member: MemberId, link: Arc<Link>, from: u64, rooms: Vec<(RoomId, u64)> },
    /// Its connection is gone.
    Leave { member: MemberId, link: Arc<Link> },
    /// It hears what is said in the room after this id.
    Enter { member: MemberId, room: RoomId, since: u64 },
    /// It no longer does.
    Exit { member: MemberId, room: RoomId },
    /// To everybody in the room.
    Say { room: RoomId, event: &'static str, body: Body, id: u64 },
    /// To one member; with an id if it is kept.
    Tell { member: MemberId, event: &'static str, body: Body, id: Option<u64> },
    /// What a client asked for is done; a message has an id.
    Accept { member: MemberId, ack: Ack, id: Option<u64> },
    /// It is not.
    Refuse { member: MemberId, ack: Ack, reason: String },
    /// All that followed from an event has been done.
    Credit(Credit),
    /// Say that events get through.
    Health(oneshot::Sender<types::Recovery>),
    /// Wait for what was sent to leave, so long at most.
    Flush(oneshot::Sender<()>, Duration),
    /// The journal is closed.
    Closed(oneshot::Sender<()>),
    /// Wait for what was sent to leave, let go of the journal, and say who can go to another process.
    HandOver(oneshot::Sender<Leaving>, Duration),
}

/// See the module.
pub(super) struct Delivery {
    peers: HashMap<MemberId, Peer>,
    audience: HashMap<RoomId, IndexSet<MemberId>>,
    /// Those that are still being told what they missed.
    behind: HashSet<MemberId>,
    /// Links on which something waits to be written: once for a whole batch.
    unwritten: Vec<Arc<Link>>,
    /// The id of what was said last.
    said: u64,
    bounds: Bounds,
    stats: Arc<Stats>,
}

/// How far somebody is who has come back.
pub(super) struct CatchUp {
    from: u64,
    rooms: Vec<(RoomId, u64)>,
    /// Size of the next event, which had no room when last tried: until it has, nothing is read.
    next: usize,
}

impl Delivery {
    pub(super) fn new(bounds: Bounds, said: u64, stats: Arc<Stats>) -> Self {
        let (peers, audience, behind) = Default::default();
        Self { peers, audience, behind, unwritten: Vec::new(), said, bounds, stats }
    }

    pub(super) fn perform(&mut self, step: Step, recovery: &mut Recovery) {
        match step {
            Step::Arrive { member, link } => self.arrive(member, Peer::new(link, None)),
            Step::Return { member, link, from, rooms } => {
                self.arrive(member, Peer::new(link, Some(CatchUp { from, rooms, next: 0 })));
                self.behind.insert(member);
                self.catch_up_one(member, recovery);
            }
            Step::Leave { member, link } => {
                if self.peers.get(&member).is_some_and(|peer| Arc::ptr_eq(&peer.link, &link)) {
                    self.leave(member);
                }
            }
            Step::Enter { member, room, since } => self.enter(member, room, since),
            Step::Exit { member, room } => self.exit(member, &room),
            Step::Say { room, event, body, id } => {
                self.say(&room, event, &body, &recovery.offset(id));
                self.said = id;
            }
            Step::Tell { member, event, body, id } => {
                self.tell(member, event, &body, id.map(|id| recovery.offset(id)));
                self.said = self.said.max(id.unwrap_or(0));
            }
            Step::Accept { member, ack, id } => {
                let offset = id.map(|id| recovery.offset(id));
                self.acknowledge(member, ack, &Accepted { ok: true, offset });
            }
            Step::Refuse { member, ack, reason } => {
                self.acknowledge(member, ack, &Refused { error: &reason })
            }
            Step::Credit(credit) => self.stats.latency.add(credit.at.elapsed()),
            Step::Health(reply) => {
                let _ = reply.send(recovery.stats());
            }
            Step::Flush(reply, patience) => {
                let deadline = Instant::now() + patience;
                for peer in self.peers.values_mut() {
                    peer.wait_until_sent(deadline);
                }
                let _ = reply.send(());
            }
            Step::Closed(reply) => {
                let _ = reply.send(());
            }
            Step::HandOver(reply, patience) => {
                let travellers = self.travellers(Instant::now() + patience, recovery);
                let _ = reply.send(Leaving { travellers, left: recovery.suspend() });
            }
        }
    }

    /// Packets that wait for clients.
    pub(super) fn backlog(&mut self) -> u64 {
        self.peers.values_mut().map(|peer| peer.waiting() as u64).sum()
    }

    /// Those that can go to another process: all that was said to them has left.
    fn travellers(&mut self, deadline: Instant, recovery: &Recovery) -> Vec<(Arc<Link>, Traveller)> {
        let said = self.said;
        let traveller = |(member, peer): (&MemberId, &mut Peer)| {
            if peer.closed || peer.link.stage() != Stage::Paused || !peer.wait_until_sent(deadline) {
                return None;
            }
            let traveller = Traveller {
                member: *member,
                from: peer.catch_up.as_ref().map_or(said, |catch_up| catch_up.from),
                record: recovery.record_of(*member)?,
            };
            Some((peer.link.clone(), traveller))
        };
        self.peers.iter_mut().filter_map(traveller).collect()
    }

    fn arrive(&mut self, member: MemberId, peer: Peer) {
        self.leave(member);
        self.peers.insert(member, peer);
        self.stats.connections.store(self.peers.len() as u64, Relaxed);
    }

    fn leave(&mut self, member: MemberId) {
        let Some(peer) = self.peers.remove(&member) else { return };
        give_back(&mut self.peers);
        self.behind.remove(&member);
        for room in &peer.rooms {
            self.quit(member, room);
        }
        self.stats.connections.store(self.peers.len() as u64, Relaxed);
    }

    fn enter(&mut self, member: MemberId, room: RoomId, since: u64) {
        let Some(peer) = self.peers.get_mut(&member).filter(|peer| !peer.closed) else { return };
        if let Some(catch_up) = &mut peer.catch_up {
            // One order for all it hears: the rest comes when it has caught up.
            if !catch_up.rooms.iter().any(|(known, _)| *known == room) {
                catch_up.rooms.push((room, since));
            }
        } else if self.audience.entry(room.clone()).or_default().insert(member) {
            // Few are in more than one.
            peer.rooms.reserve_exact(1);
            peer.rooms.push(room);
        }
    }

    fn exit(&mut self, member: MemberId, room: &RoomId) {
        let Some(peer) = self.peers.get_mut(&member) else { return };
        if let Some(catch_up) = &mut peer.catch_up {
            catch_up.rooms.retain(|(known, _)| known != room);
        }
        peer.rooms.retain(|known| known != room);
        self.quit(member, room);
    }

    fn quit(&mut self, member: MemberId, room: &RoomId) {
        if let Some(audience) = self.audience.get_mut(room) {
            audience.swap_remove(&member);
            if audience.is_empty() {
                self.audience.remove(room);
                give_back(&mut self.audience);
            }
        }
    }

    fn say(&mut self, room: &RoomId, event: &'static str, body: &Body, offset: &str) {
        let (mut receivers, size) = (0, body.size());
        let packet = Packet::new(event, body, Some(offset));
        for member in self.audience.get(room).into_iter().flatten() {
            let Some(peer) = self.peers.get_mut(member).filter(|peer| !peer.closed) else { continue };
            match peer.make_room(size, self.bounds) {
                Ok(()) => {
                    receivers += 1;
                    peer.send(&packet, &mut self.unwritten);
                }
                Err(slow) => close(peer, &slow, &self.stats),
            }
        }
        self.stats.delivered.fetch_add(receivers, Relaxed);
    }

    fn tell(&mut self, member: MemberId, event: &'static str, body: &Body, offset: Option<String>) {
        if offset.is_some() && self.behind.contains(&member) {
            return; // it comes to it in its turn
        }
        if let Some((peer, unwritten)) = self.reach(member, body.size()) {
            peer.send(&Packet::new(event, body, offset.as_deref()), unwritten);
        }
    }

    fn acknowledge(&mut self, member: MemberId, ack: Ack, answer: &impl Serialize) {
        if let Some((peer, unwritten)) = self.reach(member, ACK_SIZE) {
            peer.acknowledge(ack, answer, unwritten);
        }
    }

    /// A client, with room for one packet; `None` when it is gone or has to go.
    fn reach(&mut self, member: MemberId, size: usize) -> Option<(&mut Peer, &mut Vec<Arc<Link>>)> {
        let peer = self.peers.get_mut(&member).filter(|peer| !peer.closed)?;
        if let Err(slow) = peer.make_room(size, self.bounds) {
            close(peer, &slow, &self.stats);
            return None;
        }
        self.stats.delivered.fetch_add(1, Relaxed);
        Some((peer, &mut self.unwritten))
    }

    /// Has everything that was sent written.
    pub(super) fn write_on(&mut self) {
        let few = self.unwritten.len() <= AT_ONCE;
        for link in self.unwritten.drain(..) {
            if !few || !link.write_now() {
                link.wake();
            }
        }
    }

    // --- who comes back

    /// Whether somebody is still to be told what it missed.
    pub(super) fn is_catching_up(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Goes on with those.
    pub(super) fn catch_up(&mut self, recovery: &mut Recovery) {
        for member in self.behind.iter().copied().collect::<Vec<_>>() {
            self.catch_up_one(member, recovery);
        }
    }

    fn catch_up_one(&mut self, member: MemberId, recovery: &mut Recovery) {
        let Some(peer) = self.peers.get_mut(&member) else { return };
        let Some(mut catch_up) = peer.catch_up.take() else { return };
        if peer.closed || peer.link.is_closed() {
            self.behind.remove(&member);
            return;
        }
        if !peer.has_room(catch_up.next, self.bounds) {
            peer.catch_up = Some(catch_up);
            return;
        }
        while catch_up.from < self.said {
            let Some(missed) = recovery.missed(member, &catch_up.rooms, catch_up.from, self.said) else {
                // It was promised all of it: it has to begin afresh.
                tracing::warn!(
                    conn = peer.link.conn,
                    member,
                    "cannot be told all it has missed: its connection is closed"
                );
                peer.closed = true;
                peer.link.cut();
                self.behind.remove(&member);
                return;
            };
            for (id, event, body) in missed.events {
                if !peer.try_queue(body.size(), self.bounds) {
                    catch_up.next = body.size();
                    peer.catch_up = Some(catch_up);
                    return;
                }
                let offset = recovery.offset(id);
                peer.send(&Packet::new(&event, &body, Some(&offset)), &mut self.unwritten);
                self.stats.delivered.fetch_add(1, Relaxed);
                catch_up.from = id;
            }
            catch_up.from = missed.up_to;
        }
        self.behind.remove(&member);
        for (room, since) in catch_up.rooms {
            self.enter(member, room, since);
        }
    }
}

/// Gives up a client that does not keep up. It is told by its connection closing, and may come back.
fn close(peer: &mut Peer, slow: &TooSlow, stats: &Stats) {
    peer.closed = true;
    if peer.link.is_closed() {
        return; // went by itself meanwhile
    }
    let TooSlow { packets, bytes } = slow;
    tracing::warn!(
        conn = peer.link.conn,
        member = peer.link.member(),
        packets,
        bytes,
        "closed a client that does not keep up: its queue is full"
    );
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
