//! `churn`: people who come and go at once. How many can a server let in, and how long do they wait at the door?

use super::{
    connection::Connection,
    process,
    report::{self, Report},
    run::Run,
    tally::{Tally, Times},
    timer::Timer,
};
use anyhow::{Context, Result};
use serde::Serialize;
use std::{cell::Cell, rc::Rc, time::Duration};
use tokio::task::JoinSet;

/// A server may take so long to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
/// And the last ones so long on their way in.
const LAST: Duration = Duration::from_secs(10);

/// How much is asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Churn {
    /// On the way in or out at once; with a rate: at most.
    pub(crate) clients: u32,
    /// People who come in a second; `None`: the next one when one has gone.
    pub(crate) rate: Option<f64>,
    /// s before it is measured.
    #[serde(serialize_with = "report::seconds")]
    pub(crate) warmup: Duration,
    /// s of the measurement.
    #[serde(serialize_with = "report::seconds")]
    pub(crate) duration: Duration,
}

/// Who comes next.
struct Queue {
    next: Cell<u32>,
    begin: u64,
    rate: Option<f64>,
}

/// See the module.
pub(super) async fn run(run: &Rc<Run>, churn: &Churn) -> Result<Report> {
    let idle = run.usage()?;
    // The first one finds out whether anybody is let in.
    visit(run, 0, run.now()).await?;
    run.speaks.set(true);
    let queue = Rc::new(Queue { next: Cell::new(1), begin: run.now(), rate: churn.rate });
    let mut guests = JoinSet::new();
    for _ in 0..churn.clients {
        guests.spawn_local(one_by_one(run.clone(), queue.clone()));
    }
    run.pause(churn.warmup, |_| "warming up".to_owned()).await;
    let (before, own_before) = (run.usage()?, process::here());
    run.tally.borrow_mut().entry = Times::default();
    run.tally.borrow_mut().measure(run.now()..u64::MAX);
    run.pause(churn.duration, |tally: &Tally| {
        format!("measuring: {} came and went", tally.entered_in_window)
    })
    .await;
    run.tally.borrow_mut().close(run.now());
    let (after, own_after) = (run.usage()?, process::here());
    run.speaks.set(false);
    // Who is on the way in counts too, however long it takes.
    let last = async { while guests.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST, last).await;
    let came = u32::try_from(run.tally.borrow().entry.count()).unwrap_or(u32::MAX);
    let mut report = Report::new(run, "churn", churn, came);
    report.handshakes(&run.tally.borrow());
    report.generator(&own_before, &own_after);
    report.server(idle, before, after);
    Ok(report)
}

/// One after the other, as long as it lasts.
async fn one_by_one(run: Rc<Run>, queue: Rc<Queue>) -> Result<()> {
    let mut timer = Timer::new()?;
    while run.speaks.get() {
        let number = queue.next.replace(queue.next.get() + 1);
        let now = run.now();
        let due = queue.rate.map_or(now, |rate| queue.begin + super::fanout::due(number, rate));
        if due > now {
            timer.wait(Duration::from_nanos(due - now)).await?;
        }
        if let Err(why) = visit(&run, number, due).await {
            run.tally.borrow_mut().trouble(format_args!("{why:#}"));
        }
    }
    Ok(())
}

/// Comes in, and goes.
async fn visit(run: &Run, number: u32, due: u64) -> Result<()> {
    let opened = Connection::open(run, &run.identity(number, 0), None).await?;
    run.tally.borrow_mut().entered(due, run.now());
    opened.connection.leave();
    let end = async { while opened.connection.receive(&run.scratch, |_, _| {}).await.is_ok() {} };
    tokio::time::timeout(GOODBYE, end).await.context("the server does not let go of who has left")
}
