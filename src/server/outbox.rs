//! What waits for each client, and the decision that a client is too slow.
//!
//! Before a packet is queued for a client its backlog is known to have room: below the configured number of packets
//! and bytes. Full has two causes, told apart by the [`Link`]:
//!
//! - the client does not read (its connection is stalled): it is closed, at once, so that it costs the others
//!   nothing;
//! - this server is behind with its own writing (a burst, busy cores): the sequencer waits for it, and with that
//!   the senders, whose credit is used up.

use super::{
    delivery::CatchUp,
    link::Link,
    packet::{Ack, Packet},
};
use crate::chat::RoomId;
use bytes::Bytes;
use serde::Serialize;
use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

/// Below this many packets nobody asks how many have left: the count is a cache line another core writes.
const UNASKED: usize = 64;
/// Longest wait for this server's own writing before a client counts as slow after all.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bounds of one client's backlog.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Packets.
    pub(super) packets: usize,
    /// Bytes of their bodies.
    pub(super) bytes: usize,
}

/// A client and what waits for it.
pub(super) struct Peer {
    pub(super) link: Arc<Link>,
    /// All packets ever queued on the link.
    queued: u64,
    /// Sizes of those that had not left when last asked, oldest first.
    backlog: VecDeque<u32>,
    bytes: usize,
    /// Given up: nothing is queued any more.
    pub(super) closed: bool,
    /// The rooms it hears.
    pub(super) rooms: Vec<RoomId>,
    /// What it is still to be told of what it missed.
    pub(super) catch_up: Option<CatchUp>,
}

/// A client that was found too slow: what it left waiting.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooSlow {
    pub(super) packets: usize,
    pub(super) bytes: usize,
}

impl Peer {
    pub(super) fn new(link: Arc<Link>, catch_up: Option<CatchUp>) -> Self {
        let queued = link.queued.load(Relaxed);
        // An earlier socket of the same session may have left packets in the queue.
        let left = queued.saturating_sub(link.sent_so_far());
        let backlog = (0..left).map(|_| 0).collect();
        Self { link, queued, backlog, bytes: 0, closed: false, rooms: Vec::new(), catch_up }
    }

    /// Sends a packet for which there is room; `unwritten`: where the link goes if its edge is to be told.
    pub(super) fn send(&mut self, packet: &Packet<'_>, unwritten: &mut Vec<Arc<Link>>) {
        self.send_frames(packet.frames(&self.link), unwritten);
    }

    /// Acknowledges an event; see [`Peer::send`].
    pub(super) fn acknowledge(&mut self, ack: Ack, answer: &impl Serialize, unwritten: &mut Vec<Arc<Link>>) {
        self.send_frames(ack.frames(answer), unwritten);
    }

    fn send_frames(&self, frames: Bytes, unwritten: &mut Vec<Arc<Link>>) {
        if self.link.send(frames) {
            unwritten.push(self.link.clone());
        }
    }

    /// Whether one packet of this size fits without anybody's waiting, and leaves half of the room to others.
    pub(super) fn has_room(&mut self, size: usize, bounds: Bounds) -> bool {
        self.fits(size, Bounds { packets: bounds.packets / 2, bytes: bounds.bytes / 2 })
    }

    /// Queues one packet if it has room in that sense.
    pub(super) fn try_queue(&mut self, size: usize, bounds: Bounds) -> bool {
        let fits = self.has_room(size, bounds);
        if fits {
            self.queue(size);
        }
        fits
    }

    /// Makes sure that one packet of this size fits, waiting for this server's own writing if need be.
    pub(super) fn make_room(&mut self, size: usize, bounds: Bounds) -> Result<(), TooSlow> {
        let fits = self.backlog.len() < UNASKED && self.bytes + size <= bounds.bytes
            || self.fits(size, bounds)
            || self.wait(Instant::now() + PATIENCE, |peer| peer.fits(size, bounds));
        if !fits {
            return Err(TooSlow { packets: self.backlog.len(), bytes: self.bytes });
        }
        self.queue(size);
        Ok(())
    }

    /// Waits until everything queued has left, the client stops reading, or `deadline` is reached. Whether it has left.
    pub(super) fn wait_until_sent(&mut self, deadline: Instant) -> bool {
        self.waiting() == 0 || self.wait(deadline, |peer| peer.waiting() == 0)
    }

    /// Waits for what leaves until this holds, the client stops reading, or `deadline` is reached. Whether it holds.
    fn wait(&mut self, deadline: Instant, holds: impl Fn(&mut Self) -> bool) -> bool {
        self.link.await_progress(true);
        let held = loop {
            if holds(self) {
                break true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.link.is_stalled() || self.link.is_closed() || left.is_zero() {
                break false;
            }
            thread::park_timeout(left);
        };
        self.link.await_progress(false);
        held
    }

    /// Packets that have not left.
    pub(super) fn waiting(&mut self) -> usize {
        self.refresh();
        self.backlog.len()
    }

    fn fits(&mut self, size: usize, bounds: Bounds) -> bool {
        self.refresh();
        // One packet always fits, however large.
        self.backlog.is_empty() || self.backlog.len() < bounds.packets && self.bytes + size <= bounds.bytes
    }

    fn queue(&mut self, size: usize) {
        self.queued += 1;
        self.backlog.push_back(u32::try_from(size).unwrap_or(u32::MAX));
        self.bytes += size;
    }

    fn refresh(&mut self) {
        let waiting =
            usize::try_from(self.queued.saturating_sub(self.link.sent_so_far())).unwrap_or(usize::MAX);
        while self.backlog.len() > waiting {
            let size = self.backlog.pop_front().unwrap_or(0);
            self.bytes = self.bytes.saturating_sub(size as usize);
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.link.queued.store(self.queued, Relaxed);
    }
}
