//! The chat server's counters: written where things happen, read by `/stats`.

use super::link::lock;
use crate::control::types;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
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
    turned_away: Mutex<BTreeMap<&'static str, u64>>,
    /// What was taken over at the start.
    pub(super) handover: OnceLock<types::Handover>,
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
            turned_away: Mutex::default(),
            handover: OnceLock::new(),
        }
    }

    /// Somebody was refused something, because of this key of chat.toml.
    pub(super) fn turn_away(&self, why: &'static str) {
        *lock(&self.turned_away).entry(why).or_default() += 1;
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
            turned_away: lock(&self.turned_away)
                .iter()
                .map(|(why, count)| ((*why).to_owned(), *count))
                .collect(),
            uptime_s: self.started.elapsed().as_secs(),
            largest_rooms: Vec::new(),
            certificate: None,
            recovery,
            handover: self.handover.get().copied(),
        }
    }
}
