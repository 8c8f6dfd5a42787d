//! The journal: what was said and who was where, in an SQLite file, so that the next process can go on.
//!
//! One writer, the sequencer's thread: it appends, prunes a bite, and commits once for a whole batch. It survives
//! the death of the process at any moment (WAL, `synchronous=NORMAL`); a machine that loses power may lose the last
//! moments. Checkpoints, which wait for the disk, are made by a thread of their own.
//!
//! Promises: its bounds hold at any time, the file is readable by its owner alone, two servers never share it. A
//! file that is damaged, or written by another version, is put out of the way and begun afresh. All that is read
//! from it is checked, and what should be there is known ([`index`]): what has rotted, or is missing, is an error,
//! never a message and never a gap.

mod checkpoints;
mod clock;
mod codec;
mod file;
mod floors;
mod history;
mod index;
mod log;
mod meta;
mod sessions;

pub(super) use clock::learn_this_boot;
pub(super) use file::{Lock, make_folder, remove};
pub(super) use log::{scope_of_member, scope_of_room};
pub(super) use sessions::KeptSession;
pub(in crate::server) use sessions::Record;

use super::offset::{Epoch, Kept, Life};
use checkpoints::Checkpoints;
use clock::Moment;
use codec::signed;
use file::{database, is_of_the_disk, touch};
use floors::Floors;
use index::Index;
use log::read_index;
use meta::Meta;
use rusqlite::Connection;
use std::{
    collections::{HashSet, VecDeque},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Between two checkpoints, and two signs of life.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(500);
pub(super) const ALIVE_EVERY: Duration = Duration::from_secs(10);
/// Longest time that what has been pruned may still lie in the write-ahead log.
pub(super) const SCRUB_EVERY: Duration = Duration::from_secs(30);

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// Another server writes it.
    #[error("{} is in use by another chatctl", .0.display())]
    InUse(PathBuf),
    /// The disk, or the permissions.
    #[error("{}: {reason}", .path.display())]
    Cannot {
        /// The file.
        path: PathBuf,
        /// What the machine said.
        reason: String,
    },
}

impl OpenError {
    fn cannot(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Cannot { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Why the journal failed while it was used.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    /// SQLite's own.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// A row is not what was written.
    #[error("the journal is damaged: row {0} is missing, or does not match its checksum")]
    Rotten(i64),
    /// Its layout is of another version.
    #[error("its layout is version {0}, not {known}", known = file::VERSION)]
    Version(i64),
}

fn rotten(row: i64) -> JournalError {
    JournalError::Rotten(row)
}

type Result<T> = std::result::Result<T, JournalError>;

/// What is kept at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    pub(super) window: Duration,
}

/// See the module.
pub(super) struct Journal {
    // Dropped in this order: the checkpoints end, then the database is closed.
    checkpoints: Checkpoints,
    db: Connection,
    meta: Meta,
    /// The lives before this one.
    before: Vec<Life>,
    index: Index,
    floors: Floors,
    bounds: Bounds,
    appended: usize,
    /// Which ids had been written by when; oldest first.
    marks: VecDeque<(Instant, u64)>,
    open: bool,
    checkpointed: Instant,
    alive: Instant,
    /// Since when something lies in the write-ahead log.
    unscrubbed: Option<Instant>,
    history: history::Due,
}

impl Journal {
    /// Opens the journal, or begins it; gives the sessions an earlier server knew.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn open(
        _: &Lock,
        path: &Path,
        bounds: Bounds,
        afresh: Option<&Kept>,
    ) -> std::result::Result<(Self, Vec<KeptSession>), OpenError> {
        let cannot = |error: &dyn std::fmt::Display| OpenError::cannot(path, error);
        if afresh.is_some() {
            remove(path).map_err(|error| cannot(&error))?;
        }
        // SQLite's other files take the mode of this one.
        touch(path).map_err(|error| cannot(&error))?;
        let first = Kept::begin();
        let begin = afresh.unwrap_or(&first);
        match Self::load(path, bounds, begin) {
            Err(JournalError::Sqlite(error)) if is_of_the_disk(&error) => Err(cannot(&error)),
            Err(problem) => {
                tracing::warn!(path = %path.display(), %problem, "the journal cannot be read and is begun afresh: sessions of before are not recovered");
                remove(path).and_then(|()| touch(path)).map_err(|error| cannot(&error))?;
                Self::load(path, bounds, begin).map_err(|error| cannot(&error))
            }
            Ok(opened) => Ok(opened),
        }
    }

    fn load(path: &Path, bounds: Bounds, begin: &Kept) -> Result<(Self, Vec<KeptSession>)> {
        let now = Instant::now();
        let (db, existed) = database(path, &Meta::afresh(begin.epoch, begin.last))?;
        let mut meta = Meta::read(&db)?;
        let mut before = meta::lives(&db)?;
        let floors = Floors::read(&db, now)?;
        let index = read_index(&db, meta.pruned)?;
        let alive = Moment::now();
        // What is there was written before the last sign of life, or soon after it.
        let (ended, clock) = (meta.alive.clock, meta.alive.clock_at(&alive));
        let last_words = ended.saturating_add(signed(ALIVE_EVERY.as_millis() as u64));
        let sessions = sessions::read(&db, last_words, clock)?;
        // Nothing can point beyond the last row: the end of the log would be missing.
        let ends =
            before.iter().map(|life| life.last).chain(sessions.iter().map(|kept| kept.record.newest()));
        let newest = ends.chain([floors.highest(), meta.gap]).max().unwrap_or(0);
        if newest > index.last() {
            return Err(rotten(signed(newest)));
        }
        let then = now.checked_sub(clock::between(last_words, clock)).unwrap_or(now);
        let marks = if index.len() > 0 { VecDeque::from([(then, index.last())]) } else { VecDeque::new() };
        meta.alive = alive;
        if existed {
            db.execute_batch("BEGIN IMMEDIATE")?;
            let kept = meta::begin_life(&db, Life { epoch: meta.epoch, last: index.last() }, before)?;
            (meta.epoch, before) = (kept.epoch, kept.before);
            meta.write(&db)?;
            db.execute_batch("COMMIT")?;
        }
        let journal = Self {
            checkpoints: Checkpoints::start(path),
            db,
            meta,
            before,
            index,
            floors,
            bounds,
            appended: 0,
            marks,
            open: false,
            checkpointed: now,
            alive: now,
            unscrubbed: Some(now),
            history: history::Due::default(),
        };
        Ok((journal, sessions))
    }

    /// Lets go of it at once, for another process to open it; a checkpoint that is being made is not waited for.
    pub(super) fn let_go(mut self) {
        self.checkpoints.leave();
    }

    /// What is in it.
    pub(super) fn kept(&self) -> Kept {
        Kept { epoch: self.meta.epoch, last: self.index.last(), before: self.before.clone() }
    }

    /// Up to this id something may have been said while there was no journal.
    pub(super) fn gap(&self) -> u64 {
        self.meta.gap
    }

    /// The highest id of the scope that is no longer there.
    pub(super) fn floor(&self, scope: &str) -> u64 {
        self.floors.get(scope)
    }

    /// Whether it is time to say by [`Journal::keep_floors`] which scopes still matter.
    pub(super) fn has_many_floors(&self, now: Instant) -> bool {
        self.floors.are_many(now, self.bounds.window)
    }

    /// Forgets the floors of all other scopes.
    pub(super) fn keep_floors(&mut self, needed: &HashSet<String>, now: Instant) -> Result<()> {
        self.begin()?;
        self.floors.keep(&self.db, needed, now)
    }

    /// Makes everything since the last commit safe, and keeps the bounds.
    pub(super) fn commit(&mut self, now: Instant) -> Result<()> {
        let pruned = self.prune(now)?;
        let signs = now.duration_since(self.alive) >= ALIVE_EVERY;
        if signs {
            (self.alive, self.meta.alive) = (now, Moment::now());
        }
        if pruned || signs {
            self.begin()?;
            self.meta.write(&self.db)?;
        }
        if std::mem::take(&mut self.open) {
            self.db.prepare_cached("COMMIT")?.execute([])?;
            self.unscrubbed.get_or_insert(now);
            if now.duration_since(self.checkpointed) >= CHECKPOINT_EVERY {
                self.checkpointed = now;
                self.checkpoints.ask();
            }
        }
        if pruned && self.index.len() == 0 || self.scrub_due().is_some_and(|due| due <= now) {
            self.unscrubbed = None;
            self.checkpoints.truncate();
            // Its cache never shrinks by itself; what is needed again is in the system's.
            self.db.execute_batch("PRAGMA shrink_memory")?;
        }
        Ok(())
    }

    /// When something has to be done without anybody's asking.
    pub(super) fn next_due(&self) -> Instant {
        if self.is_over() || self.history.is_now() {
            return self.alive; // now
        }
        let marked = self.marks.front().map(|(at, _)| *at + self.bounds.window);
        [marked, self.scrub_due()].into_iter().flatten().fold(self.alive + ALIVE_EVERY, Instant::min)
    }

    fn scrub_due(&self) -> Option<Instant> {
        self.unscrubbed.map(|since| since + SCRUB_EVERY.min(self.bounds.window))
    }

    fn begin(&mut self) -> Result<()> {
        if !self.open {
            self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            self.open = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
