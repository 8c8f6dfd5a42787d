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
        let mut len = first.len();
        let fits = |next: &&Bytes| {
            let fits = len + next.len() <= RUN;
            len += if fits { next.len() } else { 0 };
            fits
        };
        let more = outgoing.iter().take_while(fits).count();
        let frames = if more == 0 {
            first
        } else {
            let mut run = BytesMut::with_capacity(len);
            run.extend_from_slice(&first);
            outgoing.drain(..more).for_each(|next| run.extend_from_slice(&next));
            run.freeze()
        };
        if outgoing.is_empty() {
            // Most connections wait most of the time.
            *outgoing = VecDeque::new();
        }
        Some(Run { frames, packets: 1 + more as u64 })
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
            while let Some(run) = link.take_run() {
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
