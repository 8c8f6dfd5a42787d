//! The journal's files: who may have them, what is in them, and how they are begun.

use super::{
    JournalError, Kept, Result,
    codec::{signed, wall_clock},
};
use rusqlite::{Connection, OptionalExtension, config::DbConfig};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

/// Layout of the tables; another one is begun afresh.
const VERSION: i64 = 2;
const TABLES: &str = "
    CREATE TABLE meta(epoch INTEGER NOT NULL, pruned INTEGER NOT NULL, last INTEGER NOT NULL, alive INTEGER NOT NULL,
        gap INTEGER NOT NULL);
    CREATE TABLE log(id INTEGER PRIMARY KEY, scope TEXT NOT NULL, event TEXT NOT NULL, body TEXT NOT NULL,
        attachments BLOB, size INTEGER NOT NULL, crc INTEGER NOT NULL);
    CREATE INDEX log_scope ON log(scope, id);
    CREATE TABLE floor(scope TEXT PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE session(member INTEGER PRIMARY KEY, lost INTEGER, record TEXT NOT NULL, crc INTEGER NOT NULL);
    CREATE TABLE history(room TEXT NOT NULL, id INTEGER NOT NULL, at INTEGER NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY(room, id)) WITHOUT ROWID;
    CREATE INDEX history_at ON history(at);";
/// Longest wait for another process that is about to let go of the journal.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// Takes the lock file, waiting a little for whoever is about to let go of it.
///
/// # Errors
/// `WouldBlock`: another process has it. Else it cannot be used.
pub(super) fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    let (locked, wait) = channel();
    thread::spawn(move || {
        let result = file.lock().map(|()| file);
        let _ = locked.send(result);
    });
    match wait.recv_timeout(LOCK_WAIT) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
}

pub(super) fn touch(path: &Path) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).map(drop)
}

/// Removes what there is of a journal that nobody has open.
///
/// # Errors
/// It cannot be removed.
pub(in super::super) fn remove(path: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Opens the file and sees that all of it can be read; an empty one is begun.
pub(super) fn database(path: &Path, begin: Kept) -> Result<Connection> {
    touch(path).map_err(|_| rusqlite::Error::InvalidPath(path.to_owned()))?;
    let db = Connection::open(path)?;
    db.busy_timeout(Duration::from_secs(5))?;
    db.set_prepared_statement_cache_capacity(32);
    // The next process reads the write-ahead log as well; to empty it first would only make it wait.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // What is deleted is overwritten: it was somebody's words.
    db.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0; PRAGMA secure_delete=ON;")?;
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    if tables == 0 && version == 0 {
        db.execute_batch("BEGIN IMMEDIATE")?;
        db.execute_batch(TABLES)?;
        let (epoch, last) = (signed(begin.epoch.0), signed(begin.last));
        // Nothing of before is there.
        db.execute("INSERT INTO meta VALUES(?,?,?,?,?)", [epoch, last, last, wall_clock(), last])?;
        db.execute_batch(&format!("PRAGMA user_version={VERSION}; COMMIT"))?;
    } else if version != VERSION {
        return Err(rusqlite::Error::InvalidParameterName(format!(
            "its layout is version {version}, not {VERSION}"
        ))
        .into());
    }
    let meta = db
        .query_row("SELECT count(*) FROM meta WHERE typeof(epoch)='integer'", [], |row| row.get::<_, i64>(0));
    let gaps =
        db.query_row("SELECT max(id)-min(id)+1-count(*) FROM log", [], |row| row.get::<_, Option<i64>>(0));
    if meta.optional()?.unwrap_or(0) != 1 || gaps?.unwrap_or(0) != 0 {
        return Err(JournalError::Rotten(0));
    }
    Ok(db)
}

/// Whether the disk or the permissions are the trouble, rather than what the file holds.
pub(super) fn is_of_the_disk(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DiskFull, PermissionDenied, ReadOnly, SystemIoFailure};
    let code = error.sqlite_error_code();
    matches!(code, Some(CannotOpen | DiskFull | PermissionDenied | ReadOnly | SystemIoFailure))
        || matches!(error, rusqlite::Error::InvalidPath(_))
}
