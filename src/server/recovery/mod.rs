//! Recovery: how sessions survive a lost connection, and the death of this process.
//!
//! Unmodified clients do their part (socket.io-client 4.6 and later, "connection state recovery"): the CONNECT reply
//! gives them a private id, they remember the [`offset`] of the last event they received, and give both back when
//! they return. Here is the other part: the [`journal`] keeps what was said and who was where, the
//! [`session`] table says who may come back and until when.
//!
//! It must never stop the chat: with a full disk, or a journal that has rotted, recovery is off, says so, and tries
//! again. A session is never recovered with a gap: where one cannot be excluded it is refused, and the client
//! starts afresh.

mod journal;
mod moving;
mod offset;
mod session;
mod upkeep;

use super::{link::Link, stats::none_yet};
use crate::{
    chat::{Body, MemberId, Rights, RoomId, Seat, Standing},
    config,
    control::types,
    error::Failure,
};
pub(super) use journal::Record;
use journal::{Journal, Lock, OpenError, scope_of_member, scope_of_room};
pub(super) use offset::Life;
use offset::{Kept, Offset, Refused};
pub(super) use session::{Due, Pid, Session, Sessions};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// Events, and their bytes, that are read at once for one that catches up.
const CHUNK: (usize, usize) = (256, 1 << 20);

/// Does what can be done for this journal only while the process may still do everything. What does not work is said
/// when the journal is opened.
pub(super) fn prepare(journal: Option<&Path>) {
    if let Some(path) = journal {
        journal::learn_this_boot();
        let _ = journal::make_folder(path);
    }
}

/// After so long, with this window for coming back, nothing is kept of who has gone and what was said: what is old is let
/// go of every [`journal::SCRUB_EVERY`].
pub(super) fn kept_for(window: Duration) -> Duration {
    window + 2 * journal::SCRUB_EVERY
}

/// What a client says when it returns: the `auth` of its CONNECT.
#[derive(Default, serde::Deserialize)]
pub(super) struct Claim {
    /// Its session's private id.
    pub(super) pid: Option<String>,
    /// The offset of the last event it received.
    pub(super) offset: Option<String>,
    /// Who it is, where that has to be proved.
    pub(super) token: Option<String>,
}

/// How somebody comes in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admission {
    /// Who it is.
    pub(super) member: MemberId,
    /// Under which id it may come back.
    pub(super) pid: Option<Pid>,
    /// As what.
    pub(super) entry: Entry,
}

/// See [`Admission`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is new.
    New,
    /// It takes up its session, and has received everything up to this id.
    Back(u64),
    /// It never was away: its connection comes from another process, where it had received everything up to this id.
    Moved(u64),
}

/// Whom an earlier server knew, their seats, and how it stands with each.
pub(super) type Restored = Vec<(MemberId, Vec<Seat>, Standing)>;

/// See the module.
pub(super) struct Recovery {
    settings: config::Recovery,
    history: config::History,
    path: Option<PathBuf>,
    journal: Option<Journal>,
    /// Held from the first success to the end, also while there is no journal. Dropped after it.
    lock: Option<Lock>,
    /// Why there is none, when there should be one; and when to try again.
    trouble: Option<(String, Instant)>,
    pub(super) sessions: Sessions,
    /// Sessions that are to be written with the next commit.
    changed: HashSet<MemberId>,
    /// Where the ids stand, with a journal and without.
    kept: Kept,
    next_member: MemberId,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    recovered: u64,
    refused: BTreeMap<&'static str, u64>,
    replayed: u64,
    commit: Duration,
    slowest_commit: Duration,
}

impl Recovery {
    /// Opens the journal; gives those whom an earlier server knew and who are not `coming`, with their seats. `left`:
    /// where the process before this one says that it stands.
    ///
    /// # Errors
    /// Another server writes it. Everything else is no reason not to chat.
    pub(super) fn open(
        settings: &config::Server,
        path: &Path,
        left: Option<Life>,
        coming: &HashMap<MemberId, &Record>,
    ) -> Result<(Self, Restored), Failure> {
        let (history, settings) = (settings.history.clone(), settings.recovery.clone());
        if !settings.enabled
            && let Err(error) = journal::remove(path)
        {
            // Somebody wants nothing to be kept.
            tracing::error!(%error, path = %path.display(), "the journal of before cannot be removed");
        }
        let path = settings.enabled.then(|| path.to_owned());
        let sessions = Sessions::new(settings.leave_grace, settings.window);
        let mut recovery = Self {
            settings,
            history,
            path,
            journal: None,
            lock: None,
            trouble: None,
            sessions,
            changed: HashSet::new(),
            kept: left.map_or_else(Kept::begin, Kept::after),
            next_member: 1,
            counts: Counts { refused: none_yet(&Refused::ALL.map(Refused::as_str)), ..Counts::default() },
        };
        let mut restored = Vec::new();
        match recovery.open_as_left(left) {
            Ok(kept) => {
                for session in kept {
                    if coming.get(&session.member) == Some(&&session.record) {
                        recovery.expect(session);
                    } else {
                        restored.push(recovery.restore(session));
                    }
                }
            }
            Err(OpenError::InUse(path)) => {
                return Err(Failure::failed(format_args!("{} is in use by another chatctl", path.display()))
                    .hint("two servers cannot share a journal: give one of them another [recovery] path"));
            }
            Err(error) => recovery.fail(&error.to_string()),
        }
        Ok((recovery, restored))
    }

    // --- sessions

    /// Who a client is: one whose session can be taken up where it was left, or a newcomer, which may be offered to
    /// come back. `rights`: what its token allows, where tokens are asked for.
    pub(super) fn admit(&mut self, claim: &Claim, may_offer: bool, rights: Option<&Rights>) -> Admission {
        if let Some(pid) = claim.pid.as_deref() {
            match self.judge(pid, claim.offset.as_deref(), rights) {
                Ok(admission) => return admission,
                Err(why) => {
                    *self.counts.refused.entry(why.as_str()).or_default() += 1;
                    tracing::debug!(reason = why.as_str(), "a session was not recovered");
                }
            }
        }
        self.next_member += 1;
        let pid = (may_offer && self.settings.enabled).then(Pid::new).flatten();
        Admission { member: self.next_member - 1, pid, entry: Entry::New }
    }

    fn judge(&self, pid: &str, offset: Option<&str>, rights: Option<&Rights>) -> Result<Admission, Refused> {
        if self.journal.is_none() {
            return Err(Refused::Off);
        }
        let pid = Pid::read(pid).ok_or(Refused::Unknown)?;
        let (member, session) = self.sessions.by_pid(&pid).ok_or(Refused::Unknown)?;
        if rights.is_some_and(|rights| !rights.allow_seats(session.seats.iter().map(|(seat, _)| seat))) {
            return Err(Refused::Forbidden);
        }
        let from = self.kept.resume(offset, session.since)?;
        if self.is_complete(member, &session.rooms(), from) {
            Ok(Admission { member, pid: Some(pid), entry: Entry::Back(from) })
        } else {
            Err(Refused::Pruned)
        }
    }

    /// Whether everything above `from` that was said to the member in these rooms is still kept.
    fn is_complete(&self, member: MemberId, rooms: &[(RoomId, u64)], from: u64) -> bool {
        let Some(journal) = &self.journal else { return false };
        from >= journal.gap()
            && from >= journal.floor(&scope_of_member(member))
            && rooms.iter().all(|(room, since)| from.max(*since) >= journal.floor(&scope_of_room(room)))
    }

    /// A newcomer.
    pub(super) fn arrived(&mut self, member: MemberId, pid: Option<Pid>, link: Arc<Link>) {
        let (since, seats, standing) = (self.kept.last, Vec::new(), Standing::default());
        self.sessions.insert(member, Session { pid, link: Some(link), lost: None, since, seats, standing });
    }

    /// One of the sessions is back on a new link; gives the old one, when that was never given up.
    pub(super) fn returned(&mut self, member: MemberId, link: Arc<Link>) -> Option<Arc<Link>> {
        self.counts.recovered += 1;
        self.changed.insert(member);
        self.sessions.returned(member, link)
    }

    /// How it stands with one who is lost, for the next process.
    pub(super) fn stands(&mut self, member: MemberId, standing: Standing) {
        if let Some(session) = self.sessions.get_mut(member) {
            session.standing = standing;
            self.changed.insert(member);
        }
    }

    /// Its connection is lost.
    pub(super) fn lost(&mut self, member: MemberId) {
        let now = Instant::now();
        self.sessions.lose(member, now, now);
        self.changed.insert(member);
    }

    /// It will not come back.
    pub(super) fn forget(&mut self, member: MemberId) {
        self.sessions.remove(member);
        self.changed.insert(member);
    }

    /// It receives what is said in the room from now on; since which id, and whether it did not before.
    pub(super) fn seated(&mut self, member: MemberId, room: &RoomId, name: &Arc<str>) -> (u64, bool) {
        let last = self.kept.last;
        let Some(session) = self.sessions.get_mut(member) else { return (last, false) };
        self.changed.insert(member);
        let known = session.seats.iter_mut().find(|((known, _), _)| known == room);
        if let Some(((_, known), since)) = known {
            *known = name.clone();
            return (*since, false);
        }
        // Few are in more than one.
        session.seats.reserve_exact(1);
        session.seats.push(((room.clone(), name.clone()), last));
        (last, true)
    }

    /// It no longer does.
    pub(super) fn unseated(&mut self, member: MemberId, room: &RoomId) {
        if let Some(session) = self.sessions.get_mut(member) {
            session.seats.retain(|((known, _), _)| known != room);
            self.changed.insert(member);
        }
    }

    // --- what is said

    /// Keeps what is said in a room; gives its id.
    pub(super) fn record(&mut self, room: &RoomId, event: &'static str, body: &Body) -> u64 {
        self.append(&scope_of_room(room), event, body)
    }

    /// Keeps what is said to one member.
    pub(super) fn record_for(&mut self, member: MemberId, event: &'static str, body: &Body) -> u64 {
        self.append(&scope_of_member(member), event, body)
    }

    fn append(&mut self, scope: &str, event: &str, body: &Body) -> u64 {
        self.kept.last += 1;
        let id = self.kept.last;
        self.with_journal(|journal| journal.append(id, scope, event, body));
        id
    }

    /// The id of what was kept last.
    pub(super) fn last(&self) -> u64 {
        self.kept.last
    }

    /// The offset that goes with this id.
    pub(super) fn offset(&self, id: u64) -> String {
        Offset { epoch: self.kept.epoch, id }.to_string()
    }

    /// What a member has missed of these rooms, and what was said to it alone: ids above `from`, up to `to`. `None`:
    /// it cannot be told.
    pub(super) fn missed(
        &mut self,
        member: MemberId,
        rooms: &[(RoomId, u64)],
        from: u64,
        to: u64,
    ) -> Option<Missed> {
        if !self.is_complete(member, rooms, from) {
            return None;
        }
        let mut wanted: Vec<_> =
            rooms.iter().map(|(room, since)| (scope_of_room(room), from.max(*since))).collect();
        wanted.push((scope_of_member(member), from));
        match self.journal.as_ref()?.read(&wanted, to, CHUNK) {
            Ok((rows, all)) => {
                let up_to = if all { to } else { rows.last().map_or(to, |row| row.id) };
                self.counts.replayed += rows.len() as u64;
                Some(Missed {
                    events: rows.into_iter().map(|row| (row.id, row.event, row.body)).collect(),
                    up_to,
                })
            }
            Err(error) => {
                self.fail(&error.to_string());
                None
            }
        }
    }

    /// Keeps a message for newcomers.
    pub(super) fn remember(&mut self, room: &RoomId, id: u64, body: &Body) {
        let limit = self.history.messages;
        if limit > 0 {
            self.with_journal(|journal| journal.remember(room, id, body, limit));
        }
    }

    /// What a newcomer gets of what was said before, where that is wanted.
    pub(super) fn remembered(&mut self, room: &RoomId) -> Option<Body> {
        let config::History { messages: limit, keep } = self.history;
        if limit == 0 {
            return None;
        }
        let messages = self.with_journal(|journal| journal.remembered(room, keep, limit))?;
        (!messages.is_empty()).then(|| Body::history(room, &messages))
    }

    /// How it is.
    pub(super) fn stats(&self) -> types::Recovery {
        let (messages, bytes) = self.journal.as_ref().map_or((0, 0), Journal::size);
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        types::Recovery {
            enabled: self.settings.enabled,
            trouble: self.trouble.as_ref().map(|(why, _)| why.clone()),
            sessions: self.sessions.len() as u64,
            recovered: self.counts.recovered,
            refused: self.counts.refused.iter().map(|(why, count)| ((*why).to_owned(), *count)).collect(),
            replayed: self.counts.replayed,
            journal_messages: messages as u64,
            journal_bytes: bytes as u64,
            commit_us: micros(self.counts.commit),
            slowest_commit_us: micros(self.counts.slowest_commit),
        }
    }
}

/// A part of what somebody has missed.
pub(super) struct Missed {
    /// Id, event and body, oldest first.
    pub(super) events: Vec<(u64, String, Body)>,
    /// Everything up to here has been looked at.
    pub(super) up_to: u64,
}

#[cfg(test)]
mod tests;
