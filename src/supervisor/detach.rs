//! Going to the background: a second supervisor is started in a session of its own, and waited for.
//!
//! What it says goes to `<state_dir>/logs/supervisor.log`. It says `READY=1` when every app is ready.

use super::{keeper::Bounds, logs::Rotating, state_dir, unix::Notices, words};
use crate::{
    config::Config,
    error::{Exit, Failure},
};
use anyhow::Context;
use rustix::stdio::dup2_stderr;
use std::{
    fs::OpenOptions,
    io::{self, IsTerminal, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::process::Command;

/// Lines of its log that are shown when it did not work.
const SHOWN: usize = 30;
/// What takes longer is told how far it is.
const PATIENCE: Duration = Duration::from_secs(2);
/// What stands before the reason.
const SAYS: &str = "chatctl: ";

/// As much of its log is kept as of an app's.
const BOUNDS: Bounds = Bounds { size: 10 << 20, retain: 3 };

/// Its log.
fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("logs/supervisor.log")
}

/// Starts a supervisor in the background and returns its pid when every app is ready.
///
/// # Errors
/// It ended before that: its reason, the last log lines, its exit code.
pub(crate) async fn detach(config: &Config) -> Result<u32, Failure> {
    let notify_path = config.state_dir.join(format!("detach-{}.notify", std::process::id()));
    let log = file(&config.state_dir);
    let begun = words::length(&log);
    let started = prepare(config, &notify_path, &log);
    let outcome = match started {
        Ok((mut notify, mut command)) => wait(&mut notify, &mut command, &log, begun).await,
        Err(error) => Err(state_dir::unusable(&config.state_dir, format_args!("{error:#}"))),
    };
    let _ = std::fs::remove_file(&notify_path);
    outcome
}

/// The log of a supervisor in the background: put aside by size like any other, and its standard error with it,
/// where panics and the keepers' complaints go.
pub(crate) struct OwnLog(Rotating);

impl OwnLog {
    /// Opens it, to append.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn open(state_dir: &Path) -> io::Result<Self> {
        let log = Self(Rotating::open(file(state_dir), BOUNDS)?);
        dup2_stderr(log.0.file())?;
        Ok(log)
    }
}

impl Write for OwnLog {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let id = |log: &Rotating| log.file().metadata().map(|file| file.ino()).ok();
        let before = id(&self.0);
        // What a full disk does not take is counted, and told later.
        let _ = self.0.write(lines);
        if before != id(&self.0) {
            dup2_stderr(self.0.file())?;
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn prepare(config: &Config, notify_path: &Path, log: &Path) -> anyhow::Result<(Notices, Command)> {
    state_dir::create(&config.state_dir)?;
    let notify = Notices::bind(notify_path)?;
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(log)
        .with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["supervise", "--background"]);
    if let Some(path) = &config.path {
        command.arg("--config").arg(path);
    }
    command.env("NOTIFY_SOCKET", notify_path).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    Ok((notify, command))
}

async fn wait(notify: &mut Notices, command: &mut Command, log: &Path, begun: u64) -> Result<u32, Failure> {
    let child = command.spawn();
    let mut child =
        child.map_err(|error| Failure::failed(format_args!("cannot start the supervisor: {error}")))?;
    let pid = child.id().unwrap_or(0);
    let patience = tokio::time::sleep(PATIENCE);
    tokio::pin!(patience);
    let (mut news, mut gives_up) = (None::<String>, false);
    loop {
        tokio::select! {
            status = child.wait() => {
                let exit = match status.ok().and_then(|status| status.code()) {
                    Some(2) => Exit::Usage,
                    _ => Exit::Failed,
                };
                return Err(reason(exit, log, begun));
            }
            notice = notify.hear() => match notice {
                Some(_) => return Ok(pid),
                None => news = notify.said().or(news),
            },
            () = &mut patience, if !patience.is_elapsed() => {}
        }
        // Once it stops, why it does is what there is to say, and comes at the end.
        gives_up |= news.as_ref().is_some_and(|status| status.contains(" stop"));
        if patience.is_elapsed() && !gives_up {
            say(news.take());
        }
    }
}

/// Tells who waits at a terminal how far it is.
fn say(status: Option<String>) {
    if let Some(status) = status.filter(|_| io::stderr().is_terminal()) {
        let _ = writeln!(io::stderr(), "chatctl: {status}");
    }
}

/// Its own reason, which is the last it wrote; else what it wrote last, since it began.
fn reason(exit: Exit, log: &Path, begun: u64) -> Failure {
    let mut lines = words::since(log, begun, SHOWN);
    if let Some(at) = lines.iter().rposition(|line| line.starts_with(SAYS)) {
        let said = lines.split_off(at).join("\n");
        return Failure::new(exit, said.trim_start_matches(SAYS));
    }
    let last = lines.join("\n  ");
    let message = format!("the supervisor did not come up; its last lines in {}:\n  {last}", log.display());
    Failure::new(exit, message)
}
