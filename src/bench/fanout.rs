//! `fanout`: messages to everybody in a room, which is what a chat does all day.
//!
//! In a closed loop a number of senders each wait for their own message to come back before the next: that finds out how
//! much the server can do. In an open loop messages are due at a fixed rate, come what may: that finds out how long they
//! take under a load that people make.

use super::{
    client::Client,
    crowd::Crowd,
    process,
    report::{self, Report},
    run::Run,
    tally::Tally,
    timer::Timer,
};
use anyhow::Result;
use serde::Serialize;
use std::{rc::Rc, time::Duration};

/// A sender that has not heard itself for so long speaks all the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is on its way at the end may take so long since the last one came.
const DRAIN: Duration = Duration::from_secs(5);
/// Messages sent in a row, before others have their turn.
const IN_A_ROW: u32 = 32;

/// How much is asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Fanout {
    /// Connections.
    pub(crate) clients: u32,
    /// Rooms they are in, evenly.
    pub(crate) rooms: u32,
    /// How many of them speak.
    pub(crate) senders: u32,
    /// Bytes of a message's text.
    pub(crate) size: usize,
    /// Messages a second in all, in an open loop; `None`: a closed one.
    pub(crate) rate: Option<f64>,
    /// s before it is measured.
    #[serde(serialize_with = "report::seconds")]
    pub(crate) warmup: Duration,
    /// s of the measurement.
    #[serde(serialize_with = "report::seconds")]
    pub(crate) duration: Duration,
}

/// See the module.
pub(super) async fn run(run: &Rc<Run>, fanout: &Fanout) -> Result<Report> {
    let idle = run.usage();
    let crowd = Crowd::gather(run, fanout.clients, fanout.rooms, false).await?;
    run.speaks.set(true);
    let senders: Vec<_> = crowd.clients.iter().take(fanout.senders as usize).cloned().collect();
    match fanout.rate {
        Some(rate) => drop(tokio::task::spawn_local(open_loop(run.clone(), senders, rate))),
        None => {
            senders.iter().for_each(|sender| sender.say(run.now(), true));
            tokio::task::spawn_local(watch(run.clone(), senders));
        }
    }
    run.pause(fanout.warmup, |_| "warming up".to_owned()).await;
    let (before, own_before) = (run.usage(), process::here());
    let begin = run.now();
    run.tally.borrow_mut().measure(begin..u64::MAX);
    let shown = |tally: &Tally| {
        format!("measuring: {} sent, {} delivered", tally.sent_in_window, tally.delivered_in_window)
    };
    run.pause(fanout.duration, shown).await;
    run.tally.borrow_mut().close(run.now());
    let (after, own_after) = (run.usage(), process::here());
    run.speaks.set(false);
    drain(run).await;
    let mut report = Report::new(run, "fanout", fanout, fanout.clients);
    report.messages(&run.tally.borrow());
    report.generator(&own_before, &own_after);
    report.server(idle, before, after);
    crowd.leave(run).await;
    Ok(report)
}

/// Says what is due when it is due, each sender in turn.
pub(super) async fn open_loop(run: Rc<Run>, senders: Vec<Rc<Client>>, rate: f64) -> Result<()> {
    let (mut timer, begin) = (Timer::new()?, run.now());
    for (n, sender) in (0u32..).zip(senders.iter().cycle()) {
        let due = begin + due(n, rate);
        let now = run.now();
        if due > now {
            timer.wait(Duration::from_nanos(due - now)).await?;
        } else if n % IN_A_ROW == 0 {
            timer.wait(Duration::ZERO).await?;
        }
        if !run.speaks.get() {
            break;
        }
        sender.say(due, false);
    }
    Ok(())
}

/// When the message with this number is due, in ns from the first.
pub(super) fn due(number: u32, rate: f64) -> u64 {
    (f64::from(number) * 1e9 / rate) as u64
}

/// Sees to it that a message that is lost does not silence its sender.
async fn watch(run: Rc<Run>, senders: Vec<Rc<Client>>) {
    let patience = u64::try_from(PATIENCE.as_nanos()).unwrap_or(u64::MAX);
    while run.speaks.get() {
        tokio::time::sleep(PATIENCE / 10).await;
        let since = run.now().saturating_sub(patience);
        senders.iter().for_each(|sender| sender.lose_patience(since));
    }
}

/// Waits for what is on its way.
pub(super) async fn drain(run: &Run) {
    let missing = || run.tally.borrow().missing();
    loop {
        let before = missing();
        if before == 0 || !run.pause(DRAIN / 50, |tally| format!("waiting for {}", tally.missing())).await {
            return;
        }
        let mut waited = DRAIN / 50;
        while missing() == before {
            if waited > DRAIN || !run.pause(DRAIN / 50, |_| String::new()).await {
                return;
            }
            waited += DRAIN / 50;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_evenly_and_do_not_drift() {
        assert_eq!((0..4).map(|n| due(n, 1000.0)).collect::<Vec<_>>(), [0, 1_000_000, 2_000_000, 3_000_000]);
        assert_eq!(due(3_000_000, 3.0), 1_000_000_000_000_000);
        assert_eq!(due(1, 0.1), 10_000_000_000);
    }
}
