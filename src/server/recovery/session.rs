//! The sessions: who is here, who may come back, and until when.

use super::journal::Record;
use crate::{
    chat::{MemberId, RoomId, Seat, Standing},
    server::link::Link,
    slack::give_back,
};
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

/// A session's secret: whoever knows it is the session. 120 random bits, as text of 20 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::server) struct Pid([u8; Self::LEN]);

impl Pid {
    const LEN: usize = 20;
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    /// A new one; `None`: this machine has no randomness, and nothing can be kept secret.
    pub(in crate::server) fn new() -> Option<Self> {
        let mut bytes = [0; Self::LEN];
        getrandom::fill(&mut bytes).ok()?;
        Some(Self(bytes.map(|byte| Self::DIGITS[usize::from(byte & 63)])))
    }

    /// What a client says.
    pub(in crate::server) fn read(text: &str) -> Option<Self> {
        let bytes: [u8; Self::LEN] = text.as_bytes().try_into().ok()?;
        let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        bytes.iter().all(is_digit).then_some(Self(bytes))
    }

    pub(in crate::server) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// It is a secret.
impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pid(..)")
    }
}

/// Lost sessions that are kept at most: more people than one process can have connections.
const MOST_LOST: usize = 100_000;

/// When a session was lost, and what follows when.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) when: Instant,
    overdue: Instant,
    expires: Instant,
}

/// One session.
pub(in crate::server) struct Session {
    /// None: it has none to come back by.
    pub(super) pid: Option<Pid>,
    /// Its connection; `None`: it is lost.
    pub(in crate::server) link: Option<Arc<Link>>,
    pub(super) lost: Option<Lost>,
    /// It can have received nothing up to this id.
    pub(super) since: u64,
    /// Its rooms, its names there, and after which id it receives what is said in each.
    pub(super) seats: Vec<(Seat, u64)>,
    /// How it stands with it while it is lost.
    pub(super) standing: Standing,
}

impl Session {
    /// One that has this record, and no connection yet.
    pub(super) fn of(record: &Record) -> Self {
        let seat = |(room, name, since): &(String, String, u64)| {
            ((room.as_str().into(), name.as_str().into()), *since)
        };
        let pid = record.pid.as_deref().and_then(Pid::read);
        Self {
            pid,
            link: None,
            lost: None,
            since: record.since,
            standing: Standing::Expected,
            seats: record.seats.iter().map(seat).collect(),
        }
    }

    /// What of it is to be kept.
    pub(super) fn record(&self) -> Record {
        let seat = |((room, name), since): &(Seat, u64)| (room.to_string(), name.to_string(), *since);
        Record {
            pid: self.pid.map(|pid| pid.as_str().to_owned()),
            since: self.since,
            seats: self.seats.iter().map(seat).collect(),
            standing: self.standing,
        }
    }

    /// Its rooms, and since when.
    pub(in crate::server) fn rooms(&self) -> Vec<(RoomId, u64)> {
        self.seats.iter().map(|((room, _), since)| (room.clone(), *since)).collect()
    }
}

/// What is due of a lost session.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) enum Due {
    /// It has not come back in time: its rooms may be told.
    Overdue(MemberId),
    /// It can no longer come back.
    Expired(MemberId),
}

/// All sessions of one server.
pub(in crate::server) struct Sessions {
    all: HashMap<MemberId, Session>,
    by_pid: HashMap<Pid, MemberId>,
    grace: Duration,
    window: Duration,
    /// The lost ones, each once for each thing that becomes due.
    overdue: BTreeSet<(Instant, MemberId)>,
    expiring: BTreeSet<(Instant, MemberId)>,
}

impl Sessions {
    pub(super) fn new(grace: Duration, window: Duration) -> Self {
        let (all, by_pid) = (HashMap::new(), HashMap::new());
        Self { all, by_pid, grace, window, overdue: BTreeSet::new(), expiring: BTreeSet::new() }
    }

    pub(super) fn insert(&mut self, member: MemberId, session: Session) {
        if let Some(pid) = session.pid {
            self.by_pid.insert(pid, member);
        }
        self.all.insert(member, session);
    }

    pub(in crate::server) fn get(&self, member: MemberId) -> Option<&Session> {
        self.all.get(&member)
    }

    pub(super) fn get_mut(&mut self, member: MemberId) -> Option<&mut Session> {
        self.all.get_mut(&member)
    }

    pub(super) fn by_pid(&self, pid: &Pid) -> Option<(MemberId, &Session)> {
        let member = *self.by_pid.get(pid)?;
        Some((member, self.all.get(&member)?))
    }

    pub(super) fn remove(&mut self, member: MemberId) {
        self.await_no_more(member);
        if let Some(pid) = self.all.remove(&member).and_then(|session| session.pid) {
            self.by_pid.remove(&pid);
            give_back(&mut self.by_pid);
        }
        give_back(&mut self.all);
    }

    /// Its connection is lost, at `when`; what is due is counted from `now`.
    pub(super) fn lose(&mut self, member: MemberId, when: Instant, now: Instant) {
        self.await_no_more(member);
        let Some(session) = self.all.get_mut(&member) else { return };
        let (overdue, expires) = (now + self.grace, (when + self.window).max(now));
        (session.link, session.lost) = (None, Some(Lost { when, overdue, expires }));
        self.overdue.insert((overdue, member));
        self.expiring.insert((expires, member));
    }

    /// It is back, on this link; gives the old one, when that was never given up.
    pub(super) fn returned(&mut self, member: MemberId, link: Arc<Link>) -> Option<Arc<Link>> {
        self.await_no_more(member);
        let session = self.all.get_mut(&member)?;
        (session.lost, session.standing) = (None, Standing::default());
        session.link.replace(link)
    }

    /// Nothing becomes due of it: one that is lost again and again is there once.
    fn await_no_more(&mut self, member: MemberId) {
        if let Some(lost) = self.all.get(&member).and_then(|session| session.lost.as_ref()) {
            self.overdue.remove(&(lost.overdue, member));
            self.expiring.remove(&(lost.expires, member));
        }
    }

    /// What has become due of those who are lost; also the longest lost where they are more than anybody needs.
    pub(in crate::server) fn due(&mut self, now: Instant) -> Vec<Due> {
        let mut due = Vec::new();
        while let Some((_, member)) = self.overdue.first().filter(|(at, _)| *at <= now) {
            due.push(Due::Overdue(*member));
            self.overdue.pop_first();
        }
        while let Some((at, member)) = self.expiring.first()
            && (*at <= now || self.expiring.len() > MOST_LOST)
        {
            due.push(Due::Expired(*member));
            self.expiring.pop_first();
        }
        due
    }

    /// When something becomes due next.
    pub(in crate::server) fn next_due(&self) -> Option<Instant> {
        [self.overdue.first(), self.expiring.first()].into_iter().flatten().map(|(at, _)| *at).min()
    }

    pub(in crate::server) fn iter(&self) -> impl Iterator<Item = (MemberId, &Session)> {
        self.all.iter().map(|(member, session)| (*member, session))
    }

    pub(in crate::server) fn len(&self) -> usize {
        self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Arc<Link> {
        Link::new(Default::default(), false, None, Default::default())
    }

    #[test]
    fn who_comes_back_in_time_is_due_for_nothing() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut sessions = Sessions::new(second * 10, second * 120);
        for member in [1, 2] {
            let pid = Pid::new();
            let (seats, standing) = (Vec::new(), Standing::default());
            sessions.insert(member, Session { pid, link: None, lost: None, since: 0, seats, standing });
            sessions.lose(member, start, start);
        }
        assert_eq!(sessions.due(start + second * 9), []);
        assert!(sessions.returned(1, link()).is_none());
        assert_eq!(sessions.due(start + second * 10), [Due::Overdue(2)]);
        // Lost again: counted anew.
        sessions.lose(1, start + second * 60, start + second * 60);
        assert_eq!(sessions.due(start + second * 69), []);
        assert_eq!(sessions.due(start + second * 120), [Due::Overdue(1), Due::Expired(2)]);
        assert_eq!(sessions.due(start + second * 180), [Due::Expired(1)]);
        assert_eq!(sessions.next_due(), None);
    }

    #[test]
    fn who_is_lost_again_and_again_is_there_once() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut sessions = Sessions::new(second, second);
        let (seats, standing) = (Vec::new(), Standing::default());
        sessions.insert(1, Session { pid: None, link: None, lost: None, since: 0, seats, standing });
        for n in 0..1000 {
            sessions.lose(1, start + second * n, start + second * n);
            sessions.returned(1, link());
        }
        assert_eq!((sessions.overdue.len(), sessions.expiring.len()), (0, 0));
        sessions.lose(1, start, start);
        sessions.remove(1);
        assert_eq!((sessions.due(start + second), sessions.next_due()), (vec![], None));
    }

    #[test]
    fn the_lost_are_bounded_and_the_longest_lost_go_first() {
        let start = Instant::now();
        let mut sessions = Sessions::new(Duration::from_secs(10), Duration::from_secs(120));
        for member in 0..MOST_LOST + 2 {
            let (seats, standing) = (Vec::new(), Standing::default());
            sessions.insert(member, Session { pid: None, link: None, lost: None, since: 0, seats, standing });
            let when = start + Duration::from_micros(member as u64);
            sessions.lose(member, when, when);
        }
        assert_eq!(sessions.due(start), [Due::Expired(0), Due::Expired(1)]);
        assert_eq!(sessions.due(start), []);
    }

    #[test]
    fn ids_cannot_be_guessed_and_are_read_as_written() {
        let pids: std::collections::HashSet<Pid> = (0..1000).filter_map(|_| Pid::new()).collect();
        assert_eq!(pids.len(), 1000);
        assert!(pids.iter().all(|pid| Pid::read(pid.as_str()) == Some(*pid)));
        for text in ["", "short", "AAAAAAAAAAAAAAAAAAA ", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAA\""] {
            assert!(Pid::read(text).is_none(), "{text}");
        }
    }
}
