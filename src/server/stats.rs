//! The chat server's counters: written where things happen, read by `/stats`.

use super::link::lock;
use crate::{config::RefusedBy, control::types};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Bounds of the latencies that are told apart, in microseconds.
const UP_TO_US: [u64; 15] = [
    100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000,
];

/// All counters of one server.
pub(super) struct Stats {
    started: Instant,
    pub(super) connections: AtomicU64,
    pub(super) rooms: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) slow_closed: AtomicU64,
    /// Events of clients in the sequencer's inbox.
    pub(super) queued: AtomicU64,
    /// From a client's event to the hand-over of all that follows from it to the sockets.
    pub(super) latency: Latency,
    pub(super) traffic: Traffic,
    turned_away: Mutex<BTreeMap<&'static str, u64>>,
    not_used: Mutex<BTreeMap<&'static str, String>>,
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
            queued: zero(),
            latency: Latency::default(),
            traffic: Traffic::default(),
            turned_away: Mutex::new(none_yet(&RefusedBy::ALL.map(RefusedBy::as_str))),
            not_used: Mutex::default(),
            handover: OnceLock::new(),
        }
    }

    /// Somebody was refused something.
    pub(super) fn turn_away(&self, by: RefusedBy) {
        *lock(&self.turned_away).entry(by.as_str()).or_default() += 1;
    }

    /// The new files of this are not used, and why; `None`: they are.
    pub(super) fn use_new(&self, what: &'static str, problem: Option<String>) {
        let mut not_used = lock(&self.not_used);
        match problem {
            Some(problem) => not_used.insert(what, problem),
            None => not_used.remove(what),
        };
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
            queued: 0,
            backlog: None,
            latency: self.latency.read(),
            received_bytes: self.traffic.received.load(Relaxed),
            sent_bytes: self.traffic.sent.load(Relaxed),
            turned_away: lock(&self.turned_away)
                .iter()
                .map(|(by, count)| ((*by).to_owned(), *count))
                .collect(),
            uptime_s: self.started.elapsed().as_secs(),
            largest_rooms: Vec::new(),
            certificate: None,
            not_used: lock(&self.not_used)
                .iter()
                .map(|(what, problem)| format!("{what}: {problem}"))
                .collect(),
            recovery,
            handover: self.handover.get().copied(),
        }
    }
}

/// A count of each, from the start: to `rate`, what begins with 1 has not grown.
pub(super) fn none_yet(each: &[&'static str]) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for one in each {
        counts.insert(*one, 0);
    }
    counts
}

/// Bytes of the clients' connections, without TLS's own. On a cache line of their own: every read and write counts.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Traffic {
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
}

/// How many took how long. Only the sequencer adds, so nobody waits for anybody.
#[derive(Default)]
pub(super) struct Latency {
    /// One for each of [`UP_TO_US`], less those of the one before; the last: longer than all.
    counts: [AtomicU64; UP_TO_US.len() + 1],
    sum_ns: AtomicU64,
}

impl Latency {
    /// Counts one.
    pub(super) fn add(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let place = UP_TO_US.partition_point(|up_to| up_to * 1000 < ns);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Relaxed);
        }
        self.sum_ns.fetch_add(ns, Relaxed);
    }

    fn read(&self) -> types::Histogram {
        types::Histogram {
            up_to_us: UP_TO_US.to_vec(),
            counts: self.counts.iter().map(|count| count.load(Relaxed)).collect(),
            sum_us: self.sum_ns.load(Relaxed) / 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_latency_is_counted_once_and_on_its_bound_below() {
        let latency = Latency::default();
        for took in [0, 100_000, 100_001, 250_000, 5_000_000_000, 5_000_000_001, u64::MAX / 4] {
            latency.add(Duration::from_nanos(took));
        }
        let told = latency.read();
        assert_eq!(told.up_to_us, UP_TO_US);
        assert_eq!(told.counts, [2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(told.sum_us, (u64::MAX / 4 + 10_000_450_002) / 1000);
    }
}
