//! `churn`: people who come and go at once. How many can a server let in, and how long do they wait at the door?

use super::{
    connection::Connection,
    fanout::due,
    process,
    report::{self, Report},
    run::Run,
    tally::{Tally, Times},
    timer::Timer,
};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    ops::Range,
    rc::Rc,
    time::Duration,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

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

/// Who comes next, and who is on the way in.
struct Queue {
    next: Cell<u32>,
    begin: u64,
    rate: Option<f64>,
    /// When each was due that has not come in yet.
    waiting: RefCell<HashMap<u32, u64>>,
    /// Nobody is due any more.
    over: CancellationToken,
}

impl Queue {
    /// Who was due in this time and has not come in: still at the door, or, where all who may be on the way at once were,
    /// not even there. How many, and since when the first of them.
    fn late(&self, window: Range<u64>) -> Option<(usize, u64)> {
        let next = |rate| (self.next.get()..).map(move |number| self.begin + due(number, rate));
        let unseen = self.rate.into_iter().flat_map(next).take_while(|due| *due < window.end);
        let waiting = self.waiting.borrow();
        let late = waiting.values().copied().chain(unseen).filter(|due| window.contains(due));
        late.fold(None, |sum, due| match sum {
            None => Some((1, due)),
            Some((count, first)) => Some((count + 1, first.min(due))),
        })
    }
}

/// See the module.
pub(super) async fn run(run: &Rc<Run>, churn: &Churn) -> Result<Report> {
    let idle = run.usage();
    // The first one finds out whether anybody is let in.
    tokio::select! {
        () = run.stop.cancelled() => bail!("interrupted before anybody came in"),
        visited = visit(run, 0, run.now(), || ()) => visited?,
    }
    run.speaks.set(true);
    let (waiting, over) = (RefCell::default(), CancellationToken::new());
    let queue = Rc::new(Queue { next: Cell::new(1), begin: run.now(), rate: churn.rate, waiting, over });
    let mut guests = JoinSet::new();
    for _ in 0..churn.clients {
        guests.spawn_local(one_by_one(run.clone(), queue.clone()));
    }
    run.pause(churn.warmup, |_| "warming up".to_owned()).await;
    let (before, own_before) = (run.usage(), process::here());
    run.tally.borrow_mut().entry = Times::default();
    run.tally.borrow_mut().measure(run.now()..u64::MAX);
    run.pause(churn.duration, |tally: &Tally| {
        format!("measuring: {} came and went", tally.entered_in_window)
    })
    .await;
    run.tally.borrow_mut().close(run.now());
    let (after, own_after) = (run.usage(), process::here());
    run.speaks.set(false);
    queue.over.cancel();
    // Who is on the way in counts too, however long it takes.
    let last = async { while guests.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST, last).await;
    let mut wanted = u32::try_from(run.tally.borrow().entry.count()).unwrap_or(u32::MAX);
    let window = run.tally.borrow().window.clone();
    if let Some((late, first)) = queue.late(window) {
        // They are missing among the times: those would be the longest.
        wanted = wanted.saturating_add(u32::try_from(late).unwrap_or(u32::MAX));
        let waits = Duration::from_nanos(run.now().saturating_sub(first)).as_secs_f64();
        let mut tally = run.tally.borrow_mut();
        tally.trouble(format_args!(
            "{late} who were due have not come in, the first of them for {waits:.1} s: they are in no figure"
        ));
    }
    let mut report = Report::new(run, "churn", churn, wanted);
    report.handshakes(&run.tally.borrow());
    report.generator(&own_before, &own_after);
    report.server(idle, before, after);
    Ok(report)
}

/// One after the other, as long as anybody is due.
async fn one_by_one(run: Rc<Run>, queue: Rc<Queue>) -> Result<()> {
    let mut timer = Timer::new()?;
    loop {
        let number = queue.next.replace(queue.next.get() + 1);
        let now = run.now();
        let due = queue.rate.map_or(now, |rate| queue.begin + due(number, rate));
        if due > now {
            tokio::select! {
                waited = timer.wait(Duration::from_nanos(due - now)) => waited?,
                () = queue.over.cancelled() => {}
            }
        }
        // Whoever was due before the end comes, however late.
        let is_due = queue.rate.is_some() && run.tally.borrow().window.contains(&due);
        if !run.speaks.get() && !is_due {
            return Ok(());
        }
        queue.waiting.borrow_mut().insert(number, due);
        let is_in = || {
            queue.waiting.borrow_mut().remove(&number);
        };
        if let Err(why) = visit(&run, number, due, is_in).await {
            is_in();
            run.tally.borrow_mut().trouble(format_args!("{why:#}"));
        }
    }
}

/// Comes in, says so, and goes.
async fn visit(run: &Run, number: u32, due: u64, is_in: impl Fn()) -> Result<()> {
    let opened = Connection::open(run, &run.identity(number, 0), None).await?;
    run.tally.borrow_mut().entered(due, run.now());
    is_in();
    opened.connection.leave();
    let end = async { while opened.connection.receive(&run.scratch, |_, _| {}).await.is_ok() {} };
    tokio::time::timeout(GOODBYE, end).await.context("the server does not let go of who has left")
}
