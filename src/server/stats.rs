//! The chat server's counters: written where things happen, read by `/stats`.

use crate::control::types;
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

/// All counters of one server.
pub(super) struct Stats {
    started: Instant,
    pub(super) connections: AtomicU64,
    pub(super) rooms: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) slow_closed: AtomicU64,
}

impl Stats {
    /// All zero, from now on.
    pub(super) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            started: Instant::now(),
            connections: zero(),
            rooms: zero(),
            accepted: zero(),
            refused: zero(),
            delivered: zero(),
            slow_closed: zero(),
        }
    }

    /// What they are now.
    pub(super) fn read(&self, recovery: types::Recovery) -> types::Stats {
        types::Stats {
            connections: self.connections.load(Relaxed),
            rooms: self.rooms.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            refused: self.refused.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            slow_closed: self.slow_closed.load(Relaxed),
            uptime_s: self.started.elapsed().as_secs(),
            recovery,
        }
    }
}
