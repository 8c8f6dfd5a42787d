//! The thread that makes the journal's checkpoints, and with them waits for the disk.
//!
//! Whoever else has the file open (a backup, somebody who looks into it) can keep the write-ahead log from beginning
//! anew. A checkpoint that waits for them holds up the writer, and with it the chat: so it does not wait for long, nor
//! often.

use rusqlite::{Connection, OpenFlags, config::DbConfig};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::*},
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Pages of the write-ahead log after which it has to begin anew: a passive checkpoint never makes a busy one.
const RESTART_PAGES: i64 = 8000;
/// Longest wait for others; meanwhile the journal cannot be written.
const WAIT: Duration = Duration::from_millis(50);
/// Pause after one that others stood in the way of.
const PAUSE: Duration = Duration::from_secs(5);

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
        let mut maker = Maker {
            path: path.to_owned(),
            db: None,
            truncate: truncate.clone(),
            again: None,
            failing: false,
        };
        let run = move || {
            while asked.recv().is_ok() {
                maker.make();
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

/// What the thread knows.
struct Maker {
    path: PathBuf,
    db: Option<Connection>,
    truncate: Arc<AtomicBool>,
    /// When to wait for others again.
    again: Option<Instant>,
    /// It has been said that there is none.
    failing: bool,
}

impl Maker {
    fn make(&mut self) {
        let depth = if self.again.is_some_and(|again| Instant::now() < again) {
            Depth::Passive
        } else if self.truncate.swap(false, AcqRel) {
            Depth::Truncate
        } else {
            Depth::Restart
        };
        match self.database().and_then(|db| checkpoint(db, depth)) {
            Ok(done) => {
                self.failing = false;
                if !done {
                    self.again = Some(Instant::now() + PAUSE);
                    self.truncate.fetch_or(depth == Depth::Truncate, AcqRel);
                }
            }
            Err(error) => {
                self.db = None;
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(path = %self.path.display(), %error, "no checkpoint of the journal: its write-ahead log grows until there is one");
                }
            }
        }
    }

    fn database(&mut self) -> rusqlite::Result<&Connection> {
        let db = match self.db.take() {
            Some(db) => db,
            None => open(&self.path)?,
        };
        Ok(self.db.insert(db))
    }
}

/// Only one that is there: it may have been put out of the way.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(WAIT)?;
    // The next process may be waiting for this one to let go.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(db)
}

/// How much a checkpoint is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// What can be done without waiting for anybody.
    Passive,
    /// The log begins anew, where it is long.
    Restart,
    /// Nothing is left of it.
    Truncate,
}

/// Whether it did what it was to do: others may have stood in the way.
pub(super) fn checkpoint(db: &Connection, depth: Depth) -> rusqlite::Result<bool> {
    // Whether somebody stood in the way, and the pages of the log.
    let run = |mode: &str| {
        db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
            Ok((row.get::<_, bool>(0)?, row.get::<_, i64>(1)?))
        })
    };
    let (_, pages) = run("PASSIVE")?;
    // After the passive one there is little left to do, for which the writer has to wait.
    let (busy, _) = match depth {
        Depth::Truncate => run("TRUNCATE")?,
        Depth::Restart if pages > RESTART_PAGES => run("RESTART")?,
        Depth::Restart | Depth::Passive => return Ok(true),
    };
    Ok(!busy)
}
