//! The taking side: pulls everything from the server that is there, and says whether it is this process's now.

use super::{
    Detached, Life, Traveller, arrive,
    give::monotonic_us,
    phases::{Heard, Step, Taker},
    protocol::{Begin, Broken, Message, NAME, PID, Wire},
};
use crate::{control::types, server::edge::Edge};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{
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

/// What was taken: it is this process's alone.
#[derive(Debug, Default)]
pub(in crate::server) struct Taken {
    begin: Option<Begin>,
    connections: Vec<(Traveller, Detached)>,
    newcomers: Vec<OwnedFd>,
}

impl Taken {
    /// Where the ids stand.
    pub(in crate::server) fn left(&self) -> Option<Life> {
        self.begin.map(|begin| begin.left)
    }

    /// Leaves out whose rights nobody has asked for: they come back, and prove who they are.
    pub(in crate::server) fn leave_out_strangers(&mut self) {
        let before = self.connections.len();
        self.connections.retain(|(traveller, _)| traveller.rights.is_some());
        let strangers = (before - self.connections.len()) as u64;
        self.begin.iter_mut().for_each(|begin| begin.cut += strangers);
    }

    /// Connections that nobody has read from yet. Those that have broken meanwhile are left out.
    pub(in crate::server) fn newcomers(&mut self) -> Vec<TcpStream> {
        let newcomers = std::mem::take(&mut self.newcomers).into_iter();
        newcomers.filter_map(|socket| TcpStream::from_std(socket.into()).ok()).collect()
    }

    /// Who comes.
    pub(in crate::server) fn travellers(&self) -> Vec<Traveller> {
        self.connections.iter().map(|(traveller, _)| traveller.clone()).collect()
    }

    /// Goes on with the connections; says how it went.
    pub(in crate::server) fn arrive(self, edge: &Arc<Edge>) -> types::Handover {
        let connections = self.connections.len() as u64;
        arrive(edge, self.connections);
        let Some(begin) = self.begin else { return types::Handover::default() };
        let pause_ms = monotonic_us().saturating_sub(begin.paused_us) / 1000;
        types::Handover { connections, goodbyes: begin.goodbyes, cut: begin.cut, pause_ms }
    }
}

/// Asks the server at the other end of its control socket for everything. `wanted`: whether somebody still wants it; asked last.
/// Blocks.
///
/// # Errors
/// It goes on, and this process has nothing of it.
pub(in crate::server) fn pull(stream: UnixStream, wanted: impl Fn() -> bool) -> Result<Taken, Declined> {
    let wire = Wire::new(stream, PATIENCE).map_err(Declined::Unreachable)?;
    let giver = upgrade(wire.stream())?;
    let (mut taken, mut taker) = (Taken::default(), Taker::Collecting);
    loop {
        let (heard, trouble) = match wire.receive() {
            Ok(Message::Begin(begin)) if taken.begin.is_none() => {
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
            Step::Prepared => drop(wire.prepared()),
            Step::Shut => wire.shut(),
            Step::Take => return Ok(taken),
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
