//! `jitter`: people on the move, whose connections break every few seconds. How much of what was said do they get, and when?
//!
//! Those who speak sit still, so that what is measured is the way to those who do not.

use super::{
    client::{Back, Client},
    crowd::Crowd,
    fanout, process,
    report::{self, Report},
    run::Run,
    storm::persist,
    tally::Tally,
};
use anyhow::Result;
use serde::Serialize;
use std::{cell::Cell, future::pending, rc::Rc, time::Duration};

/// How much is asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Jitter {
    /// Connections.
    pub(crate) clients: u32,
    /// Rooms they are in, evenly.
    pub(crate) rooms: u32,
    /// How many of them speak; they are not cut.
    pub(crate) senders: u32,
    /// Bytes of a message's text.
    pub(crate) size: usize,
    /// Messages a second in all.
    pub(crate) rate: f64,
    /// s that a connection lasts.
    #[serde(serialize_with = "report::seconds")]
    pub(crate) every: Duration,
    /// s until the next one.
    #[serde(serialize_with = "report::seconds")]
    pub(crate) away: Duration,
    /// s of the measurement.
    #[serde(serialize_with = "report::seconds")]
    pub(crate) duration: Duration,
}

/// For so long is waited for the last one to come back.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
pub(super) async fn run(run: &Rc<Run>, jitter: &Jitter) -> Result<Report> {
    let idle = run.usage();
    let crowd = Crowd::gather(run, jitter.clients, jitter.rooms, true).await?;
    let (senders, movers) = crowd.clients.split_at(crowd.clients.len().min(jitter.senders as usize));
    senders.iter().for_each(|sender| drop(tokio::task::spawn_local(sender.clone().stay())));
    run.speaks.set(true);
    let away = Rc::new(Cell::new(0));
    let pace = Pace { every: jitter.every, away: jitter.away };
    for (n, mover) in movers.iter().enumerate() {
        // Cut one after the other, not all together.
        let first = jitter.every.mul_f64((n + 1) as f64 / movers.len() as f64);
        tokio::task::spawn_local(wander(run.clone(), mover.clone(), first, pace, away.clone()));
    }
    let (before, own_before) = (run.usage(), process::here());
    run.tally.borrow_mut().measure(run.now()..u64::MAX);
    tokio::task::spawn_local(fanout::open_loop(run.clone(), senders.to_vec(), jitter.rate));
    let shown =
        |tally: &Tally| format!("measuring: {} cut, {} delivered", tally.cuts, tally.delivered_in_window);
    run.pause(jitter.duration, shown).await;
    run.tally.borrow_mut().close(run.now());
    let (after, own_after) = (run.usage(), process::here());
    run.speaks.set(false);
    // Whoever is away comes back, and is told what it has missed.
    run.until(jitter.away + PATIENCE, || away.get() == 0, |_| format!("{} are still away", away.get())).await;
    fanout::drain(run).await;
    let mut report = Report::new(run, "jitter", jitter, jitter.clients);
    report.messages(&run.tally.borrow());
    report.returns(&run.tally.borrow(), away.get() as u64);
    report.generator(&own_before, &own_after);
    report.server(idle, before, after);
    crowd.leave(run).await;
    Ok(report)
}

/// How long one is here, and how long away.
#[derive(Clone, Copy)]
struct Pace {
    every: Duration,
    away: Duration,
}

/// Listens, is cut, is away, comes back; as long as anybody speaks.
async fn wander(run: Rc<Run>, client: Rc<Client>, first: Duration, pace: Pace, absent: Rc<Cell<u32>>) {
    let mut lasts = first;
    loop {
        let time_is_up = async {
            tokio::time::sleep(lasts).await;
            if !run.speaks.get() {
                // Whoever is here then stays: what is still owed is waited for.
                pending::<()>().await;
            }
        };
        tokio::select! {
            why = client.listen() => {
                client.ended(&why);
                if run.leaves.get() {
                    return;
                }
            }
            () = time_is_up => {
                client.cut();
                run.tally.borrow_mut().cuts += 1;
            }
        }
        lasts = pace.every;
        absent.update(|absent| absent + 1);
        tokio::time::sleep(pace.away).await;
        let begun = run.now();
        let back = persist(&run, &client).await;
        run.tally.borrow_mut().returned(back == Back::Recovered, run.now() - begun);
        absent.update(|absent| absent - 1);
        run.changed.notify_one();
    }
}
