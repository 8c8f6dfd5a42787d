//! The history: what happened to the apps, when and why. Kept over restarts, bounded, one JSON object a line.

use super::{keeper::Bounds, logs::Rotating};
use crate::{control::types::Happened, lock::lock};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Mutex,
};

/// The file, in the folder of the logs.
const FILE: &str = "events.jsonl";
/// Some ten thousand events.
const BOUNDS: Bounds = Bounds { size: 2 << 20, retain: 1 };

/// See the module.
pub(super) struct Events(Mutex<Rotating>);

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
        Rotating::open(file(state_dir), BOUNDS).map(Mutex::new).map(Self)
    }

    /// Adds one. What a full disk does not take is lost here, and still in the supervisor's own log.
    pub(super) fn record(&self, happened: &Happened) {
        if let Ok(mut line) = serde_json::to_vec(happened) {
            line.push(b'\n');
            let _ = lock(&self.0).write(&line);
        }
    }
}
