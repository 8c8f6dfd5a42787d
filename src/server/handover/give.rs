//! The giving side: from a server that serves to one that has gone, or that goes on as if nothing had been.

use super::{
    Announced, Countdown, Freed, Leaving, Life,
    phases::{self, Give, Met},
    protocol::{Begin, Broken, Message, Wire},
};
use crate::{
    chat::MemberId,
    server::{
        connection::{Closed, Open},
        control::Asked,
        edge::{Edge, Intake},
        link::{Link, Stage},
        parking::Newcomer,
        sequencer::{Command, Inbox},
    },
};
use rustix::time::{ClockId, clock_gettime};
use std::{cmp::Reverse, collections::HashMap, io, os::unix::net::UnixStream, sync::Arc, time::Duration};
use tokio::{
    sync::oneshot,
    task::{AbortHandle, spawn_blocking},
    time::{Instant, sleep},
};

/// Who is spoken to in this time, before anything stops, is likely to be spoken to in the next.
const LOOK: Duration = Duration::from_millis(250);
/// So long before it ends newcomers wait: nobody of them is on the way in any more when nobody is let in.
const ASKING: Duration = Duration::from_millis(50);
/// Longest wait for all connections to pause: those that are late are cut, and come back.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest wait for the taker: to read, to be ready, and to say that it has everything.
const PATIENCE: Duration = Duration::from_secs(2);

/// What came of it.
pub(in crate::server) enum Outcome {
    /// The other process serves: this one has nothing more to do.
    Gone,
    /// This one goes on, by this entrance.
    Stays(Option<Open>),
}

/// What this server is made of, as far as it has to let go of it.
pub(in crate::server) struct Giver {
    pub(in crate::server) edge: Arc<Edge>,
    pub(in crate::server) inbox: Inbox,
    /// Answers for this process.
    pub(in crate::server) control: Option<AbortHandle>,
    /// Longest time for answers that are under way when the other process serves.
    pub(in crate::server) patience: Duration,
}

impl Giver {
    /// Gives everything to the process that asked.
    pub(in crate::server) async fn give(&self, asked: Asked, entrance: Open) -> Outcome {
        let before = self.spoken_to();
        sleep(LOOK.saturating_sub(ASKING)).await;
        entrance.park();
        // Who has asked before is let in, and not sent away.
        sleep(ASKING).await;
        let goodbyes = self.edge.see_off_who_stays().await;
        // Those who needed new connections to take leave have gone.
        entrance.park_all();
        self.edge.wait_for_who_comes_in().await;
        let announced = announce(asked.stream, self.going(&before)).await;
        let mut entrance = entrance.close().await;
        let mut taker = match announced {
            Ok(taker) => taker,
            Err(why) => {
                tracing::warn!(%why, "the next process is not ready to take over: this one goes on");
                self.edge.set_intake(Intake::Everybody);
                return Outcome::Stays(entrance.open());
            }
        };
        self.edge.wait_for_who_comes_in().await;
        self.edge.set_intake(Intake::Nobody);
        let (paused_us, begun) = (monotonic_us(), Instant::now());
        let (paused, cut) = self.pause(&taker.order).await;
        let pausing = begun.elapsed();
        let Some((freed, late, left)) = self.let_go(&taker.order).await else {
            // Without a sequencer the process is ending.
            return Outcome::Stays(entrance.open());
        };
        let ready = begun.elapsed();
        taker.begin = Some(Begin { left, paused_us, goodbyes, cut: cut + late, owed: self.edge.debts() });
        taker.newcomers = std::mem::take(&mut entrance.parked);
        taker.freed = freed;
        let (taker, sent) = taker.send().await;
        tracing::debug!(?pausing, ?ready, sent = ?begun.elapsed(), connections = taker.freed.len(), "handed over");
        entrance.parked = taker.newcomers;
        let Err(why) = sent else {
            tracing::info!(
                "the next process serves: it has everything, {} connections with it",
                taker.freed.len()
            );
            self.finish(entrance, taker.freed).await;
            return Outcome::Gone;
        };
        tracing::warn!(%why, "the next process did not take over: this one goes on");
        self.take_back(taker.freed, &paused);
        self.edge.set_intake(Intake::Everybody);
        Outcome::Stays(entrance.open())
    }

    /// How much has been said to each connection so far.
    fn spoken_to(&self) -> HashMap<u64, u64> {
        self.edge.links().iter().map(|link| (link.conn, link.sent_so_far())).collect()
    }

    /// Those that can be moved as things are; first those to whom most was said since `before`.
    fn going(&self, before: &HashMap<u64, u64>) -> Vec<Announced> {
        let mut going = self.edge.links();
        going.retain(|link| link.is_portable());
        going.sort_by_cached_key(|link| {
            let sent = link.sent_so_far();
            Reverse(sent - before.get(&link.conn).copied().unwrap_or(0))
        });
        going.iter().filter_map(|link| Announced::of(link)).collect()
    }

    /// Has all connections that can be moved pause, and cuts the others. Gives the former, and how many members the
    /// latter were.
    async fn pause(&self, order: &Order) -> (Vec<Arc<Link>>, u64) {
        let (mut going, mut staying): (Vec<_>, Vec<_>) =
            self.edge.links().into_iter().partition(|link| link.is_portable());
        // Who has taken leave may be remembered for a moment.
        staying.retain(|link| !link.is_closed());
        staying.iter().for_each(|link| link.cut());
        // Who is spoken to most waits least.
        going.sort_by_cached_key(|link| Reverse(order.get(&link.member()).copied()));
        let pausing = Arc::new(Countdown::default());
        going.iter().for_each(|link| link.depart(&pausing));
        // Those that are late are cut; what the others have said is not held up by them.
        pausing.wait(PAUSE).await;
        let (paused, late): (Vec<_>, Vec<_>) =
            going.into_iter().partition(|link| link.stage() == Stage::Paused);
        late.iter().for_each(|link| link.cut());
        let of_members = staying.iter().filter(|link| link.member() != 0).count() + late.len();
        (paused, of_members as u64)
    }

    /// Has the sequencer let go, and takes every connection. Gives those that are free, how many are not, and where the
    /// ids stand.
    async fn let_go(&self, order: &Order) -> Option<(Vec<Freed>, u64, Life)> {
        let (reply, leaving) = oneshot::channel();
        self.inbox.push(Command::HandOver(reply));
        let Leaving { mut travellers, left } = leaving.await.ok()?;
        travellers.sort_by_cached_key(|(_, traveller)| order.get(&traveller.member).copied());
        let all = travellers.len();
        let free = |(link, traveller): (Arc<Link>, _)| {
            let detached =
                link.take_detached().and_then(|mut detached| detached.io.untie().then_some(detached));
            match detached {
                Some(detached) if !link.is_closed() => Some((link, traveller, detached)),
                _ => {
                    link.cut();
                    None
                }
            }
        };
        let freed: Vec<Freed> = travellers.into_iter().filter_map(free).collect();
        let late = (all - freed.len()) as u64;
        Some((freed, late, left))
    }

    /// Sees to what is still being answered: files, to clients that take their time.
    async fn finish(&self, mut entrance: Closed, freed: Vec<Freed>) {
        if !entrance.answers() {
            // The process ends: that closes them, and quicker than one by one.
            std::mem::forget(freed);
            return;
        }
        // Of what another process has, nothing may be kept: it would not end when that lets go of it.
        drop((freed, std::mem::take(&mut entrance.parked)));
        self.control.iter().for_each(AbortHandle::abort);
        entrance.finish(self.patience).await;
    }

    /// Goes on with everything.
    fn take_back(&self, freed: Vec<Freed>, paused: &[Arc<Link>]) {
        self.inbox.push(Command::Resume);
        for (link, _, detached) in freed {
            link.go_on(detached);
        }
        paused.iter().for_each(|link| link.stay());
    }
}

/// In which order those arrive who were announced; others before them.
type Order = HashMap<MemberId, usize>;

/// The process that takes, and what it is given.
struct Taker {
    wire: Wire,
    phase: phases::Giver,
    order: Order,
    begin: Option<Begin>,
    newcomers: Vec<Newcomer>,
    freed: Vec<Freed>,
}

/// Says who is going to come, and waits until the other process is ready for them; meanwhile everything goes on. On a
/// thread that may block, as all that follows.
async fn announce(to: UnixStream, going: Vec<Announced>) -> Result<Taker, Broken> {
    let announce = move || {
        let mut taker = Taker {
            wire: Wire::new(to, PATIENCE)?,
            phase: phases::Giver::Announcing,
            order: going.iter().map(|one| one.member).zip(0..).collect(),
            begin: None,
            newcomers: Vec::new(),
            freed: Vec::new(),
        };
        let said = taker.wire.announced(&going).and_then(|()| taker.wire.all_announced());
        match said.and_then(|()| taker.wire.receive()) {
            Ok(Message::Ready) if taker.phase.on(Met::Ready) == Give::Pause => Ok(taker),
            Ok(_) => Err(Broken::Foreign),
            Err(broken) => Err(broken),
        }
    };
    spawn_blocking(announce).await.unwrap_or_else(|error| Err(Broken::Io(io::Error::other(error))))
}

impl Taker {
    /// Sends it all and commits.
    async fn send(mut self) -> (Self, Result<(), Broken>) {
        spawn_blocking(move || {
            let sent = self.converse();
            (self, sent)
        })
        .await
        .unwrap_or_else(|bug| std::panic::resume_unwind(bug.into_panic()))
    }

    fn converse(&mut self) -> Result<(), Broken> {
        let (mut met, mut trouble) = match self.send_all() {
            Ok(()) => (Met::AllSent, Broken::Foreign),
            Err(broken) => (Met::Trouble, broken),
        };
        loop {
            match self.phase.on(met) {
                Give::Keep => return Err(trouble),
                Give::Commit => return self.wire.commit(),
                Give::Pause | Give::Wait => {}
            }
            (met, trouble) = match self.wire.receive() {
                Ok(Message::Prepared) => (Met::Prepared, Broken::Foreign),
                Ok(_) => (Met::Trouble, Broken::Foreign),
                Err(broken) => (Met::Trouble, broken),
            };
        }
    }

    fn send_all(&self) -> Result<(), Broken> {
        self.begin.iter().try_for_each(|begin| self.wire.begin(begin))?;
        self.wire.newcomers(&self.newcomers)?;
        // Who came in meanwhile.
        let unknown =
            self.freed.iter().filter(|(_, traveller, _)| !self.order.contains_key(&traveller.member));
        let unknown: Vec<_> = unknown.filter_map(|(link, _, _)| Announced::of(link)).collect();
        self.wire.announced(&unknown)?;
        self.wire.connections(&self.freed)
    }
}

/// What all processes of this machine agree on.
pub(super) fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or(0) * 1_000_000 + nanos.unwrap_or(0) / 1000
}
