//! Who lives: how many links are in the chat, and how many of them poll. When the server stops it waits for them.

use super::link::{Link, lock};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering::*},
    },
};
use tokio::sync::Notify;

/// All links, and how many of them are in the chat: admitted, and not gone.
#[derive(Default)]
pub(super) struct Living {
    /// By their numbers.
    links: Mutex<BTreeMap<u64, Weak<Link>>>,
    all: AtomicUsize,
    polling: AtomicUsize,
    /// Told when either comes to nothing, and when a link has arrived, or has gone.
    changed: Notify,
}

/// As what a link counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It polls.
    Polling,
    /// It is a WebSocket.
    WebSocket,
}

/// As what a link counts just now; `None`: not at all.
pub(super) type Counted = Mutex<Option<Kind>>;

impl Living {
    /// There is one more; when it is dropped it says so by [`Living::forget`].
    pub(super) fn list(&self, link: &Arc<Link>) {
        lock(&self.links).insert(link.conn, Arc::downgrade(link));
    }

    /// What is left of it is of no use to anybody.
    pub(super) fn forget(&self, conn: u64) {
        lock(&self.links).remove(&conn);
    }

    /// All links there are, oldest first.
    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        lock(&self.links).values().filter_map(Weak::upgrade).collect()
    }

    /// Waits until there are none.
    pub(super) async fn none(&self) {
        self.wait(&self.all).await;
    }

    /// Waits until none of them polls.
    pub(super) async fn none_polling(&self) {
        self.wait(&self.polling).await;
    }

    async fn wait(&self, count: &AtomicUsize) {
        self.until(|| count.load(Acquire) == 0).await;
    }

    /// Waits until something holds that may hold when a link has arrived, or gone last.
    pub(super) async fn until(&self, mut holds: impl FnMut() -> bool) {
        loop {
            // Made before it is looked, it hears of what changes meanwhile.
            let changed = self.changed.notified();
            if holds() {
                return;
            }
            changed.await;
        }
    }

    /// A link has arrived, or has gone.
    pub(super) fn settled(&self) {
        self.changed.notify_waiters();
    }

    /// A link counts as something else from now on.
    pub(super) fn recount(&self, counted: &mut Option<Kind>, now: Option<Kind>) {
        let before = std::mem::replace(counted, now);
        self.count(&self.polling, before == Some(Kind::Polling), now == Some(Kind::Polling));
        self.count(&self.all, before.is_some(), now.is_some());
    }

    fn count(&self, count: &AtomicUsize, before: bool, now: bool) {
        match (before, now) {
            (false, true) => {
                count.fetch_add(1, AcqRel);
            }
            (true, false) if count.fetch_sub(1, AcqRel) == 1 => self.changed.notify_waiters(),
            _ => {}
        }
    }
}
