//! The history: what happened to the apps, when and why. Kept over restarts, bounded, one JSON object a line; and told
//! to those who listen at the moment.

use super::{keeper::Bounds, logs::Rotating};
use crate::{control::types::Happened, lock::lock};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Mutex,
};
use tokio::sync::broadcast;

/// The file, in the folder of the logs.
const FILE: &str = "events.jsonl";
/// Some ten thousand events.
const BOUNDS: Bounds = Bounds { size: 2 << 20, retain: 1 };

/// Who listens and is that far behind misses some.
const BEHIND: usize = 256;

/// See the module.
pub(super) struct Events {
    file: Mutex<Rotating>,
    listeners: broadcast::Sender<Happened>,
}

/// Where a supervisor with this state directory keeps it.
pub(crate) fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("logs").join(FILE)
}

impl Events {
    /// Opens it, to append.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn open(state_dir: &Path) -> io::Result<Self> {
        let file = Mutex::new(Rotating::open(file(state_dir), BOUNDS)?);
        Ok(Self { file, listeners: broadcast::Sender::new(BEHIND) })
    }

    /// Where to listen to what happens from now on.
    pub(super) fn listeners(&self) -> broadcast::Sender<Happened> {
        self.listeners.clone()
    }

    /// Adds one. What a full disk does not take is lost here, and still in the supervisor's own log.
    pub(super) fn record(&self, happened: &Happened) {
        if let Ok(mut line) = serde_json::to_vec(happened) {
            line.push(b'\n');
            let _ = lock(&self.file).write(&line);
        }
        // Nobody need listen.
        let _ = self.listeners.send(happened.clone());
    }
}
