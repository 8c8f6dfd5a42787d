//! Changes of files: which are watched, and until when each is waited on.

use super::{
    super::{
        unit::Unit,
        watch::{self, Watched},
    },
    Driver,
};
use crate::{config::Watch, lock::lock};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Quiet time after the last change of chat.toml: editors write in several steps.
const CONFIG_QUIET: Duration = Duration::from_millis(300);
/// The same of files that come in pairs, as a certificate and its key.
const REREAD_QUIET: Duration = Duration::from_millis(500);

/// A changed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::supervisor) enum Change {
    /// chat.toml itself.
    Config,
    /// Something an app is made of; as people would name it.
    Of { app: String, what: String },
    /// A file that an app's server reads again by itself.
    Reread { app: String, what: String },
}

impl Change {
    /// What is done about it; not what it is called.
    fn concerns(&self) -> (u8, &str) {
        match self {
            Self::Config => (0, ""),
            Self::Of { app, .. } => (1, app),
            Self::Reread { app, .. } => (2, app),
        }
    }
}

/// Changes that the driver has not looked at yet. Of many that concern the same, the first stands for all: there are
/// never more than two of each app.
///
/// Who tells of one never waits: that is the thread of a watcher, and the driver waits for it whenever it has one more
/// folder watched.
#[derive(Debug, Default)]
pub(super) struct Changes {
    waiting: Mutex<Vec<Change>>,
    told: Notify,
}

impl Changes {
    fn tell(&self, change: Change) {
        let mut waiting = lock(&self.waiting);
        if !waiting.iter().any(|known| known.concerns() == change.concerns()) {
            waiting.push(change);
            self.told.notify_one();
        }
    }

    /// Waits for some.
    pub(super) async fn next(&self) -> Vec<Change> {
        self.told.notified().await;
        std::mem::take(&mut *lock(&self.waiting))
    }
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
    changes: &Arc<Changes>,
) -> impl Fn(&std::path::Path) + Send + 'static {
    let (watched, changes) = (watched.to_vec(), changes.clone());
    move |path| {
        if config.as_deref() == Some(path) {
            changes.tell(Change::Config);
        }
        for watched in &watched {
            if let Some(what) = watched.is_reread(path) {
                changes.tell(Change::Reread { app: watched.app.clone(), what });
            }
            if let Some(what) = watched.counts(path) {
                changes.tell(Change::Of { app: watched.app.clone(), what });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn however_many_changes_there_are_few_are_waiting_and_none_is_forgotten() {
        let changes = Changes::default();
        let of = |app: &str, n: usize| Change::Of { app: app.to_owned(), what: format!("file{n}") };
        for n in 0..10_000 {
            changes.tell(of("a", n));
            changes.tell(of("b", n));
            changes.tell(Change::Config);
            changes.tell(Change::Reread { app: "a".to_owned(), what: "key".to_owned() });
        }
        let first = [
            of("a", 0),
            of("b", 0),
            Change::Config,
            Change::Reread { app: "a".to_owned(), what: "key".to_owned() },
        ];
        assert_eq!(changes.next().await, first);
        changes.tell(of("a", 7));
        assert_eq!(changes.next().await, [of("a", 7)]);
    }
}
