//! The state directory: one supervisor at a time, its folders, and the children an earlier one left behind.

use crate::error::Failure;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Held for the life of the supervisor; the lock goes with it, however it ends.
pub(super) struct StateDir {
    root: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Makes the folders and takes the lock.
    ///
    /// # Errors
    /// It cannot be written, or another supervisor has it (exit code 2, nothing was started).
    pub(super) fn open(root: &Path) -> Result<Self, Failure> {
        let cannot = |error: io::Error| {
            Failure::usage(format_args!("cannot use the state directory {}: {error}", root.display()))
                .hint("set state_dir in chat.toml to a folder this user may write")
        };
        create(root).map_err(cannot)?;
        let path = root.join("supervisor.lock");
        let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let mut lock = open.map_err(cannot)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = lock.read_to_string(&mut pid);
                return Err(Failure::usage(format_args!(
                    "another supervisor (pid {}) has the state directory {}",
                    pid.trim(),
                    root.display()
                ))
                .hint("`chatctl status` shows it; a second one needs a state_dir of its own"));
            }
        }
        let write = |lock: &mut File| {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        write(&mut lock).map_err(cannot)?;
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    /// Where the Unix sockets and pid files are.
    pub(super) fn run(&self) -> PathBuf {
        self.root.join("run")
    }
}

/// Stops the child that an earlier supervisor left behind when it was killed: it still has the port. Gracefully,
/// and after `patience` by force.
pub(super) fn clear_orphan(run: &Path, app: &str, patience: Duration) {
    let Some(pid) = recorded(run, app) else { return };
    tracing::warn!(app, pid = pid.as_raw_pid(), "stopping the child that a killed supervisor left behind");
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    for (signal, patience) in [(Signal::TERM, patience), (Signal::KILL, Duration::from_secs(5))] {
        let _ = pidfd_send_signal(&process, signal);
        let mut end = [PollFd::new(&process, PollFlags::IN)];
        let patience = Timespec::try_from(patience).ok();
        if poll(&mut end, patience.as_ref()).is_ok_and(|ended| ended > 0) {
            break;
        }
    }
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

/// Records a child, so that a later supervisor finds it should this one be killed.
pub(super) fn record(run: &Path, app: &str, pid: u32) {
    // Whole or not at all: on a full disk the one before is still there.
    let write = |born: String| {
        let (path, next) = (pid_file(run, app), run.join(format!("{app}.pid.next")));
        fs::write(&next, format!("{pid} {born}\n")).and_then(|()| fs::rename(&next, path))
    };
    let written = born(pid).map(write);
    if let Some(Err(error)) = written {
        tracing::warn!(app, "cannot record the child's pid: {error}");
    }
}

/// Forgets it, if it is the recorded one: it is gone.
pub(super) fn forget(run: &Path, app: &str, pid: Option<u32>) {
    let text = fs::read_to_string(pid_file(run, app)).unwrap_or_default();
    let recorded = text.split(' ').next().and_then(|pid| pid.parse().ok());
    if recorded.is_some() && recorded == pid {
        let _ = fs::remove_file(pid_file(run, app));
    }
}

/// The child that an earlier supervisor left behind, if that very process still lives.
pub(super) fn left_behind(run: &Path, app: &str) -> Option<u32> {
    recorded(run, app).and_then(|pid| u32::try_from(pid.as_raw_pid()).ok())
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

fn recorded(run: &Path, app: &str) -> Option<Pid> {
    let text = fs::read_to_string(pid_file(run, app)).ok()?;
    let (pid, start) = text.trim().split_once(' ')?;
    let pid: u32 = pid.parse().ok()?;
    (born(pid)? == start).then(|| Pid::from_raw(i32::try_from(pid).ok()?)).flatten()
}

/// When a process began, in the kernel's ticks: together with its pid that names it for good (proc(5), field 22).
fn born(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name, in parentheses, and may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
}
