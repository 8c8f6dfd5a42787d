//! Connections that go to another process, and that come from one. Their clients notice nothing.
//!
//! Going: a read that is asked for under the flag proves that all that was read before has been dispatched, so the
//! stream puts the connection into the link, with the beginning of an unfinished packet and what the kernel has not
//! taken, and says that it pauses. What is still said is taken whole, so the queue empties however slow the client is. Whoever takes the connection out of the link has all of it; it may also be put back, and the stream goes
//! on as if nothing had been.
//!
//! Coming: the session is there before its connection, and what it answers waits for that to lie in the link.

use super::EdgeStream;
use crate::server::{
    handover::Detached,
    link::{Link, Stage},
};
use std::{io, sync::Arc, task::Context};

impl EdgeStream {
    /// For a connection that is going to come from another process.
    pub(in crate::server::edge) fn moved(link: Arc<Link>, max_payload: u64) -> Self {
        let mut stream = Self::of(link, max_payload);
        stream.awaited = true;
        stream
    }

    /// Whether it takes everything that is written, at once.
    pub(super) fn is_moving(&self) -> bool {
        self.link.stage() != Stage::Here
    }

    /// Writes to the connection where it lies; or keeps it until it is here.
    pub(super) fn stow(&mut self, cx: &mut Context<'_>, frames: &[u8]) -> io::Result<()> {
        // After what waits here for it already.
        if !self.tail.is_empty() || !self.link.write_detached(cx, frames)? {
            self.tail.extend_from_slice(frames);
        }
        Ok(())
    }

    // --- going

    /// Goes on with it; whether nothing is to be read because of it.
    pub(super) fn is_departing(&mut self, cx: &mut Context<'_>) -> bool {
        match self.link.stage() {
            Stage::Here => return false,
            Stage::Pausing => {
                self.detach(cx);
                self.link.halted();
            }
            Stage::Paused => {}
        }
        true
    }

    fn detach(&mut self, cx: &mut Context<'_>) {
        // It may have come a moment ago.
        self.attach(cx);
        self.reclaim();
        // Without it there is nothing to take, and the connection is cut.
        let Some(unfinished) = self.client.unfinished() else { return };
        let Some(io) = self.io.take() else { return };
        // These stay here as well: should it be put back, they have been seen to.
        let read = [unfinished, &self.head].concat();
        let (write, heartbeat) = (std::mem::take(&mut self.tail), self.heartbeat);
        self.link.detach(Detached { io, read, write, heartbeat });
    }

    // --- coming

    /// Takes up the connection that lies in the link, if this has none.
    pub(super) fn attach(&mut self, cx: &mut Context<'_>) {
        if self.io.is_some() {
            return;
        }
        let Some(Detached { io, read, write, .. }) = self.link.take_detached() else { return };
        self.io = Some(io);
        if std::mem::take(&mut self.awaited) {
            self.head = read.into();
        }
        if !write.is_empty() {
            // What has been written since comes after it.
            let since = std::mem::replace(&mut self.tail, write);
            self.tail.extend_from_slice(&since);
        }
        // What cannot be written is seen by whoever writes or reads next.
        let _ = self.write_tail(cx);
    }
}
