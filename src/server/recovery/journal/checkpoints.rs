//! The thread that makes the journal's checkpoints, and with them waits for the disk.

use rusqlite::Connection;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::*},
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

/// Pages of the write-ahead log after which it has to begin anew: a passive checkpoint never makes a busy one.
const RESTART_PAGES: i64 = 8000;

/// See the module; it ends when dropped.
pub(super) struct Checkpoints {
    ask: Option<SyncSender<()>>,
    /// Nothing is to be left of what was said: the write-ahead log is emptied as well.
    truncate: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    pub(super) fn start(path: &Path) -> Self {
        let (ask, asked) = sync_channel(1);
        let truncate = Arc::new(AtomicBool::new(false));
        let (path, truncated) = (path.to_owned(), truncate.clone());
        let run = move || {
            let Ok(db) = Connection::open(path) else { return };
            while asked.recv().is_ok() {
                if let Err(error) = checkpoint(&db, truncated.swap(false, AcqRel)) {
                    tracing::debug!(%error, "no checkpoint of the journal");
                }
            }
        };
        let thread = thread::Builder::new().name("checkpoints".into()).spawn(run);
        if let Err(error) = &thread {
            // The write-ahead log grows until the process ends; the chat goes on.
            tracing::warn!(%error, "cannot start a thread for the journal's checkpoints");
        }
        Self { ask: Some(ask), truncate, thread: thread.ok() }
    }

    pub(super) fn ask(&self) {
        // Full: one is being made, and another waits already.
        let _ = self.ask.as_ref().map(|ask| ask.try_send(()));
    }

    /// Does not wait for the one that is being made.
    pub(super) fn leave(&mut self) {
        self.thread = None;
    }

    pub(super) fn truncate(&self) {
        self.truncate.store(true, Release);
        self.ask();
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.ask = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

pub(super) fn checkpoint(db: &Connection, truncate: bool) -> rusqlite::Result<()> {
    let run =
        |mode: &str| db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, i64>(1));
    let pages = run("PASSIVE")?;
    if truncate {
        run("TRUNCATE")?;
    } else if pages > RESTART_PAGES {
        // After the passive one there is little left to do, for which the writer has to wait.
        run("RESTART")?;
    }
    Ok(())
}
