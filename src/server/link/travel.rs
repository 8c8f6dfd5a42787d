//! A link whose connection goes to another process, or comes from one.

use super::{Drain, Link, lock};
use crate::{
    chat::Identity,
    server::{
        handover::{Countdown, Detached},
        living::Living,
    },
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering::*},
    },
    task::Context,
    time::Duration,
};

/// So long after it came, a polling session may still be about to upgrade.
const YOUTH: Duration = Duration::from_secs(1);

/// How far a connection is on its way to another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Stage {
    /// It stays.
    Here,
    /// Nothing more is to be read from it, and everything is to be taken that is written to it.
    Pausing,
    /// That is so: all that was read from it is on its way to the sequencer, and the connection lies in the link.
    Paused,
}

/// What of a link is moving.
#[derive(Default)]
pub(super) struct Moving {
    /// Told when it has paused, or never will.
    awaited: Option<Arc<Countdown>>,
    /// The connection, when no stream has it: one has let go of it, and none has taken it up.
    detached: Option<Box<Detached>>,
}

impl Link {
    /// A link for a session whose connection is going to come from elsewhere, and is a WebSocket in the middle of its
    /// life.
    pub(in crate::server) fn moved(
        identity: Identity,
        eio3: bool,
        modern: bool,
        living: Arc<Living>,
    ) -> Arc<Self> {
        let mut link = Self::of(identity, eio3, None, living);
        link.modern = AtomicBool::new(modern);
        link.connected = AtomicBool::new(true);
        link.stage = AtomicU8::new(Stage::Paused as u8);
        Arc::new(link)
    }

    /// Its connection cannot go to another process.
    pub(in crate::server) fn stays_put(&self) {
        self.rooted.store(true, Relaxed);
    }

    /// Whether its connection is of the kind that can go to another process.
    pub(in crate::server) fn can_travel(&self) -> bool {
        self.is_websocket() && !self.rooted.load(Relaxed)
    }

    /// Whether it is about to become so: clients begin by polling, and upgrade at once if they can.
    pub(in crate::server) fn may_upgrade(&self) -> bool {
        !self.is_websocket() && self.born.elapsed() < YOUTH
    }

    /// Whether it can do so now: its client is in the chat, and knows it.
    pub(in crate::server) fn is_portable(&self) -> bool {
        self.can_travel()
            && self.is_connected()
            && self.member() != 0
            && !self.is_admitted()
            && !self.is_closed()
            && self.draining() == Drain::Not
    }

    /// Sends its connection on its way to another process: it is to pause.
    pub(in crate::server) fn depart(&self, pausing: &Arc<Countdown>) {
        pausing.one_more();
        lock(&self.moving).awaited = Some(pausing.clone());
        self.set_stage(Stage::Pausing);
    }

    /// How far it is on its way to another process.
    pub(in crate::server) fn stage(&self) -> Stage {
        match self.stage.load(SeqCst) {
            0 => Stage::Here,
            1 => Stage::Pausing,
            _ => Stage::Paused,
        }
    }

    /// Nothing more is read from it; all that was is on its way to the sequencer.
    pub(in crate::server) fn halted(&self) {
        let (pausing, paused) = (Stage::Pausing as u8, Stage::Paused as u8);
        let _ = self.stage.compare_exchange(pausing, paused, AcqRel, Acquire);
        if let Some(countdown) = lock(&self.moving).awaited.take() {
            countdown.one_less();
        }
    }

    /// No stream has the connection any more.
    pub(in crate::server) fn detach(&self, detached: Detached) {
        lock(&self.moving).detached = Some(Box::new(detached));
    }

    /// The connection, if no stream has it.
    pub(in crate::server) fn take_detached(&self) -> Option<Detached> {
        lock(&self.moving).detached.take().map(|detached| *detached)
    }

    /// Writes to the connection that no stream has; whether it was there to be written to.
    ///
    /// # Errors
    /// It is broken.
    pub(in crate::server) fn write_detached(&self, cx: &mut Context<'_>, frames: &[u8]) -> io::Result<bool> {
        match &mut lock(&self.moving).detached {
            Some(detached) => detached.write(cx, frames).map(|()| true),
            None => Ok(false),
        }
    }

    /// Its stream goes on with this connection.
    pub(in crate::server) fn go_on(&self, detached: Detached) {
        self.detach(detached);
        self.stay();
    }

    /// Its stream goes on with the connection that lies here.
    pub(in crate::server) fn stay(&self) {
        self.set_stage(Stage::Here);
    }

    fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, SeqCst);
        self.wake();
        self.wake_sequencer();
    }
}
