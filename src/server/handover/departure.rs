//! What a connection is while it goes from one process to another, and who waits for many of them.

use crate::server::transport::Transport;
use bytes::BytesMut;
use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering::*},
    task::Context,
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// A connection that nobody reads, and what belongs to it.
pub(in crate::server) struct Detached {
    pub(in crate::server) io: Transport,
    /// What has been read of a packet that is not finished.
    pub(in crate::server) read: Vec<u8>,
    /// What the kernel has not taken yet of what was written.
    pub(in crate::server) write: BytesMut,
    /// How long until the server's next heartbeat is due; `None`: its client has to see to it.
    pub(in crate::server) heartbeat: Option<Duration>,
}

impl Detached {
    /// Writes these frames, or keeps what the kernel does not take.
    ///
    /// # Errors
    /// The connection is broken.
    pub(in crate::server) fn write(&mut self, cx: &mut Context<'_>, frames: &[u8]) -> io::Result<()> {
        self.io.write_or_keep(cx, &mut self.write, frames).map(drop)
    }
}

/// So many connections have something to do; whoever waits for all is told when they have done it.
#[derive(Default)]
pub(in crate::server) struct Countdown {
    left: AtomicUsize,
    over: Notify,
}

impl Countdown {
    /// One more has to do it.
    pub(in crate::server) fn one_more(&self) {
        self.left.fetch_add(1, AcqRel);
    }

    /// One has done it, or never will.
    pub(in crate::server) fn one_less(&self) {
        if self.left.fetch_sub(1, AcqRel) == 1 {
            self.over.notify_one();
        }
    }

    /// Waits until all have done it, but not for long.
    pub(super) async fn wait(&self, longest: Duration) {
        let all = async {
            while self.left.load(Acquire) > 0 {
                self.over.notified().await;
            }
        };
        let _ = timeout(longest, all).await;
    }
}
