//! The state directory: one supervisor at a time, its folders, and the children an earlier one left behind.

use crate::{error::Failure, lock::lock};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    param::clock_ticks_per_second,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
    time::{ClockId, clock_gettime},
};
use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

/// Longest wait for a takeover that was going on when the earlier supervisor died: longer than the two wait for each
/// other.
const HANDOVER: Duration = Duration::from_secs(12);

/// Its lock, with the pid of who has it.
const LOCK: &str = "supervisor.lock";

/// Held for the life of the supervisor; the lock goes with it, however it ends.
pub(super) struct StateDir {
    root: PathBuf,
    lock: Mutex<File>,
}

impl StateDir {
    /// Makes the folders and takes the lock.
    ///
    /// # Errors
    /// It cannot be written, or another supervisor has it (exit code 2, nothing was started).
    pub(super) fn open(root: &Path) -> Result<Self, Failure> {
        let lock = take(root).map_err(|why| match why {
            Unavailable::Io(error) => unusable(root, error),
            Unavailable::Taken(pid) => Failure::usage(format_args!(
                "another supervisor (pid {pid}) has the state directory {}",
                root.display()
            ))
            .hint("`chatctl status` shows it; a second one needs a state_dir of its own"),
        })?;
        Ok(Self { root: root.to_owned(), lock: Mutex::new(lock) })
    }

    /// Whether it still is there, and not another in its place.
    pub(super) fn is_there(&self) -> bool {
        let place = |file: fs::Metadata| (file.dev(), file.ino());
        let held = lock(&self.lock).metadata().map(place);
        let there = fs::metadata(self.root.join(LOCK)).map(place);
        matches!((held, there), (Ok(held), Ok(there)) if held == there)
    }

    /// Makes anew what somebody has removed of it.
    ///
    /// # Errors
    /// It cannot be written, or another supervisor came meanwhile.
    pub(super) fn renew(&self) -> Result<(), Unavailable> {
        if self.is_there() {
            return Ok(create(&self.root)?);
        }
        *lock(&self.lock) = take(&self.root)?;
        Ok(())
    }

    /// Another supervisor may have it.
    pub(super) fn let_go(&self) {
        let _ = lock(&self.lock).unlock();
    }

    /// Where the Unix sockets and pid files are.
    pub(super) fn run(&self) -> PathBuf {
        self.root.join("run")
    }
}

/// Why a supervisor cannot have it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unavailable {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("another supervisor (pid {0}) has it")]
    Taken(String),
}

/// Makes the folders and takes the lock.
fn take(root: &Path) -> Result<File, Unavailable> {
    create(root)?;
    let mut open = OpenOptions::new();
    open.create(true).truncate(false).read(true).write(true).mode(0o640);
    let mut lock = open.open(root.join(LOCK))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(error.into()),
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = lock.read_to_string(&mut pid);
            return Err(Unavailable::Taken(pid.trim().to_owned()));
        }
    }
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())?;
    Ok(lock)
}

/// Stops the child that an earlier supervisor left behind when it was killed: it still has the port. Gracefully,
/// and after `patience` by force.
pub(super) fn clear_orphan(run: &Path, app: &str, patience: Duration) {
    for pid in recorded(run, app) {
        tracing::warn!(
            app,
            pid = pid.as_raw_pid(),
            "stopping the child that a killed supervisor left behind"
        );
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        for (signal, patience) in [(Signal::TERM, patience), (Signal::KILL, Duration::from_secs(5))] {
            let _ = pidfd_send_signal(&process, signal);
            if any_ends(&[process.as_fd()], patience) {
                break;
            }
        }
    }
}

/// Waits until one of these processes has ended, so long at most; whether one has.
fn any_ends(processes: &[BorrowedFd<'_>], patience: Duration) -> bool {
    let mut ends: Vec<_> =
        processes.iter().map(|process| PollFd::from_borrowed_fd(*process, PollFlags::IN)).collect();
    poll(&mut ends, Timespec::try_from(patience).ok().as_ref()).is_ok_and(|ended| ended > 0)
}

/// Why there can be no supervisor with it.
pub(super) fn unusable(root: &Path, error: impl fmt::Display) -> Failure {
    Failure::usage(format_args!("cannot use the state directory {}: {error}", root.display()))
        .hint("set state_dir in chat.toml to a folder this user may write")
}

/// Makes its folders, for nobody else's eyes.
pub(super) fn create(root: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    [root.to_owned(), root.join("logs"), root.join("run")]
        .iter()
        .try_for_each(|folder| builder.create(folder))
}

fn pid_file(run: &Path, app: &str) -> PathBuf {
    run.join(format!("{app}.pid"))
}

/// Records the child on duty, and one that is about to take over from it, so that a later supervisor finds who is left
/// should this one be killed.
pub(super) fn record(run: &Path, app: &str, pids: &[u32]) {
    let line = |pid: &u32| Some(format!("{pid} {}\n", born(*pid)?));
    if let Err(error) = write(run, app, &pids.iter().filter_map(line).collect::<String>()) {
        tracing::warn!(app, "cannot record the child's pid: {error}");
    }
}

/// Forgets one of them: it is gone.
pub(super) fn forget(run: &Path, app: &str, pid: Option<u32>) {
    let text = fs::read_to_string(pid_file(run, app)).unwrap_or_default();
    let other = |line: &&str| line.split(' ').next().and_then(|pid| pid.parse().ok()) != pid;
    let others: String = text.lines().filter(other).map(|line| format!("{line}\n")).collect();
    // What cannot be written names a process that is gone: it is known by its birth.
    let _ = match others.as_str() {
        "" => fs::remove_file(pid_file(run, app)),
        others => write(run, app, others),
    };
}

/// Whole or not at all: on a full disk the one before is still there.
fn write(run: &Path, app: &str, text: &str) -> io::Result<()> {
    let next = run.join(format!("{app}.pid.next"));
    let open = OpenOptions::new().create(true).truncate(true).write(true).mode(0o640).open(&next);
    open?.write_all(text.as_bytes())?;
    fs::rename(next, pid_file(run, app))
}

/// The child that an earlier supervisor left behind, if that very process still lives. Of two, one of which was about to
/// take over from the other, one will be left in a moment; else the one that was on duty stays.
pub(super) fn left_behind(run: &Path, app: &str) -> Option<u32> {
    let mut left = recorded(run, app);
    let processes: Vec<_> =
        left.iter().filter_map(|pid| pidfd_open(*pid, PidfdFlags::empty()).ok()).collect();
    if let [duty, standby] = processes.as_slice()
        && any_ends(&[duty.as_fd(), standby.as_fd()], HANDOVER)
    {
        left = recorded(run, app);
    } else if let [_, standby] = processes.as_slice() {
        let _ = pidfd_send_signal(standby, Signal::KILL);
    }
    left.first().and_then(|pid| u32::try_from(pid.as_raw_pid()).ok())
}

/// Removes the sockets of children and keepers that are gone.
pub(super) fn clear_sockets(run: &Path, app: &str, in_use: &[&Path]) {
    for entry in fs::read_dir(run).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let rest = name.to_str().and_then(|name| name.strip_prefix(app)?.strip_prefix('.'));
        let of_one = rest.is_some_and(|rest| rest.ends_with(".notify") || rest.ends_with(".keep"));
        if of_one && !in_use.contains(&path.as_path()) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Those that live.
fn recorded(run: &Path, app: &str) -> Vec<Pid> {
    let text = fs::read_to_string(pid_file(run, app)).unwrap_or_default();
    let lives = |line: &str| {
        let (pid, start) = line.trim().split_once(' ')?;
        let pid: u32 = pid.parse().ok()?;
        (born(pid)? == start).then(|| Pid::from_raw(i32::try_from(pid).ok()?)).flatten()
    };
    text.lines().filter_map(lives).collect()
}

/// For how long a process has lived.
pub(super) fn age(pid: u32) -> Option<Duration> {
    let ticks: u64 = born(pid)?.parse().ok()?;
    let since_boot = clock_gettime(ClockId::Boottime);
    let now = Duration::new(u64::try_from(since_boot.tv_sec).ok()?, u32::try_from(since_boot.tv_nsec).ok()?);
    now.checked_sub(Duration::from_millis(ticks.checked_mul(1000)? / clock_ticks_per_second()))
}

/// When a process that lives began, in the kernel's ticks: together with its pid that names it for good (proc(5), field 22).
fn born(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name, in parentheses, and may hold anything; the third is the state.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ended = matches!(fields.first(), Some(&("Z" | "X")));
    fields.get(19).filter(|_| !ended).map(|born| (*born).to_owned())
}
