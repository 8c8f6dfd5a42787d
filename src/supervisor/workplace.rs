//! Where units work: what all of them have in common, and how they are told of their children.

use super::{
    child::News, events::Events, hooks::Hooks, machine::Id, probe::Answer, sockets::Doors,
    state_dir::StateDir,
};
use crate::error::Failure;
use std::{path::PathBuf, sync::Arc};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// See the module.
pub(super) struct Workplace {
    /// The program the children run, resolved once: a replaced binary keeps its path.
    pub(super) program: PathBuf,
    /// What all of them is kept in; another supervisor's, should it not be there any more.
    pub(super) state: Arc<StateDir>,
    /// Folder in it of the Unix sockets and pid files.
    pub(super) run: PathBuf,
    /// Where the children's news go.
    pub(super) reports: mpsc::Sender<Report>,
    /// What happened, for people to read later.
    pub(super) events: Arc<Events>,
    /// Who is told of it.
    pub(super) hooks: Hooks,
    /// Where clients connect.
    pub(super) doors: Doors,
    /// Watches over the keepers; done when the last one is.
    pub(super) keepers: TaskTracker,
}

impl Workplace {
    /// # Errors
    /// The program's own path is not to be found out, or the history not to be written.
    pub(super) fn new(
        state: Arc<StateDir>,
        events: Events,
        reports: mpsc::Sender<Report>,
        doors: Doors,
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::failed(format_args!("cannot find the chatctl program: {error}")))?;
        let events = Arc::new(events);
        let hooks = Hooks::new(events.clone());
        let run = state.run();
        Ok(Self { program, state, run, reports, events, hooks, doors, keepers: TaskTracker::new() })
    }
}

/// What became known of one child of one unit.
pub(super) struct Report {
    pub(super) unit: u64,
    pub(super) child: Id,
    pub(super) what: Told,
}

/// See [`Report`].
pub(super) enum Told {
    News(News),
    Probe(Answer),
}
