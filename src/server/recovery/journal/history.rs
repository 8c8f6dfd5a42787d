//! What is kept for newcomers of a room: so many messages of each, for so long, and of all rooms together about as many
//! bytes as of what was said last.

use super::{
    Journal, Result,
    clock::wall_clock,
    codec::{checksum, signed, unsigned},
    rotten,
};
use crate::chat::Body;
use rusqlite::params;
use serde_json::value::RawValue;
use std::time::Duration;

/// Messages that are forgotten at once: never so many that the chat waits.
const BITE: usize = 256;
/// Bytes that are kept before it is looked again what the file holds.
const LOOK_EVERY: usize = 1 << 20;
/// What else there is in the file: sessions, and pages that are not full.
const BESIDES: u64 = 32 << 20;

/// What there is to be forgotten.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// There may be more of it.
    more: bool,
    /// Bytes kept since it was looked what the file holds.
    unseen: usize,
}

impl Due {
    pub(super) fn is_now(&self) -> bool {
        self.more || self.unseen >= LOOK_EVERY
    }
}

impl Journal {
    /// Keeps a message for newcomers, of whom each gets `limit`.
    pub(in super::super) fn remember(
        &mut self,
        room: &str,
        id: u64,
        body: &Body,
        limit: usize,
    ) -> Result<()> {
        let (json, attachments) = body.parts();
        if !attachments.is_empty() {
            return Ok(());
        }
        self.begin()?;
        self.history.unseen += json.len();
        let crc = of_message(room, id, json);
        self.db.prepare_cached("INSERT INTO history VALUES(?,?,?,?,?)")?.execute(params![
            room,
            signed(id),
            wall_clock(),
            json,
            crc
        ])?;
        self.db
            .prepare_cached("DELETE FROM history WHERE room=?1 AND id <= (SELECT id FROM history WHERE room=?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)")?
            .execute(params![room, signed(limit as u64)])?;
        Ok(())
    }

    /// What is kept for newcomers of a room, the last so many, oldest first.
    pub(in super::super) fn remembered(
        &self,
        room: &str,
        keep: Duration,
        limit: usize,
    ) -> Result<Vec<Box<RawValue>>> {
        let mut statement = self.db.prepare_cached(
            "SELECT id, body, crc FROM history WHERE room=? AND at>=? ORDER BY id DESC LIMIT ?",
        )?;
        let rows = statement.query_map(params![room, earliest(keep), signed(limit as u64)], |row| {
            Ok((unsigned(row.get(0)?), row.get::<_, String>(1)?, row.get::<_, u32>(2)?))
        })?;
        let mut messages = Vec::new();
        for row in rows {
            let (id, body, crc) = row?;
            let intact = of_message(room, id, &body) == crc;
            let body = intact.then(|| RawValue::from_string(body).ok()).flatten();
            messages.push(body.ok_or_else(|| rotten(signed(id)))?);
        }
        messages.reverse();
        Ok(messages)
    }

    /// Forgets a bite of what has been kept for newcomers for longer than this, or is more than there may be; `None`:
    /// of all of it.
    pub(in super::super) fn forget_history(&mut self, keep: Option<Duration>) -> Result<()> {
        self.begin()?;
        let is_over = self.bytes_in_use()? > 2 * self.bounds.bytes as u64 + BESIDES;
        let before = keep.filter(|_| !is_over).map_or(i64::MAX, earliest);
        let forgotten = self
            .db
            .prepare_cached("DELETE FROM history WHERE (room, id) IN (SELECT room, id FROM history WHERE at<? ORDER BY at LIMIT ?)")?
            .execute(params![before, signed(BITE as u64)])?;
        self.history = Due { more: forgotten == BITE, unseen: 0 };
        Ok(())
    }

    /// Of the file, less what is free in it.
    fn bytes_in_use(&self) -> Result<u64> {
        let pragma = |name: &str| {
            let number = self.db.prepare_cached(&format!("PRAGMA {name}"))?.query_row([], |row| row.get(0));
            number.map(unsigned)
        };
        let pages = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
        Ok(pages * pragma("page_size")?)
    }
}

fn earliest(keep: Duration) -> i64 {
    wall_clock().saturating_sub(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX))
}

fn of_message(room: &str, id: u64, body: &str) -> u32 {
    checksum(&[room.as_bytes(), &id.to_le_bytes(), body.as_bytes()])
}
