//! The journal: what was said and who was where, in an SQLite file, so that the next process can go on.
//!
//! One writer, the sequencer's thread: it appends, prunes a bite, and commits once for a whole batch. It survives
//! the death of the process at any moment (WAL, `synchronous=NORMAL`); a machine that loses power may lose the last
//! moments. Checkpoints, which wait for the disk, are made by a thread of their own.
//!
//! Promises: its bounds hold at any time, the file is readable by its owner alone, two servers never share it. A
//! file that is damaged, or written by another version, is put out of the way and begun afresh. Its rows carry
//! checksums: what has rotted is an error, never a message.

mod checkpoints;
mod codec;
mod file;

pub(super) use file::remove;

use super::offset::{Epoch, Kept};
use crate::chat::{Body, MemberId, Standing};
use checkpoints::Checkpoints;
use codec::{checksum, pack, row_checksum, signed, since, unpack, unsigned, wall_clock};
use file::{database, is_of_the_disk, lock, touch};
use rusqlite::{Connection, ToSql, params};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// What a row takes beside its texts, roughly, index and page overhead included.
const ROW: usize = 96;
/// Rows that are pruned at least, and at most, with one commit: never so many that deliveries wait.
const BITE: std::ops::RangeInclusive<usize> = 64..=2048;
/// How exactly it is known when something was written.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// Below so many floors nobody asks which are still needed.
const MANY_FLOORS: usize = 1024;
/// Between two checkpoints, and two signs of life.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(500);
pub(super) const ALIVE_EVERY: Duration = Duration::from_secs(10);
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

/// Why the journal failed while it was used.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    /// SQLite's own.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// A row does not have the checksum it was written with.
    #[error("the journal is damaged: row {0} does not match its checksum")]
    Rotten(i64),
}

type Result<T> = std::result::Result<T, JournalError>;

/// What is kept at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    pub(super) window: Duration,
}

/// To whom something was said: the texts cannot be mistaken for one another, whatever a room is called.
pub(super) fn scope_of_room(room: &str) -> String {
    format!("room {room}")
}
/// As [`scope_of_room`], of one member.
pub(super) fn scope_of_member(member: MemberId) -> String {
    format!("member {member}")
}

/// What is kept of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Under which it may come back.
    pub(super) pid: Option<String>,
    /// It can have received nothing up to this id.
    pub(super) since: u64,
    /// Room, name, and after which id it hears the room.
    pub(super) seats: Vec<(String, String, u64)>,
    /// How it stands with it while it is lost.
    pub(super) standing: Standing,
}

/// A session that an earlier server knew.
#[derive(Debug)]
pub(super) struct KeptSession {
    pub(super) member: MemberId,
    /// How long ago it was lost, as far as can be known.
    pub(super) lost_ago: Duration,
    pub(super) record: Record,
}

/// An event as it was said.
pub(super) struct Row {
    pub(super) id: u64,
    pub(super) scope: String,
    pub(super) event: String,
    pub(super) body: Body,
}

/// See the module.
pub(super) struct Journal {
    // Dropped in this order: the checkpoints end, the database is closed, the next process may have it.
    checkpoints: Checkpoints,
    db: Connection,
    kept: Kept,
    /// Up to this id something may have been said while there was no journal.
    pub(super) gap: u64,
    /// The highest id that is no longer there.
    pruned: u64,
    /// The same of each scope that has lost something: who knows less than this of one cannot be told all it missed.
    floors: HashMap<String, u64>,
    /// So many floors are worth a look at which are still needed.
    many_floors: usize,
    bounds: Bounds,
    /// Sizes of the rows, oldest first: ids `pruned + 1` to `last`.
    sizes: VecDeque<u32>,
    bytes: usize,
    appended: usize,
    /// Which ids had been written by when; oldest first.
    marks: VecDeque<(Instant, u64)>,
    open: bool,
    checkpointed: Instant,
    alive: Instant,
    /// Held as long as the journal is open.
    _lock: File,
}

impl Journal {
    /// Opens the journal, or begins it.
    ///
    /// # Errors
    /// Another server has it, or it cannot be written.
    pub(super) fn open(
        path: &Path,
        bounds: Bounds,
        afresh: Option<Kept>,
    ) -> std::result::Result<Self, OpenError> {
        let cannot = |error: &dyn std::fmt::Display| OpenError::Cannot {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        if let Some(dir) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| cannot(&error))?;
        }
        let lock = lock(&path.with_extension("lock")).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse(path.to_owned()),
            _ => cannot(&error),
        })?;
        // SQLite's other files take the mode of this one.
        touch(path).map_err(|error| cannot(&error))?;
        if afresh.is_some() {
            remove(path).map_err(|error| cannot(&error))?;
        }
        let kept = afresh.unwrap_or_else(|| Kept { epoch: Epoch::new(), last: 0 });
        let db = match database(path, kept) {
            Err(JournalError::Sqlite(error)) if is_of_the_disk(&error) => return Err(cannot(&error)),
            Err(problem) => {
                tracing::warn!(path = %path.display(), %problem, "the journal cannot be read and is begun afresh: sessions of before are not recovered");
                remove(path).and_then(|()| touch(path)).map_err(|error| cannot(&error))?;
                database(path, kept).map_err(|error| cannot(&error))?
            }
            Ok(db) => db,
        };
        Self::load(db, path, bounds, lock).map_err(|error| cannot(&error))
    }

    fn load(db: Connection, path: &Path, bounds: Bounds, lock: File) -> Result<Self> {
        let now = Instant::now();
        let (kept, pruned, alive, gap) =
            db.query_row("SELECT epoch, last, pruned, alive, gap FROM meta", [], |row| {
                let kept = Kept { epoch: Epoch(unsigned(row.get(0)?)), last: unsigned(row.get(1)?) };
                Ok((kept, unsigned(row.get(2)?), row.get::<_, i64>(3)?, unsigned(row.get(4)?)))
            })?;
        let last: Option<i64> = db.query_row("SELECT max(id) FROM log", [], |row| row.get(0))?;
        let kept = Kept { last: last.map_or(kept.last, unsigned).max(kept.last), ..kept };
        let mut statement = db.prepare("SELECT scope, id FROM floor")?;
        let floors = statement.query_map([], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))?;
        let floors = floors.collect::<rusqlite::Result<HashMap<String, u64>>>()?;
        drop(statement);
        let mut statement = db.prepare("SELECT size FROM log ORDER BY id")?;
        let sizes = statement
            .query_map([], |row| row.get::<_, u32>(0))?
            .collect::<rusqlite::Result<VecDeque<u32>>>()?;
        drop(statement);
        let bytes = sizes.iter().map(|size| *size as usize).sum();
        // What is there was written before the last sign of life.
        let then = now.checked_sub(since(alive)).unwrap_or(now);
        let checkpoints = Checkpoints::start(path);
        let marks = if kept.last > pruned { VecDeque::from([(then, kept.last)]) } else { VecDeque::new() };
        Ok(Self {
            checkpoints,
            db,
            kept,
            gap,
            pruned,
            floors,
            many_floors: MANY_FLOORS,
            bounds,
            sizes,
            bytes,
            appended: 0,
            marks,
            open: false,
            checkpointed: now,
            alive: now,
            _lock: lock,
        })
    }

    /// What is in it.
    pub(super) fn kept(&self) -> Kept {
        self.kept
    }

    /// Messages, and the bytes they take.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.sizes.len(), self.bytes)
    }

    /// The sessions an earlier server knew; those that had a connection when it ended count as lost with it.
    pub(super) fn sessions(&self) -> Result<Vec<KeptSession>> {
        let alive: i64 = self.db.query_row("SELECT alive FROM meta", [], |row| row.get(0))?;
        let mut statement =
            self.db.prepare("SELECT member, lost, record, crc FROM session ORDER BY member")?;
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get(3)?)))?;
        let mut sessions = Vec::new();
        for row in rows {
            let (member, lost, record, crc): (i64, Option<i64>, _, u32) = row?;
            let rotten = || JournalError::Rotten(member);
            if checksum(&[&member.to_le_bytes(), record.as_bytes()]) != crc {
                return Err(rotten());
            }
            let ended = alive.saturating_add(signed(ALIVE_EVERY.as_millis() as u64));
            sessions.push(KeptSession {
                member: usize::try_from(member).map_err(|_| rotten())?,
                lost_ago: since(lost.unwrap_or(ended)),
                record: serde_json::from_str(&record).map_err(|_| rotten())?,
            });
        }
        Ok(sessions)
    }

    /// Keeps an event under the next id.
    pub(super) fn append(&mut self, id: u64, scope: &str, event: &str, body: &Body) -> Result<()> {
        self.begin()?;
        let (json, attachments) = body.parts();
        let blob = (!attachments.is_empty()).then(|| pack(attachments));
        let crc = row_checksum(id, scope, event, &json, blob.as_deref());
        let size = ROW + 2 * scope.len() + event.len() + json.len() + blob.as_ref().map_or(0, Vec::len);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.db.prepare_cached("INSERT INTO log VALUES(?,?,?,?,?,?,?)")?.execute(params![
            signed(id),
            scope,
            event,
            json,
            blob,
            size,
            crc
        ])?;
        self.sizes.push_back(size);
        self.bytes += size as usize;
        self.appended += 1;
        self.kept.last = id;
        Ok(())
    }

    /// Keeps a session as it is now; lost so long ago, or not lost.
    pub(super) fn keep(&mut self, member: MemberId, lost: Option<Duration>, record: &Record) -> Result<()> {
        self.begin()?;
        let member = signed(member as u64);
        let lost = lost.map(|ago| wall_clock() - signed(ago.as_millis() as u64));
        let record = serde_json::to_string(record).unwrap_or_default();
        let crc = checksum(&[&member.to_le_bytes(), record.as_bytes()]);
        self.db
            .prepare_cached("INSERT OR REPLACE INTO session VALUES(?,?,?,?)")?
            .execute(params![member, lost, record, crc])?;
        Ok(())
    }

    /// Forgets a session.
    pub(super) fn forget(&mut self, member: MemberId) -> Result<()> {
        self.begin()?;
        self.db.prepare_cached("DELETE FROM session WHERE member=?")?.execute([signed(member as u64)])?;
        Ok(())
    }

    /// The highest id of the scope that is no longer there.
    pub(super) fn floor(&self, scope: &str) -> u64 {
        self.floors.get(scope).copied().unwrap_or(0)
    }

    /// Whether it is time to say by [`Journal::keep_floors`] which scopes still matter.
    pub(super) fn has_many_floors(&self) -> bool {
        self.floors.len() > self.many_floors
    }

    /// Forgets the floors of all other scopes.
    pub(super) fn keep_floors(&mut self, needed: &HashSet<String>) -> Result<()> {
        self.begin()?;
        let mut statement = self.db.prepare_cached("DELETE FROM floor WHERE scope=?")?;
        for scope in self.floors.keys().filter(|scope| !needed.contains(*scope)) {
            statement.execute([scope])?;
        }
        self.floors.retain(|scope, _| needed.contains(scope));
        self.many_floors = MANY_FLOORS.max(2 * self.floors.len());
        Ok(())
    }

    /// The events of these scopes with ids above `from`, up to `to`, oldest first, `limit` at most.
    pub(super) fn read(&self, scopes: &[String], from: u64, to: u64, limit: usize) -> Result<Vec<Row>> {
        let marks = vec!["?"; scopes.len()].join(",");
        let sql = format!(
            "SELECT id, scope, event, body, attachments, crc FROM log WHERE id > ? AND id <= ? AND scope IN ({marks}) ORDER BY id LIMIT {limit}"
        );
        let mut statement = self.db.prepare_cached(&sql)?;
        let range = [signed(from), signed(to)];
        let bounds = range.iter().map(|id| id as &dyn ToSql);
        let parameters = bounds.chain(scopes.iter().map(|scope| scope as &dyn ToSql));
        let rows = statement.query_map(rusqlite::params_from_iter(parameters), |row| {
            let parts: (i64, String, String, String, Option<Vec<u8>>, u32) =
                (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?);
            Ok(parts)
        })?;
        let mut events = Vec::new();
        for row in rows {
            let (id, scope, event, json, blob, crc) = row?;
            let intact = row_checksum(unsigned(id), &scope, &event, &json, blob.as_deref()) == crc;
            let body =
                intact.then(|| Body::from_parts(json, unpack(blob.as_deref().unwrap_or_default()))).flatten();
            events.push(Row { id: unsigned(id), scope, event, body: body.ok_or(JournalError::Rotten(id))? });
        }
        Ok(events)
    }

    /// Keeps a message for newcomers, of whom each gets `limit`.
    pub(super) fn remember(&mut self, room: &str, id: u64, body: &Body, limit: usize) -> Result<()> {
        let (json, attachments) = body.parts();
        if !attachments.is_empty() {
            return Ok(());
        }
        self.begin()?;
        self.db.prepare_cached("INSERT INTO history VALUES(?,?,?,?)")?.execute(params![
            room,
            signed(id),
            wall_clock(),
            json
        ])?;
        self.db
            .prepare_cached("DELETE FROM history WHERE room=?1 AND id <= (SELECT id FROM history WHERE room=?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)")?
            .execute(params![room, signed(limit as u64)])?;
        Ok(())
    }

    /// What is kept for newcomers of a room, oldest first.
    pub(super) fn remembered(&self, room: &str, keep: Duration) -> Result<Vec<Box<RawValue>>> {
        let since = wall_clock() - signed(keep.as_millis() as u64);
        let mut statement =
            self.db.prepare_cached("SELECT body FROM history WHERE room=? AND at>=? ORDER BY id")?;
        let rows = statement.query_map(params![room, since], |row| row.get::<_, String>(0))?;
        let mut messages = Vec::new();
        for row in rows {
            messages.extend(RawValue::from_string(row?).ok());
        }
        Ok(messages)
    }

    /// Forgets what has been kept for newcomers for longer than this.
    pub(super) fn forget_history(&mut self, keep: Duration) -> Result<()> {
        self.begin()?;
        let before = wall_clock() - signed(keep.as_millis() as u64);
        self.db.prepare_cached("DELETE FROM history WHERE at<?")?.execute([before])?;
        Ok(())
    }

    /// Makes everything since the last commit safe, and keeps the bounds.
    pub(super) fn commit(&mut self, now: Instant) -> Result<()> {
        self.prune(now)?;
        if now.duration_since(self.alive) >= ALIVE_EVERY {
            self.begin()?;
            self.db.prepare_cached("UPDATE meta SET alive=?")?.execute([wall_clock()])?;
            self.alive = now;
        }
        if std::mem::take(&mut self.open) {
            self.db.prepare_cached("COMMIT")?.execute([])?;
            if now.duration_since(self.checkpointed) >= CHECKPOINT_EVERY {
                self.checkpointed = now;
                self.checkpoints.ask();
            }
        }
        Ok(())
    }

    /// When something has to be done without anybody's asking.
    pub(super) fn next_due(&self) -> Instant {
        let marked = self.marks.front().map(|(at, _)| *at + self.bounds.window);
        marked.unwrap_or(self.alive + ALIVE_EVERY).min(self.alive + ALIVE_EVERY)
    }

    fn begin(&mut self) -> Result<()> {
        if !self.open {
            self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            self.open = true;
        }
        Ok(())
    }

    /// Lets go of the oldest, a bite at a time.
    fn prune(&mut self, now: Instant) -> Result<()> {
        let marked = self.marks.back().map_or(self.pruned, |(_, id)| *id);
        if self.kept.last > marked
            && self.marks.back().is_none_or(|(at, _)| now.duration_since(*at) >= MARK_EVERY)
        {
            self.marks.push_back((now, self.kept.last));
        }
        let expired = self.marks.iter().take_while(|(at, _)| *at + self.bounds.window <= now).last();
        let expired = expired.map_or(0, |(_, id)| *id);
        let bite = (2 * std::mem::take(&mut self.appended)).clamp(*BITE.start(), *BITE.end());
        let before = self.pruned;
        for _ in 0..bite {
            let over = self.sizes.len() > self.bounds.messages || self.bytes > self.bounds.bytes;
            if !over && self.pruned >= expired {
                break;
            }
            let Some(size) = self.sizes.pop_front() else { break };
            self.bytes -= size as usize;
            self.pruned += 1;
        }
        while self.marks.pop_front_if(|(_, id)| *id <= self.pruned).is_some() {}
        if self.pruned > before { self.delete() } else { Ok(()) }
    }

    fn delete(&mut self) -> Result<()> {
        self.begin()?;
        let pruned = signed(self.pruned);
        let mut statement =
            self.db.prepare_cached("SELECT scope, max(id) FROM log WHERE id<=? GROUP BY scope")?;
        let floors =
            statement.query_map([pruned], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        let floors = floors.collect::<rusqlite::Result<Vec<_>>>()?;
        let mut statement = self.db.prepare_cached("INSERT OR REPLACE INTO floor VALUES(?,?)")?;
        for (scope, id) in floors {
            statement.execute(params![scope, id])?;
            self.floors.insert(scope, unsigned(id));
        }
        self.db.prepare_cached("DELETE FROM log WHERE id<=?")?.execute([pruned])?;
        self.db
            .prepare_cached("UPDATE meta SET pruned=?, last=?")?
            .execute([pruned, signed(self.kept.last)])?;
        if self.sizes.is_empty() {
            self.checkpoints.truncate();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
