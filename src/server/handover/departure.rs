//! The departure: where connections on their way to another process say how far they are.

use crate::chat::MemberId;
use std::{
    os::fd::OwnedFd,
    sync::atomic::{AtomicUsize, Ordering::*},
};
use tokio::sync::{Notify, mpsc};

/// A connection that nobody serves any more, and what belongs to it.
#[derive(Debug)]
pub(in crate::server) struct Detached {
    pub(in crate::server) socket: OwnedFd,
    /// What has been read of a packet that is not finished.
    pub(in crate::server) read: Vec<u8>,
    /// What the kernel has not taken yet of what was written.
    pub(in crate::server) write: Vec<u8>,
}

/// See the module.
pub(in crate::server) struct Departure {
    /// How many have not paused yet.
    pausing: AtomicUsize,
    all_paused: Notify,
    detached: mpsc::Sender<(MemberId, Option<Detached>)>,
}

impl Departure {
    /// Of so many connections, and where they are handed in: each once, so it is never full.
    pub(super) fn new(connections: usize) -> (Self, mpsc::Receiver<(MemberId, Option<Detached>)>) {
        let (detached, handed_in) = mpsc::channel(connections.max(1));
        (Self { pausing: AtomicUsize::new(connections), all_paused: Notify::new(), detached }, handed_in)
    }

    /// One more has paused.
    pub(in crate::server) fn paused(&self) {
        if self.pausing.fetch_sub(1, AcqRel) == 1 {
            self.all_paused.notify_one();
        }
    }

    /// Waits until all have paused.
    pub(super) async fn all_paused(&self) {
        while self.pausing.load(Acquire) > 0 {
            self.all_paused.notified().await;
        }
    }

    /// One is let go of; `None`: it cannot go.
    pub(in crate::server) fn hand_in(&self, member: MemberId, detached: Option<Detached>) {
        // Nobody there: it was not waited for any longer, and its client comes back by itself.
        let _ = self.detached.try_send((member, detached));
    }
}
