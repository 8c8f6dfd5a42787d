//! The giving side: from a server that serves to one that has gone, or that goes on as if nothing had been.

use super::{
    Departure, Detached, Leaving, Traveller, arrive,
    phases::{self, Give, Met},
    protocol::{Begin, Broken, Message, Wire},
};
use crate::{
    chat::MemberId,
    server::{
        connection::Open,
        control::Asked,
        edge::{Edge, Intake},
        link::{Link, Stage},
        sequencer::{Command, Inbox},
    },
};
use rustix::time::{ClockId, clock_gettime};
use std::{collections::HashMap, os::unix::net::UnixStream, sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};

/// Longest wait for all connections to pause, and to be let go of: those that are late are cut, and come back.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest wait for the taker: to read, and to say that it has everything.
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
}

/// Those that have been let go of.
type Freed = Vec<(Traveller, Detached)>;

impl Giver {
    /// Gives everything to the process that asked.
    pub(in crate::server) async fn give(&self, asked: Asked, entrance: Open) -> Outcome {
        entrance.park();
        let goodbyes = self.edge.see_off_who_stays().await;
        let mut entrance = entrance.close().await;
        self.edge.wait_for_who_comes_in().await;
        self.edge.set_intake(Intake::Nobody);
        let (paused_us, begun) = (monotonic_us(), Instant::now());
        let (paused, cut, handed_in) = self.pause().await;
        let pausing = begun.elapsed();
        let Some((freed, late, left)) = self.let_go(handed_in).await else {
            // Without a sequencer the process is ending.
            return Outcome::Stays(entrance.open());
        };
        let letting_go = begun.elapsed() - pausing;
        tracing::debug!(?pausing, ?letting_go, connections = freed.len(), "all is ready to go");
        let newcomers = std::mem::take(&mut entrance.parked);
        let begin = Begin { left, paused_us, goodbyes, cut: cut + late };
        let (newcomers, freed, sent) = send(asked.stream, begin, newcomers, freed).await;
        entrance.parked = newcomers;
        let Err(why) = sent else {
            tracing::info!("the next process serves: it has everything, {} connections with it", freed.len());
            return Outcome::Gone;
        };
        tracing::warn!(%why, "the next process did not take over: this one goes on");
        self.take_back(freed, &paused);
        self.edge.set_intake(Intake::Everybody);
        Outcome::Stays(entrance.open())
    }

    /// Has all connections that can be moved pause, and cuts the others.
    async fn pause(&self) -> (Vec<Arc<Link>>, u64, mpsc::Receiver<(MemberId, Option<Detached>)>) {
        let (going, staying): (Vec<_>, Vec<_>) =
            self.edge.links().into_iter().partition(|link| link.is_portable());
        staying.iter().for_each(|link| link.cut());
        let (departure, handed_in) = Departure::new(going.len());
        let departure = Arc::new(departure);
        going.iter().for_each(|link| link.depart(&departure));
        // Those that are late are cut; what the others have said is not held up by them.
        let _ = timeout(PAUSE, departure.all_paused()).await;
        let (paused, late): (Vec<_>, Vec<_>) =
            going.into_iter().partition(|link| link.stage() == Stage::Paused);
        late.iter().for_each(|link| link.cut());
        let of_members = staying.iter().filter(|link| link.member() != 0).count() + late.len();
        (paused, of_members as u64, handed_in)
    }

    /// Has the sequencer let go, then every connection. Gives those that are free, how many could not be, and where the
    /// ids stand.
    async fn let_go(
        &self,
        mut handed_in: mpsc::Receiver<(MemberId, Option<Detached>)>,
    ) -> Option<(Freed, u64, super::Life)> {
        let (reply, leaving) = oneshot::channel();
        self.inbox.push(Command::HandOver(reply));
        let Leaving { mut travellers, left } = leaving.await.ok()?;
        // Who was spoken to most is waited for by most.
        travellers.sort_by_key(|(link, _)| std::cmp::Reverse(link.sent_so_far()));
        travellers.iter().for_each(|(link, _)| link.let_go());
        let mut freed: HashMap<MemberId, Detached> = HashMap::with_capacity(travellers.len());
        let deadline = Instant::now() + PAUSE;
        for _ in 0..travellers.len() {
            match timeout_at(deadline, handed_in.recv()).await {
                Ok(Some((member, detached))) => freed.extend(detached.map(|detached| (member, detached))),
                Ok(None) | Err(_) => break,
            }
        }
        let all = travellers.len();
        let freed: Freed = travellers
            .into_iter()
            .filter_map(|(link, traveller)| match freed.remove(&traveller.member) {
                Some(detached) => Some((traveller, detached)),
                None => {
                    link.cut();
                    None
                }
            })
            .collect();
        let late = (all - freed.len()) as u64;
        Some((freed, late, left))
    }

    /// Goes on with everything.
    fn take_back(&self, freed: Freed, paused: &[Arc<Link>]) {
        let travellers = freed.iter().map(|(traveller, _)| traveller.clone()).collect();
        self.inbox.push(Command::Resume(travellers));
        let freed_members: std::collections::HashSet<MemberId> =
            freed.iter().map(|(traveller, _)| traveller.member).collect();
        for link in paused {
            // Of one that was let go of only the engine's session is left; it must end after its member has gone on.
            if freed_members.contains(&link.member()) { link.cut() } else { link.stay() }
        }
        arrive(&self.edge, freed);
    }
}

/// Sends it all and commits, on a thread that may block.
async fn send(
    to: UnixStream,
    begin: Begin,
    newcomers: Vec<TcpStream>,
    freed: Freed,
) -> (Vec<TcpStream>, Freed, Result<(), Broken>) {
    let sent = tokio::task::spawn_blocking(move || {
        let sent = converse(to, &begin, &newcomers, &freed);
        (newcomers, freed, sent)
    });
    match sent.await {
        Ok(sent) => sent,
        Err(error) => (Vec::new(), Vec::new(), Err(Broken::Io(std::io::Error::other(error)))),
    }
}

fn converse(to: UnixStream, begin: &Begin, newcomers: &[TcpStream], freed: &Freed) -> Result<(), Broken> {
    let wire = Wire::new(to, PATIENCE)?;
    let mut giver = phases::Giver::Sending;
    let sent =
        wire.begin(begin).and_then(|()| wire.newcomers(newcomers)).and_then(|()| wire.connections(freed));
    let (mut met, mut trouble) = match sent {
        Ok(()) => (Met::AllSent, Broken::Foreign),
        Err(broken) => (Met::Trouble, broken),
    };
    loop {
        match giver.on(met) {
            Give::Keep => return Err(trouble),
            Give::Commit => return wire.commit(),
            Give::Wait => {}
        }
        (met, trouble) = match wire.receive() {
            Ok(Message::Prepared) => (Met::Prepared, Broken::Foreign),
            Ok(_) => (Met::Trouble, Broken::Foreign),
            Err(broken) => (Met::Trouble, broken),
        };
    }
}

/// What all processes of this machine agree on.
pub(super) fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or(0) * 1_000_000 + nanos.unwrap_or(0) / 1000
}
