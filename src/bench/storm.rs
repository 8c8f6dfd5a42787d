//! `storm`: all connections are cut at once, as when a switch restarts. How long until all are back, and do they miss
//! anything?

use super::{
    client::{Back, Client},
    crowd::Crowd,
    process,
    report::{self, Report},
    run::Run,
};
use anyhow::Result;
use serde::Serialize;
use std::{cell::Cell, rc::Rc, time::Duration};

/// Between two tries of one who is not let in.
const AGAIN: Duration = Duration::from_secs(1);

/// How much is asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Storm {
    /// Connections.
    pub(crate) clients: u32,
    /// Rooms they are in, evenly.
    pub(crate) rooms: u32,
    /// s over which they come back, evenly; 0: all in the same moment.
    #[serde(serialize_with = "report::seconds")]
    pub(crate) spread: Duration,
    /// s for which is waited at most.
    #[serde(serialize_with = "report::seconds")]
    pub(crate) patience: Duration,
}

/// See the module.
pub(super) async fn run(run: &Rc<Run>, storm: &Storm) -> Result<Report> {
    let idle = run.usage();
    let crowd = Crowd::gather(run, storm.clients, storm.rooms, true).await?;
    let (before, own_before) = (run.usage(), process::here());
    let cut = run.now();
    run.tally.borrow_mut().measure(cut..u64::MAX);
    let away = Rc::new(Cell::new(crowd.clients.len()));
    crowd.clients.iter().for_each(|client| client.cut());
    for (n, client) in crowd.clients.iter().enumerate() {
        let pause = storm.spread.mul_f64(n as f64 / crowd.clients.len() as f64);
        tokio::task::spawn_local(survive(run.clone(), client.clone(), pause, cut, away.clone()));
    }
    run.until(storm.patience, || away.get() == 0, |_| format!("{} are still away", away.get())).await;
    run.tally.borrow_mut().close(run.now());
    let (after, own_after) = (run.usage(), process::here());
    let mut report = Report::new(run, "storm", storm, storm.clients);
    report.returns(&run.tally.borrow(), away.get() as u64);
    report.generator(&own_before, &own_after);
    report.server(idle, before, after);
    crowd.leave(run).await;
    Ok(report)
}

/// Comes back, and stays.
async fn survive(run: Rc<Run>, client: Rc<Client>, pause: Duration, cut: u64, away: Rc<Cell<usize>>) {
    tokio::time::sleep(pause).await;
    let back = persist(&run, &client).await;
    run.tally.borrow_mut().returned(back == Back::Recovered, run.now() - cut);
    away.set(away.get() - 1);
    run.changed.notify_one();
    client.stay().await;
}

/// Tries until it is let in.
pub(super) async fn persist(run: &Run, client: &Rc<Client>) -> Back {
    loop {
        match client.come_back().await {
            Ok(back) => return back,
            Err(why) => run.tally.borrow_mut().trouble(format_args!("on the way back: {why:#}")),
        }
        tokio::time::sleep(AGAIN).await;
    }
}
