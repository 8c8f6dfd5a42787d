//! Changes of files: which are watched, and until when each is waited on.

use super::{
    super::{
        unit::Unit,
        watch::{self, Watched},
    },
    Driver,
};
use crate::config::Watch;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Quiet time after the last change of chat.toml: editors write in several steps.
const CONFIG_QUIET: Duration = Duration::from_millis(300);
/// The same of files that come in pairs, as a certificate and its key.
const REREAD_QUIET: Duration = Duration::from_millis(500);

/// A changed file.
pub(in crate::supervisor) enum Change {
    /// chat.toml itself.
    Config,
    /// Something an app is made of; as people would name it.
    Of { app: String, what: String },
    /// A file that an app's server reads again by itself.
    Reread { app: String, what: String },
}

impl Driver {
    pub(super) fn file(&mut self, change: Change) {
        let now = Instant::now();
        match change {
            Change::Config => self.config_changes.disturb("chat.toml".to_owned(), CONFIG_QUIET, now),
            Change::Reread { app, what } => {
                if let Some(unit) = self.units.iter_mut().find(|unit| unit.name() == app) {
                    unit.rereads.disturb(what, REREAD_QUIET, now);
                }
            }
            Change::Of { app, what } => {
                if let Some(unit) = self.units.iter_mut().find(|unit| unit.name() == app) {
                    let delay = unit.app().watch_delay;
                    unit.changes.disturb(what, delay, now);
                }
            }
        }
    }

    /// Watches what the apps are made of now.
    pub(in crate::supervisor) fn watch(&mut self) {
        let config =
            self.config.path.as_ref().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone()));
        let watched =
            |unit: &Unit| Watched::new(&self.config, unit.app(), &self.place.program, unit.latest().reread());
        let on_duty = self
            .units
            .iter()
            .filter(|unit| unit.app().watch != Watch::Off || !unit.latest().reread().is_empty());
        let watched: Vec<Watched> = on_duty.map(watched).collect();
        let started =
            watch::start(&watched, config.as_deref(), reporter(&watched, config.clone(), &self.changes));
        self.blind = match started {
            Ok(watcher) => {
                self.watcher = Some(Box::new(watcher));
                None
            }
            Err(error) => {
                let error = format!("changes of files are not seen: {error}");
                tracing::error!("{error}");
                Some(error)
            }
        };
    }
}

/// Hands on the changes that count for somebody.
fn reporter(
    watched: &[Watched],
    config: Option<PathBuf>,
    changes: &mpsc::Sender<Change>,
) -> impl Fn(&std::path::Path) + Send + 'static {
    let (watched, changes) = (watched.to_vec(), changes.clone());
    move |path| {
        if config.as_deref() == Some(path) {
            // An error here: the supervisor is gone.
            let _ = changes.blocking_send(Change::Config);
        }
        for watched in &watched {
            if let Some(what) = watched.is_reread(path) {
                let _ = changes.blocking_send(Change::Reread { app: watched.app.clone(), what });
            }
            if let Some(what) = watched.counts(path) {
                let _ = changes.blocking_send(Change::Of { app: watched.app.clone(), what });
            }
        }
    }
}
