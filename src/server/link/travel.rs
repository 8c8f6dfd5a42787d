//! A link whose connection goes to another process, or comes from one.

use super::{Drain, Link, lock};
use crate::{
    chat::Identity,
    server::{
        handover::{Departure, Detached},
        living::Living,
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::*},
    },
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
    /// That is so: all that was read from it is on its way to the sequencer.
    Paused,
    /// It is to be let go of, with what has been read and not been written.
    LettingGo,
}

impl Link {
    /// A link for a session whose connection comes from elsewhere, and is a WebSocket in the middle of its life.
    pub(in crate::server) fn moved(
        identity: Identity,
        eio3: bool,
        modern: bool,
        heartbeat_delay: Duration,
        living: Arc<Living>,
    ) -> Arc<Self> {
        let mut link = Self::of(identity, eio3, None, living);
        link.heartbeat_delay = heartbeat_delay;
        link.modern = AtomicBool::new(modern);
        link.connected = AtomicBool::new(true);
        Arc::new(link)
    }

    /// Its connection cannot go to another process: it is more than a TCP connection.
    pub(in crate::server) fn stays_put(&self) {
        self.rooted.store(true, Relaxed);
    }

    /// Whether its connection is of the kind that can go to another process.
    pub(in crate::server) fn can_travel(&self) -> bool {
        self.is_websocket() && !self.rooted.load(Relaxed)
    }

    /// Whether it is about to become so: clients begin by polling, and upgrade at once if they can.
    pub(in crate::server) fn may_upgrade(&self) -> bool {
        !self.is_websocket() && self.polling.as_ref().is_some_and(|polling| polling.born.elapsed() < YOUTH)
    }

    /// Whether it can do so now: its client is in the chat, and knows it.
    pub(in crate::server) fn is_portable(&self) -> bool {
        self.can_travel()
            && self.is_connected()
            && self.member() != 0
            && !self.is_admitted()
            && !self.is_offering()
            && !self.is_closed()
            && self.draining() == Drain::Not
    }

    /// Sends its connection on its way to another process; it says on the departure how far it is.
    pub(in crate::server) fn depart(&self, departure: &Arc<Departure>) {
        *lock(&self.departure) = Some(departure.clone());
        self.set_stage(Stage::Pausing);
    }

    /// How far it is on its way to another process.
    pub(in crate::server) fn stage(&self) -> Stage {
        match self.stage.load(SeqCst) {
            0 => Stage::Here,
            1 => Stage::Pausing,
            2 => Stage::Paused,
            _ => Stage::LettingGo,
        }
    }

    /// Nothing more is read from it; all that was is on its way to the sequencer.
    pub(in crate::server) fn halted(&self) {
        let (pausing, paused) = (Stage::Pausing as u8, Stage::Paused as u8);
        if self.stage.compare_exchange(pausing, paused, AcqRel, Acquire).is_ok()
            && let Some(departure) = &*lock(&self.departure)
        {
            departure.paused();
        }
    }

    /// It is to be let go of now.
    pub(in crate::server) fn let_go(&self) {
        self.set_stage(Stage::LettingGo);
    }

    /// This is what there is of it; `None`: it cannot go.
    pub(in crate::server) fn hand_in(&self, detached: Option<Detached>) {
        if let Some(departure) = lock(&self.departure).take() {
            departure.hand_in(self.member(), detached);
        }
    }

    /// It stays after all.
    pub(in crate::server) fn stay(&self) {
        *lock(&self.departure) = None;
        self.set_stage(Stage::Here);
    }

    fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, SeqCst);
        self.reader.wake();
        self.writer.wake();
        self.wake_sequencer();
    }
}
