//! The journal's files: who may have them, what is in them, and how they are begun.

use super::{JournalError, OpenError, Result, meta::Meta, rotten};
use rusqlite::{Connection, config::DbConfig};
use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

/// Layout of the tables; another one is begun afresh.
pub(super) const VERSION: i64 = 2;
// In the log, what is read when it is opened comes before what may be long.
const TABLES: &str = "
    CREATE TABLE meta(one INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, pruned INTEGER NOT NULL, gap INTEGER NOT NULL,
        boot TEXT NOT NULL, clock INTEGER NOT NULL, wall INTEGER NOT NULL, crc INTEGER NOT NULL);
    CREATE TABLE life(number INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, last INTEGER NOT NULL, crc INTEGER NOT NULL);
    CREATE TABLE log(id INTEGER PRIMARY KEY, scope TEXT NOT NULL, size INTEGER NOT NULL, head INTEGER NOT NULL,
        event TEXT NOT NULL, body TEXT NOT NULL, attachments BLOB, crc INTEGER NOT NULL);
    CREATE TABLE floor(scope TEXT PRIMARY KEY, id INTEGER NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE session(member INTEGER PRIMARY KEY, lost INTEGER, record TEXT NOT NULL, crc INTEGER NOT NULL);
    CREATE TABLE history(room TEXT NOT NULL, id INTEGER NOT NULL, at INTEGER NOT NULL, body TEXT NOT NULL,
        crc INTEGER NOT NULL, PRIMARY KEY(room, id)) WITHOUT ROWID;
    CREATE INDEX history_at ON history(at);";
/// Tables whose rows nothing else accounts for: that none is missing is seen by their pages.
const UNCOUNTED: [&str; 4] = ["meta", "life", "floor", "session"];
/// Longest wait for another process that is about to let go of the journal.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// The right to a journal: as long as it is held no other server has it.
pub(in super::super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes it, for the journal at this path; makes its folder where there is none.
    ///
    /// # Errors
    /// Another process has it, also after a little while where it may be `about_to_end`. Else it cannot be used.
    pub(in super::super) fn take(path: &Path, about_to_end: bool) -> std::result::Result<Self, OpenError> {
        let cannot = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse(path.to_owned()),
            _ => OpenError::cannot(path, error),
        };
        make_folder(path).map_err(cannot)?;
        let path = path.with_extension("lock");
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(_) if about_to_end => wait(file).map(|_file| Self { _file }).map_err(cannot),
            Err(error) => Err(cannot(error.into())),
        }
    }
}

fn wait(file: File) -> io::Result<File> {
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

/// Makes the folder of a journal, where there is none.
///
/// # Errors
/// It cannot be made.
pub(in super::super) fn make_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| DirBuilder::new().recursive(true).mode(0o700).create(dir))
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

/// Opens the file; an empty one is begun. Whether there was one.
///
/// # Errors
/// It cannot; [`is_of_the_disk`] tells whose fault that is.
pub(super) fn database(path: &Path, begin: &Meta) -> Result<(Connection, bool)> {
    touch(path).map_err(|_| rusqlite::Error::InvalidPath(path.to_owned()))?;
    let db = Connection::open(path)?;
    db.busy_timeout(Duration::from_secs(5))?;
    db.set_prepared_statement_cache_capacity(32);
    // The next process reads the write-ahead log as well; to empty it first would only make it wait.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // What is deleted is overwritten, and nothing lies anywhere else: it was somebody's words.
    db.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0; PRAGMA secure_delete=ON; PRAGMA temp_store=MEMORY;")?;
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    if tables == 0 && version == 0 {
        db.execute_batch("BEGIN IMMEDIATE")?;
        db.execute_batch(TABLES)?;
        begin.write(&db)?;
        db.execute_batch(&format!("PRAGMA user_version={VERSION}; COMMIT"))?;
        return Ok((db, false));
    }
    if version != VERSION {
        return Err(JournalError::Version(version));
    }
    for table in UNCOUNTED {
        let well: String = db.query_row(&format!("PRAGMA quick_check({table})"), [], |row| row.get(0))?;
        if well != "ok" {
            return Err(rotten(0));
        }
    }
    Ok((db, true))
}

/// Whether the disk or the permissions are the trouble, rather than what the file holds.
pub(super) fn is_of_the_disk(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DiskFull, PermissionDenied, SystemIoFailure};
    let code = error.sqlite_error_code();
    // A file that could be opened for writing, and counts as read-only, is one that says so itself.
    matches!(code, Some(CannotOpen | DiskFull | PermissionDenied | SystemIoFailure))
        || matches!(error, rusqlite::Error::InvalidPath(_))
}
