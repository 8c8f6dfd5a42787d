//! Sessions and journal on their way from one server process to the next, at a live handover.
//!
//! The journal has one writer: the one lets go of it, and only then the other opens it. What the journal says of a
//! session, and what comes with its connection, is the same; so the next process writes nothing to go on.

use super::{Kept, Life, Link, MemberId, OpenError, Record, Recovery, Session, journal::KeptSession};
use std::sync::Arc;

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
        if let Err(error) = self.open_as_left(Some(left)) {
            self.fail(&error.to_string());
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

    /// Takes over a session whose connection is about to come from another process.
    pub(in crate::server) fn board(&mut self, member: MemberId, record: &Record) {
        let session = Session::of(record);
        let known = self.sessions.get(member).is_some_and(|known| known.record() == *record);
        if known && self.journal.is_some() {
            self.changed.remove(&member);
        } else {
            self.changed.insert(member);
        }
        self.sessions.remove(member);
        self.sessions.insert(member, session);
        self.next_member = self.next_member.max(member + 1);
    }

    /// What another process has to know of a member to go on with it.
    pub(in crate::server) fn record_of(&self, member: MemberId) -> Option<Record> {
        self.sessions.get(member).map(Session::record)
    }
}
