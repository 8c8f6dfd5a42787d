//! The taking side: pulls everything from the server that is there, and says whether it is this process's now.

use super::{
    Announced, Detached, Life,
    give::monotonic_us,
    phases::{Heard, Step, Taker},
    protocol::{Begin, Broken, Message, NAME, PID, Received, Wire},
};
use crate::{
    chat::MemberId,
    control::{descriptors, types},
    server::{
        edge::Edge, http::health, link::Link, parking::Newcomer, recovery::Record, sequencer::Inbox, tls,
    },
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{
    collections::HashMap,
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::Arc,
    time::Duration,
};
use tokio::net::TcpStream;

/// Longest silence of the giver: it may be saying goodbye to those who cannot be moved.
const PATIENCE: Duration = Duration::from_secs(6);
/// Longest wait for the end of a giver whose socket is closed.
const DYING: Duration = Duration::from_secs(1);
/// The heartbeats of connections that arrive together, from a server that does not say when they are due, are spread
/// over this.
const HEARTBEATS_OVER: Duration = Duration::from_secs(5);
/// The answer to the upgrade is shorter.
const LONGEST: usize = 1024;

/// Why nothing was taken.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum Declined {
    /// There is nobody to take from.
    #[error("cannot ask the server that is there: {0}")]
    Unreachable(io::Error),
    /// It does not hand over, or not in this format, or not now.
    #[error("the server that is there does not hand over ({0})")]
    Refused(String),
    /// It went on.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// What is taken: it is this process's alone when all has come.
#[derive(Debug, Default)]
pub(in crate::server) struct Taken {
    begin: Option<Begin>,
    /// Those that are going to come.
    announced: HashMap<MemberId, Announced>,
    connections: Vec<Received>,
    newcomers: Vec<(OwnedFd, Option<tls::State>)>,
}

impl Taken {
    /// Where the ids stand.
    pub(in crate::server) fn left(&self) -> Option<Life> {
        self.begin.as_ref().map(|begin| begin.left)
    }

    /// Connections whose next request nobody has answered yet. Those that have broken meanwhile are left out.
    pub(in crate::server) fn newcomers(&mut self) -> Vec<Newcomer> {
        let newcomers = std::mem::take(&mut self.newcomers).into_iter();
        let newcomer = |(socket, tls): (OwnedFd, _)| {
            Some(Newcomer { stream: TcpStream::from_std(socket.into()).ok()?, tls })
        };
        newcomers.filter_map(newcomer).collect()
    }

    /// Leaves out whose rights nobody has asked for: they come back, and prove who they are.
    pub(in crate::server) fn leave_out_strangers(&mut self) {
        self.announced.retain(|_, announced| announced.rights.is_some());
        let before = self.connections.len();
        self.connections.retain(|one| self.announced.contains_key(&one.traveller.member));
        let strangers = (before - self.connections.len()) as u64;
        self.begin.iter_mut().for_each(|begin| begin.cut += strangers);
    }

    /// Who comes, with which session.
    pub(in crate::server) fn sessions(&self) -> HashMap<MemberId, &Record> {
        self.connections.iter().map(|one| (one.traveller.member, &one.traveller.record)).collect()
    }

    /// Goes on with the connections, in their order; says how it went when all of them are served.
    pub(in crate::server) async fn arrive(mut self, edge: &Edge, inbox: &Inbox) -> types::Handover {
        let connections = self.connections.len() as u64;
        self.tell("the sequencer serves");
        self.begin.iter().for_each(|begin| edge.note(&begin.owed));
        // What somebody says is heard from the journal by those who come later. Without it all have to be there first.
        let kept = health(inbox).await.is_some_and(|recovery| recovery.enabled && recovery.trouble.is_none());
        let mut held = Vec::new();
        let all = u32::try_from(self.connections.len()).unwrap_or(u32::MAX);
        for (n, one) in (0..all).zip(std::mem::take(&mut self.connections)) {
            let member = one.traveller.member;
            let heartbeat = one.heartbeat.unwrap_or(HEARTBEATS_OVER * n / all);
            match self.expect(edge, one, heartbeat).await {
                Ok((link, detached)) if kept => link.go_on(detached),
                Ok(arrived) => held.push(arrived),
                Err(error) => {
                    tracing::warn!(member, %error, "a connection could not go on: its client will come back");
                }
            }
        }
        self.tell("the last is there");
        // It answers when all of them have been let in.
        let _ = health(inbox).await;
        held.into_iter().for_each(|(link, detached)| link.go_on(detached));
        let Some(begin) = self.begin else { return types::Handover::default() };
        let pause_ms = monotonic_us().saturating_sub(begin.paused_us) / 1000;
        types::Handover { connections, goodbyes: begin.goodbyes, cut: begin.cut, pause_ms }
    }

    /// How long after the pause began.
    fn tell(&self, what: &str) {
        let since = self.begin.as_ref().map(|begin| monotonic_us().saturating_sub(begin.paused_us));
        let since = since.map(Duration::from_micros);
        tracing::debug!(?since, connections = self.connections.len(), "{what}");
    }

    async fn expect(
        &mut self,
        edge: &Edge,
        one: Received,
        heartbeat: Duration,
    ) -> io::Result<(Arc<Link>, Detached)> {
        let Received { traveller, socket, read, write, missing, tls, .. } = one;
        let announced = self.announced.remove(&traveller.member).ok_or(io::ErrorKind::InvalidData)?;
        let io = edge.carry_on(socket, tls)?;
        let link = edge.expect(announced, &traveller, missing, heartbeat).await;
        Ok((link, Detached { io, read, write: write[..].into(), heartbeat: None }))
    }
}

/// Asks the server at the other end of its control socket for everything. `wanted`: whether somebody still wants it; asked
/// last. Blocks.
///
/// # Errors
/// It goes on, and this process has nothing of it.
pub(in crate::server) fn pull(stream: UnixStream, wanted: impl Fn() -> bool) -> Result<Taken, Declined> {
    let wire = Wire::new(stream, PATIENCE).map_err(Declined::Unreachable)?;
    let giver = upgrade(wire.stream())?;
    let (mut taken, mut taker) = (Taken::default(), Taker::Preparing);
    loop {
        let (heard, trouble) = match wire.receive() {
            Ok(Message::Announced(some)) if matches!(taker, Taker::Preparing | Taker::Collecting) => {
                taken.announced.extend(some.into_iter().map(|one| (one.member, one)));
                continue;
            }
            Ok(Message::AllAnnounced) => {
                descriptors::make_room(wire.stream(), taken.announced.len());
                (Heard::AllAnnounced, Broken::Foreign)
            }
            Ok(Message::Begin(begin)) if taken.begin.is_none() && taker == Taker::Collecting => {
                taken.begin = Some(begin);
                continue;
            }
            Ok(Message::Newcomers(some)) if taken.begin.is_some() && taker == Taker::Collecting => {
                taken.newcomers.extend(some);
                continue;
            }
            Ok(Message::Batch(batch)) if taken.begin.is_some() && taker == Taker::Collecting => {
                taken.connections.extend(batch);
                continue;
            }
            Ok(Message::End(all)) if all == taken.connections.len() as u64 && wanted() => {
                (Heard::End, Broken::Foreign)
            }
            Ok(Message::Commit) => (Heard::Commit, Broken::Foreign),
            Ok(_) => (Heard::Nonsense, Broken::Foreign),
            Err(Broken::Closed) => (Heard::Closed { dead: has_ended(&giver) }, Broken::Closed),
            Err(Broken::Silent) => (Heard::Silence, Broken::Silent),
            Err(broken) => (Heard::Nonsense, broken),
        };
        match taker.on(heard) {
            // One that cannot hear it is found to be gone when it is listened to.
            Step::Ready => drop(wire.ready()),
            Step::Prepared => drop(wire.prepared()),
            Step::Shut => wire.shut(),
            Step::Take => {
                taken.tell("everything is here");
                return Ok(taken);
            }
            Step::Decline => return Err(trouble.into()),
        }
    }
}

/// Whether it has ended, or does now.
fn has_ended(process: &OwnedFd) -> bool {
    let patience = Timespec::try_from(DYING).ok();
    poll(&mut [PollFd::new(process, PollFlags::IN)], patience.as_ref()).is_ok_and(|ended| ended > 0)
}

/// HTTP's upgrade (RFC 9110, section 7.8), read byte by byte: what follows comes with descriptors. Gives the process
/// that answers, whatever becomes of its number (the socket's own word is about who listened first).
fn upgrade(mut stream: &UnixStream) -> Result<OwnedFd, Declined> {
    let request =
        format!("GET /handover HTTP/1.1\r\nhost: chatctl\r\nconnection: upgrade\r\nupgrade: {NAME}\r\n\r\n");
    let answered = |error: io::Error| Declined::Broken(error.into());
    stream.write_all(request.as_bytes()).map_err(answered)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") && answer.len() < LONGEST {
        let mut byte = [0];
        stream.read_exact(&mut byte).map_err(answered)?;
        answer.extend(byte);
    }
    let answer = String::from_utf8_lossy(&answer);
    let mut lines = answer.lines();
    let status = lines.next().unwrap_or_default();
    let pid = lines.filter_map(|line| line.split_once(": ")).find(|(name, _)| *name == PID);
    let pid = pid.and_then(|(_, pid)| Pid::from_raw(pid.parse().ok()?));
    match (status.split(' ').nth(1), pid) {
        (Some("101"), Some(pid)) => {
            pidfd_open(pid, PidfdFlags::empty()).map_err(|error| answered(error.into()))
        }
        _ => Err(Declined::Refused(status.to_owned())),
    }
}
