//! The journal's upkeep: opening it, closing it, and doing without.

use super::{
    MemberId, Recovery, Seat, Standing,
    journal::{
        self, Journal, JournalError, KeptSession, Lock, OpenError, Record, scope_of_member, scope_of_room,
    },
    session::{Pid, Session},
};
use std::time::{Duration, Instant};

/// Between two attempts to have a journal again.
const RETRY: Duration = Duration::from_secs(10);

impl Recovery {
    /// Opens the journal, or another one: `again` that of before has failed.
    pub(super) fn open_journal(&mut self, again: bool) -> Result<Vec<KeptSession>, OpenError> {
        let Some(path) = &self.path else { return Ok(Vec::new()) };
        let bounds = journal::Bounds {
            messages: usize::try_from(self.settings.max_messages).unwrap_or(usize::MAX),
            bytes: usize::try_from(self.settings.max_bytes).unwrap_or(usize::MAX),
            window: self.settings.window,
        };
        let lock = match self.lock.take() {
            Some(lock) => lock,
            // The server before this one lets go in a moment. Later nobody has to wait for that.
            None => Lock::take(path, !again)?,
        };
        let lock = self.lock.insert(lock);
        let (journal, sessions) = Journal::open(lock, path, bounds, again.then_some(&self.kept))?;
        self.kept = journal.kept();
        (self.journal, self.trouble) = (Some(journal), None);
        Ok(sessions)
    }

    /// Takes up a session an earlier server knew.
    pub(super) fn restore(&mut self, kept: KeptSession) -> (MemberId, Vec<Seat>, Standing) {
        let KeptSession { member, lost_ago, record: Record { pid, since, seats, standing } } = kept;
        let pid = pid.as_deref().and_then(Pid::read);
        let now = Instant::now();
        let seats: Vec<(Seat, u64)> =
            seats.into_iter().map(|(room, name, since)| ((room.into(), name.into()), since)).collect();
        let places = seats.iter().map(|(seat, _)| seat.clone()).collect();
        self.sessions.insert(member, Session { pid, link: None, lost: None, since, seats, standing });
        self.sessions.lose(member, now.checked_sub(lost_ago).unwrap_or(now), now);
        // When it was lost is now known by the clock of this process.
        self.changed.insert(member);
        self.next_member = self.next_member.max(member + 1);
        (member, places, standing)
    }

    /// Closes the journal: the next process may open it. Nothing is kept from now on.
    pub(in super::super) fn close(&mut self) {
        self.commit(Instant::now());
        (self.journal, self.path, self.trouble) = (None, None, None);
        self.lock = None;
    }

    /// Makes all of it safe. When it returns, it may be sent.
    pub(in super::super) fn commit(&mut self, now: Instant) {
        let started = Instant::now();
        for member in std::mem::take(&mut self.changed) {
            self.write(member, now);
        }
        self.with_journal(|journal| journal.commit(now));
        if self.journal.is_some() {
            self.counts.commit = started.elapsed();
            self.counts.slowest_commit = self.counts.slowest_commit.max(self.counts.commit);
        }
    }

    fn write(&mut self, member: MemberId, now: Instant) {
        let Some(journal) = &mut self.journal else { return };
        let written = match self.sessions.get(member) {
            None => journal.forget(member),
            Some(session) => {
                let lost = session.lost.as_ref().map(|lost| now.saturating_duration_since(lost.when));
                journal.keep(member, lost, &session.record())
            }
        };
        if let Err(error) = written {
            self.fail(&error.to_string());
        }
    }

    /// What is to be done without anybody's asking.
    pub(in super::super) fn tick(&mut self, now: Instant) {
        if self.trouble.as_ref().is_some_and(|(_, retry)| *retry <= now) {
            self.retry(now);
        }
        if self.journal.as_ref().is_some_and(|journal| journal.has_many_floors(now)) {
            let rooms = |(member, session): (MemberId, &Session)| {
                let rooms = session.rooms().into_iter().map(|(room, _)| scope_of_room(&room));
                rooms.chain([scope_of_member(member)]).collect::<Vec<_>>()
            };
            let needed = self.sessions.iter().flat_map(rooms).collect();
            self.with_journal(|journal| journal.keep_floors(&needed, now));
        }
        // Where none is wanted any more, what was kept before goes as well.
        let keep = (self.history.messages > 0).then_some(self.history.keep);
        if self.journal.as_ref().is_some_and(|journal| journal.next_due() <= now) {
            self.with_journal(|journal| journal.forget_history(keep));
        }
    }

    /// When [`Recovery::tick`], [`Sessions::due`] or [`Recovery::commit`] has something to do.
    pub(in super::super) fn next_due(&self) -> Option<Instant> {
        let journal = self.journal.as_ref().map(Journal::next_due);
        let retry = self.trouble.as_ref().map(|(_, retry)| *retry);
        [journal, retry, self.sessions.next_due()].into_iter().flatten().min()
    }

    pub(super) fn with_journal<T>(
        &mut self,
        work: impl FnOnce(&mut Journal) -> Result<T, JournalError>,
    ) -> Option<T> {
        match work(self.journal.as_mut()?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fail(&error.to_string());
                None
            }
        }
    }

    /// Goes on without a journal, under a new epoch: what is sent from now on is not kept, and no offset of before
    /// may be mistaken for one of then. What was kept goes: the next process would take it up, without what is said
    /// now.
    pub(in super::super) fn fail(&mut self, why: &str) {
        tracing::error!("recovery is off, the chat goes on: {why}");
        self.journal = None;
        if let (Some(path), Some(_)) = (&self.path, &self.lock)
            && let Err(error) = journal::remove(path)
        {
            tracing::error!(%error, path = %path.display(), "the journal of before cannot be removed");
        }
        self.kept.break_off();
        self.trouble = Some((why.to_owned(), Instant::now() + RETRY));
    }

    fn retry(&mut self, now: Instant) {
        match self.open_journal(true) {
            Ok(_) => {
                tracing::info!("recovery is on again");
                self.changed.extend(self.sessions.iter().map(|(member, _)| member));
            }
            Err(error) => self.trouble = Some((error.to_string(), now + RETRY)),
        }
    }
}
