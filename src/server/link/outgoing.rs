//! What the sequencer has sent on a link and the edge has not written: whole packets, as frames.
//!
//! Its bound is the backlog's: the sequencer sends nothing for which there is no room.

use super::{Link, lock};
use bytes::{Bytes, BytesMut};
use std::{collections::VecDeque, sync::Mutex};

/// Packets, oldest first.
pub(super) type Outgoing = Mutex<VecDeque<Bytes>>;

/// As many bytes of small packets leave in one write.
const RUN: usize = 64 << 10;

/// Packets that leave together.
pub(in crate::server) struct Run {
    pub(in crate::server) frames: Bytes,
    pub(in crate::server) packets: u64,
}

impl Link {
    /// Queues one packet for the edge. Whether it is the first: then [`Link::write_on`] is to follow, some time soon.
    #[must_use]
    pub(in crate::server) fn send(&self, frames: Bytes) -> bool {
        let mut outgoing = lock(&self.outgoing);
        outgoing.push_back(frames);
        outgoing.len() == 1
    }

    /// Tells the edge to write what has been sent.
    pub(in crate::server) fn write_on(&self) {
        self.reader.wake();
    }

    /// Takes what is to be written next; `None`: nothing.
    pub(in crate::server) fn take_run(&self) -> Option<Run> {
        let mut outgoing = lock(&self.outgoing);
        let first = outgoing.pop_front()?;
        let Some(next) = outgoing.front().filter(|next| first.len() + next.len() <= RUN) else {
            if outgoing.is_empty() {
                // Most connections wait most of the time.
                *outgoing = VecDeque::new();
            }
            return Some(Run { frames: first, packets: 1 });
        };
        let mut run = BytesMut::with_capacity(RUN.min((first.len() + next.len()) * (outgoing.len() + 1)));
        run.extend_from_slice(&first);
        let mut packets = 1;
        while let Some(next) = outgoing.front().filter(|next| run.len() + next.len() <= RUN) {
            run.extend_from_slice(next);
            outgoing.pop_front();
            packets += 1;
        }
        if outgoing.is_empty() {
            *outgoing = VecDeque::new();
        }
        Some(Run { frames: run.freeze(), packets })
    }
}
