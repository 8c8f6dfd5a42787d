//! Sessions and journal on their way from one server process to the next, at a live handover.
//!
//! The journal has one writer: the one lets go of it, and only then the other opens it. What the journal says of a
//! session, and what comes with its connection, is the same; so the next process writes nothing to go on.

use super::{Kept, Life, Link, MemberId, OpenError, Record, Recovery, Session, journal::KeptSession};
use std::{collections::HashMap, sync::Arc};

impl Recovery {
    /// Lets go of the journal, for another process to have it, and says where it stands. Nothing may be kept until
    /// [`Recovery::resume`].
    pub(in crate::server) fn suspend(&mut self) -> Life {
        if let Some(journal) = self.journal.take() {
            journal.let_go();
        }
        (self.lock, self.trouble) = (None, None);
        Life { epoch: self.kept.epoch, last: self.kept.last }
    }

    /// Goes on with the journal: no other process wanted it.
    pub(in crate::server) fn resume(&mut self) {
        let left = Life { epoch: self.kept.epoch, last: self.kept.last };
        match self.open_as_left(Some(left)) {
            Ok(kept) => {
                let kept: HashMap<_, _> = kept.into_iter().map(|kept| (kept.member, kept.record)).collect();
                let is_new =
                    |(member, session): &(MemberId, &Session)| kept.get(member) != Some(&session.record());
                self.changed.extend(self.sessions.iter().filter(is_new).map(|(member, _)| member));
            }
            Err(error) => self.fail(&error.to_string()),
        }
    }

    /// Opens it; one that is not where the process before this one stood is begun afresh: it missed something.
    pub(super) fn open_as_left(&mut self, left: Option<Life>) -> Result<Vec<KeptSession>, OpenError> {
        let sessions = self.open_journal(false)?;
        match left.filter(|left| self.journal.is_some() && self.kept.before.last() != Some(left)) {
            None => Ok(sessions),
            Some(left) => {
                tracing::warn!("the journal is begun afresh: it is not where the process before stood");
                self.journal = None;
                self.kept = Kept::after(left);
                self.open_journal(true)
            }
        }
    }

    /// Its connection has come from the other process; whether it is wanted. Not, when its client has come back by
    /// another one meanwhile.
    pub(in crate::server) fn moved(&mut self, member: MemberId, link: Arc<Link>) -> bool {
        let Some(session) = self.sessions.get_mut(member).filter(|session| session.link.is_none()) else {
            return false;
        };
        session.link = Some(link);
        true
    }

    /// Takes up a session that the journal knows as it is, and whose connection is about to come from another process.
    pub(super) fn expect(&mut self, kept: KeptSession) {
        self.sessions.insert(kept.member, Session::of(&kept.record));
        self.next_member = self.next_member.max(kept.member + 1);
    }

    /// Takes up a session whose connection is about to come from another process.
    pub(in crate::server) fn board(&mut self, member: MemberId, record: &Record) {
        if self.sessions.get(member).is_some_and(|session| session.lost.is_none()) {
            return; // it is expected
        }
        self.sessions.remove(member);
        self.sessions.insert(member, Session::of(record));
        self.changed.insert(member);
        self.next_member = self.next_member.max(member + 1);
    }

    /// What another process has to know of a member to go on with it.
    pub(in crate::server) fn record_of(&self, member: MemberId) -> Option<Record> {
        self.sessions.get(member).map(Session::record)
    }
}
