//! The log: what was said, in the order of its ids, and how the oldest of it goes.

use super::{
    Journal, Result,
    codec::{checksum, pack, signed, unpack, unsigned},
    index::Index,
    rotten,
};
use crate::chat::{Body, MemberId};
use rusqlite::{Connection, OptionalExtension, params};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// What a row takes beside its texts, roughly, page overhead included.
const ROW: usize = 96;
/// Rows that are pruned at least, and at most, with one commit that wrote fewer: never so many that deliveries wait.
const BITE: std::ops::RangeInclusive<usize> = 64..=2048;
/// How exactly it is known when something was written.
const MARK_EVERY: Duration = Duration::from_secs(1);

/// To whom something was said: the texts cannot be mistaken for one another, whatever a room is called.
pub(in super::super) fn scope_of_room(room: &str) -> String {
    format!("room {room}")
}

/// As [`scope_of_room`], of one member.
pub(in super::super) fn scope_of_member(member: MemberId) -> String {
    format!("member {member}")
}

/// An event as it was said.
pub(in super::super) struct Row {
    pub(in super::super) id: u64,
    pub(in super::super) event: String,
    pub(in super::super) body: Body,
}

impl Journal {
    /// Messages, and the bytes they take.
    pub(in super::super) fn size(&self) -> (usize, usize) {
        (self.index.len(), self.index.bytes())
    }

    /// Keeps an event under the next id.
    pub(in super::super) fn append(&mut self, id: u64, scope: &str, event: &str, body: &Body) -> Result<()> {
        if id != self.index.last() + 1 {
            return Err(rotten(signed(id)));
        }
        self.begin()?;
        let (json, attachments) = body.parts();
        let blob = (!attachments.is_empty()).then(|| pack(attachments));
        let size = ROW + scope.len() + event.len() + json.len() + blob.as_ref().map_or(0, Vec::len);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.db.prepare_cached("INSERT INTO log VALUES(?,?,?,?,?,?,?,?)")?.execute(params![
            signed(id),
            scope,
            size,
            of_head(id, scope, size),
            event,
            json,
            blob,
            of_row(id, event, json, blob.as_deref())
        ])?;
        self.index.push(scope, size);
        self.appended += 1;
        Ok(())
    }

    /// The events of these scopes, of each above an id of its own, none above `to`, oldest first: as many as `limits`
    /// (rows, bytes) allow, one at least. And whether that is all.
    pub(in super::super) fn read(
        &self,
        wanted: &[(String, u64)],
        to: u64,
        limits: (usize, usize),
    ) -> Result<(Vec<Row>, bool)> {
        let (ids, all) = self.index.above(wanted, to, limits);
        let mut statement =
            self.db.prepare_cached("SELECT scope, event, body, attachments, crc FROM log WHERE id=?")?;
        let mut events = Vec::with_capacity(ids.len());
        for (id, scope) in ids {
            type Parts = (String, String, String, Option<Vec<u8>>, u32);
            let row = statement.query_row([signed(id)], |row| {
                let parts: Parts = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
                Ok(parts)
            });
            let intact = row.optional()?.filter(|(of, event, json, blob, crc)| {
                **of == *scope && of_row(id, event, json, blob.as_deref()) == *crc
            });
            let event = intact.and_then(|(_, event, json, blob, _)| {
                let body = Body::from_parts(json, unpack(blob.as_deref().unwrap_or_default()))?;
                Some(Row { id, event, body })
            });
            events.push(event.ok_or_else(|| rotten(signed(id)))?);
        }
        Ok((events, all))
    }

    /// Whether there is more than there may be.
    pub(super) fn is_over(&self) -> bool {
        self.index.len() > self.bounds.messages || self.index.bytes() > self.bounds.bytes
    }

    /// Lets go of the oldest, a bite at a time; whether there was something.
    pub(super) fn prune(&mut self, now: Instant) -> Result<bool> {
        let marked = self.marks.back().map_or(self.index.pruned(), |(_, id)| *id);
        if self.index.last() > marked
            && self.marks.back().is_none_or(|(at, _)| now.duration_since(*at) >= MARK_EVERY)
        {
            self.marks.push_back((now, self.index.last()));
        }
        let expired = self.marks.iter().take_while(|(at, _)| *at + self.bounds.window <= now).last();
        let expired = expired.map_or(0, |(_, id)| *id);
        let appended = std::mem::take(&mut self.appended);
        // What one batch brought in it takes out as well: the bounds hold.
        let bite = (2 * appended).clamp(*BITE.start(), *BITE.end()).max(appended);
        let mut floors = BTreeMap::new();
        for _ in 0..bite {
            if !self.is_over() && self.index.pruned() >= expired {
                break;
            }
            let Some(scope) = self.index.pop() else { break };
            floors.insert(scope, self.index.pruned());
        }
        while self.marks.pop_front_if(|(_, id)| *id <= self.index.pruned()).is_some() {}
        if floors.is_empty() {
            return Ok(false);
        }
        self.begin()?;
        self.floors.raise(&self.db, floors)?;
        self.meta.pruned = self.index.pruned();
        self.db.prepare_cached("DELETE FROM log WHERE id<=?")?.execute([signed(self.meta.pruned)])?;
        Ok(true)
    }
}

/// Sees that the log has no hole.
pub(super) fn read_index(db: &Connection, pruned: u64) -> Result<Index> {
    let mut index = Index::new(pruned);
    let mut statement = db.prepare("SELECT id, scope, size, head FROM log ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, size, head): (_, u32, u32) = (unsigned(row.get(0)?), row.get(2)?, row.get(3)?);
        let scope = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        if id != index.last() + 1 || of_head(id, scope, size) != head {
            return Err(rotten(signed(id)));
        }
        index.push(scope, size);
    }
    Ok(index)
}

fn of_head(id: u64, scope: &str, size: u32) -> u32 {
    checksum(&[&id.to_le_bytes(), scope.as_bytes(), &size.to_le_bytes()])
}

fn of_row(id: u64, event: &str, json: &str, blob: Option<&[u8]>) -> u32 {
    checksum(&[&id.to_le_bytes(), event.as_bytes(), json.as_bytes(), blob.unwrap_or_default()])
}
