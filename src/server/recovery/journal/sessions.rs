//! The sessions in the journal: who was where.

use super::{
    Journal, Result,
    clock::{self, between},
    codec::{checksum, signed},
    rotten,
};
use crate::chat::{MemberId, Standing};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is kept of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct Record {
    /// Under which it may come back.
    pub(in crate::server) pid: Option<String>,
    /// It can have received nothing up to this id.
    pub(in crate::server) since: u64,
    /// Room, name, and after which id it hears the room.
    pub(in crate::server) seats: Vec<(String, String, u64)>,
    /// How it stands with it while it is lost.
    pub(in crate::server) standing: Standing,
}

impl Record {
    /// The highest id it names.
    pub(super) fn newest(&self) -> u64 {
        self.seats.iter().map(|(_, _, since)| *since).fold(self.since, u64::max)
    }
}

/// A session that an earlier server knew.
#[derive(Debug)]
pub(in super::super) struct KeptSession {
    pub(in super::super) member: MemberId,
    /// How long ago it was lost, as far as can be known.
    pub(in super::super) lost_ago: Duration,
    pub(in super::super) record: Record,
}

/// The sessions an earlier server knew, which ended at `ended` when its clock shows `now`: those that had a connection
/// count as lost with it.
pub(super) fn read(db: &Connection, ended: i64, now: i64) -> Result<Vec<KeptSession>> {
    let mut statement = db.prepare("SELECT member, lost, record, crc FROM session ORDER BY member")?;
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get(3)?)))?;
    let mut sessions = Vec::new();
    for row in rows {
        let (member, lost, record, crc): (i64, Option<i64>, _, u32) = row?;
        if of_session(member, lost, &record) != crc {
            return Err(rotten(member));
        }
        sessions.push(KeptSession {
            member: usize::try_from(member).map_err(|_| rotten(member))?,
            lost_ago: between(lost.unwrap_or(ended), now),
            record: serde_json::from_str(&record).map_err(|_| rotten(member))?,
        });
    }
    Ok(sessions)
}

impl Journal {
    /// Keeps a session as it is now; lost so long ago, or not lost.
    pub(in super::super) fn keep(
        &mut self,
        member: MemberId,
        lost: Option<Duration>,
        record: &Record,
    ) -> Result<()> {
        self.begin()?;
        let member = signed(member as u64);
        let lost = lost.map(|ago| clock::now() - i64::try_from(ago.as_millis()).unwrap_or(i64::MAX));
        let record = serde_json::to_string(record).unwrap_or_default();
        let crc = of_session(member, lost, &record);
        self.db
            .prepare_cached("INSERT OR REPLACE INTO session VALUES(?,?,?,?)")?
            .execute(params![member, lost, record, crc])?;
        Ok(())
    }

    /// Forgets a session.
    pub(in super::super) fn forget(&mut self, member: MemberId) -> Result<()> {
        self.begin()?;
        self.db.prepare_cached("DELETE FROM session WHERE member=?")?.execute([signed(member as u64)])?;
        Ok(())
    }
}

fn of_session(member: i64, lost: Option<i64>, record: &str) -> u32 {
    let lost = lost.map(i64::to_le_bytes);
    checksum(&[&member.to_le_bytes(), lost.as_ref().map_or(&[], |lost| &lost[..]), record.as_bytes()])
}
