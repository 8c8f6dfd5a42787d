//! `idle`: connections that say nothing, as most do most of the time. What one of them takes, and whether it is given back.

use super::{
    crowd::Crowd,
    process,
    report::{self, Report},
    run::Run,
};
use anyhow::Result;
use serde::Serialize;
use std::{rc::Rc, time::Duration};

/// How much is asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Idle {
    /// Connections.
    pub(crate) clients: u32,
    /// Rooms they are in, evenly.
    pub(crate) rooms: u32,
    /// s that they stay.
    #[serde(serialize_with = "report::seconds")]
    pub(crate) duration: Duration,
    /// s after they have gone.
    #[serde(serialize_with = "report::seconds")]
    pub(crate) after: Duration,
}

/// See the module.
pub(super) async fn run(run: &Rc<Run>, idle: &Idle) -> Result<Report> {
    let empty = run.usage();
    let crowd = Crowd::gather(run, idle.clients, idle.rooms, false).await?;
    let (before, own_before) = (run.usage(), process::here());
    run.tally.borrow_mut().measure(run.now()..u64::MAX);
    let count = crowd.clients.len();
    run.pause(idle.duration, |tally| format!("{} are connected", count as u64 - tally.lost)).await;
    run.tally.borrow_mut().close(run.now());
    let (after, own_after) = (run.usage(), process::here());
    let mut report = Report::new(run, "idle", idle, idle.clients);
    report.generator(&own_before, &own_after);
    report.server(empty, before, after);
    crowd.leave(run).await;
    run.pause(idle.after, |_| "all have gone".to_owned()).await;
    report.left(run.usage(), &run.tally.borrow());
    Ok(report)
}
