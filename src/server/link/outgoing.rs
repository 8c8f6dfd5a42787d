//! What the sequencer has sent on a link and nobody has written: whole packets, as frames.
//!
//! They are written by the edge, which is told to: so the writing is spread over the runtime's threads. But to wake a
//! task takes longer than to write. So an edge that has nothing to write lends the half of the connection that does,
//! and the sequencer, when few are to be written to, writes by itself. Who has that half writes, under this lock, and
//! the edge takes it back before it writes anything of its own: there is one order.
//!
//! Its bound is the backlog's: the sequencer sends nothing for which there is no room.

use super::{Link, lock};
use crate::server::transport::Writer;
use bytes::{Buf, Bytes, BytesMut};
use std::{
    collections::VecDeque,
    sync::{Mutex, atomic::Ordering::Relaxed},
};

/// See the module.
pub(super) type Outgoing = Mutex<Waiting>;

/// Packets that are not written, and by whom they can be.
#[derive(Default)]
pub(super) struct Waiting {
    /// Oldest first.
    packets: VecDeque<Bytes>,
    /// Of the first one a part is written already.
    begun: bool,
    /// What the edge has lent.
    writer: Option<Writer>,
}

/// As many bytes of small packets leave in one write.
const RUN: usize = 64 << 10;

/// Packets that leave together.
pub(in crate::server) struct Run {
    pub(in crate::server) frames: Bytes,
    pub(in crate::server) packets: u64,
    /// It is the rest of a packet that was begun: it has to be written, whatever happens.
    pub(in crate::server) begun: bool,
}

impl Link {
    /// Queues one packet for the edge. Whether it is the first: then [`Link::wake`] is to follow, some time soon.
    #[must_use]
    pub(in crate::server) fn send(&self, frames: Bytes) -> bool {
        let packets = &mut lock(&self.outgoing).packets;
        packets.push_back(frames);
        packets.len() == 1
    }

    /// Writes what has been sent, where the edge has lent what writes and the kernel takes it. Whether nothing is left
    /// over: else [`Link::wake`] is to follow.
    #[must_use]
    pub(in crate::server) fn write_now(&self) -> bool {
        let mut outgoing = lock(&self.outgoing);
        while outgoing.writer.is_some() && !self.is_cut() {
            let Some(mut run) = outgoing.take() else { return true };
            let written = outgoing.writer.as_ref().map_or(0, |writer| writer.write_now(&run.frames));
            self.wrote(written);
            if written < run.frames.len() {
                run.frames.advance(written);
                outgoing.packets.push_front(run.frames);
                outgoing.begun = true;
                // What is left over of several packets counts as one of them.
                self.sent(run.packets - 1);
                return false;
            }
            self.sent(run.packets);
        }
        outgoing.packets.is_empty()
    }

    /// Takes what is to be written next, and with it what was lent; `None`: nothing, and `writer` is lent.
    pub(in crate::server) fn take_run(&self, writer: Option<&mut Option<Writer>>) -> Option<Run> {
        let mut outgoing = lock(&self.outgoing);
        let run = outgoing.take();
        if let Some(place) = writer
            && place.is_some() == run.is_none()
        {
            std::mem::swap(place, &mut outgoing.writer);
        }
        run
    }

    /// Takes back what was lent; gives the rest of what was begun with it, which comes before anything else.
    pub(in crate::server) fn reclaim(&self) -> (Option<Writer>, Option<Run>) {
        let mut outgoing = lock(&self.outgoing);
        let rest = if outgoing.begun { outgoing.take() } else { None };
        (outgoing.writer.take(), rest)
    }

    fn wrote(&self, bytes: usize) {
        if let Some(ticket) = self.ticket.get() {
            ticket.traffic().sent.fetch_add(bytes as u64, Relaxed);
        }
    }
}

impl Waiting {
    /// The rest of what was begun, or as many packets as may leave at once.
    fn take(&mut self) -> Option<Run> {
        let first = self.packets.pop_front()?;
        let begun = std::mem::take(&mut self.begun);
        let mut len = first.len();
        let fits = |next: &&Bytes| {
            let fits = len + next.len() <= RUN;
            len += if fits { next.len() } else { 0 };
            fits
        };
        let more = if begun { 0 } else { self.packets.iter().take_while(fits).count() };
        let frames = if more == 0 {
            first
        } else {
            let mut run = BytesMut::with_capacity(len);
            run.extend_from_slice(&first);
            self.packets.drain(..more).for_each(|next| run.extend_from_slice(&next));
            run.freeze()
        };
        if self.packets.is_empty() {
            // Most connections wait most of the time.
            self.packets = VecDeque::new();
        }
        Some(Run { frames, packets: 1 + more as u64, begun })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Identity;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_leave_once_in_order_and_as_much_at_once_as_fits(
            sizes in prop::collection::vec(prop_oneof![1usize..200, 20_000usize..RUN + 2], 1..30)
        ) {
            let link = Link::new(Identity::default(), false, None, Default::default());
            let packets: Vec<Vec<u8>> = (0u8..).zip(&sizes).map(|(n, size)| vec![n; *size]).collect();
            for (n, packet) in packets.iter().enumerate() {
                prop_assert_eq!(link.send(packet.clone().into()), n == 0);
            }
            let (mut left, mut count) = (Vec::new(), 0);
            while let Some(run) = link.take_run(None) {
                prop_assert!(run.packets == 1 || run.frames.len() <= RUN);
                count += run.packets as usize;
                left.extend_from_slice(&run.frames);
                let next = sizes.get(count);
                prop_assert!(next.is_none_or(|next| run.frames.len() + next > RUN));
            }
            prop_assert_eq!((count, left), (packets.len(), packets.concat()));
            prop_assert!(link.send(Bytes::from_static(b"x")), "it is the first again");
        }
    }
}
