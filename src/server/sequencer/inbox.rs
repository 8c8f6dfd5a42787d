//! The sequencer's inbox: what clients do and the server wants comes here, and is taken out in batches.
//!
//! It is bounded by the links' credit, and by the number of connections.

use super::super::{handover::Leaving, link::Link, packet::Ack, recovery::Claim, stats::Stats};
use crate::{
    chat::{Payload, Refusal},
    control::types,
};
use std::{
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Commands that share one commit.
pub(super) const BATCH: usize = 512;
/// Who has waited for so long is not busy: what comes is dealt with at once.
const REST: Duration = Duration::from_micros(200);
/// Longest time for which a batch is let grow.
const GATHERING: Duration = Duration::from_millis(2);

/// What the sequencer is asked to do.
pub(in crate::server) enum Command {
    /// Somebody connects: say on the link who it is.
    Admit(Claim, Arc<Link>, oneshot::Sender<()>),
    /// It is connected.
    Arrived(Arc<Link>),
    /// A client's event.
    Event(Box<Event>),
    /// The connection is gone; the client too, if it said so.
    Gone { link: Arc<Link>, for_good: bool },
    /// Somebody could not prove who it is.
    Denied,
    /// What its token allows is over: it is told, and will be sent away.
    Expired(Arc<Link>),
    /// Answer, to show that events get through.
    Health(oneshot::Sender<types::Recovery>),
    /// The largest rooms, so many at most.
    Rooms(usize, oneshot::Sender<Vec<types::RoomSize>>),
    /// How many packets wait for clients.
    Backlog(oneshot::Sender<u64>),
    /// Let what was said leave.
    Flush(oneshot::Sender<()>),
    /// Deal with all that came before, and let go of the journal: another process goes on.
    Close(oneshot::Sender<()>),
    /// The same, and say who can go there with its connection.
    HandOver(oneshot::Sender<Leaving>),
    /// The other process did not go on: do so, with everybody.
    Resume,
}

/// One event of one client, read but not yet judged.
pub(in crate::server) struct Event {
    pub(in crate::server) link: Arc<Link>,
    /// Its name on the wire.
    pub(in crate::server) name: String,
    pub(in crate::server) payload: Result<Payload, Refusal>,
    /// Present when the client asked for an acknowledgement.
    pub(in crate::server) ack: Option<Ack>,
    /// When it came.
    pub(in crate::server) at: Instant,
}

/// Where the edge puts what clients do, and others what they want; cheap to clone.
#[derive(Clone)]
pub(in crate::server) struct Inbox {
    commands: Sender<Command>,
    stats: Arc<Stats>,
}

impl Inbox {
    /// Queues a command; without a sequencer (the process is ending) it is lost, as is the process.
    pub(in crate::server) fn push(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// The largest rooms. Looked for only when somebody asks: it takes a look at every room.
    pub(in crate::server) async fn largest_rooms(&self, count: usize) -> Vec<types::RoomSize> {
        if count == 0 {
            return Vec::new();
        }
        let (reply, rooms) = oneshot::channel();
        self.push(Command::Rooms(count, reply));
        rooms.await.unwrap_or_default()
    }

    /// Packets that wait for clients. Counted only when somebody asks: it takes a look at every client.
    pub(in crate::server) async fn backlog(&self) -> u64 {
        let (reply, packets) = oneshot::channel();
        self.push(Command::Backlog(reply));
        packets.await.unwrap_or_default()
    }

    /// Queues a client's event, on its credit.
    pub(in crate::server) fn push_event(&self, event: Event) {
        event.link.take_credit();
        self.stats.queued.fetch_add(1, Relaxed);
        self.push(Command::Event(Box::new(event)));
    }
}

/// An inbox, and the receiving end for [`super::Sequencer::run`].
pub(in crate::server) fn inbox(stats: Arc<Stats>) -> (Inbox, Receiver<Command>) {
    let (commands, receiver) = channel();
    (Inbox { commands, stats }, receiver)
}

/// Takes what has come.
pub(super) fn take(commands: &Receiver<Command>, batch: &mut Vec<Command>) {
    batch.extend(commands.try_iter().take(BATCH.saturating_sub(batch.len())));
}

/// Waits for something to come, or for so long. Whether anything can still come.
pub(super) fn wait(
    commands: &Receiver<Command>,
    batch: &mut Vec<Command>,
    timeout: Option<Duration>,
) -> bool {
    let since = Instant::now();
    let received = match timeout {
        Some(timeout) => commands.recv_timeout(timeout),
        None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
    };
    match received {
        Ok(command) => batch.push(command),
        Err(why) => return why == RecvTimeoutError::Timeout,
    }
    if since.elapsed() < REST {
        gather(commands, batch);
    }
    true
}

/// Takes what has come, and lets those go first who are about to say something on this core: one commit does for all of
/// it, and one write for all that a client is told.
fn gather(commands: &Receiver<Command>, batch: &mut Vec<Command>) {
    let begun = Instant::now();
    let mut before = 0;
    while batch.len() > before && begun.elapsed() < GATHERING {
        before = batch.len();
        thread::yield_now();
        take(commands, batch);
    }
}
