//! What is kept for newcomers of a room.

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
        let crc = of_message(room, id, &json);
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

    /// What is kept for newcomers of a room, oldest first.
    pub(in super::super) fn remembered(&self, room: &str, keep: Duration) -> Result<Vec<Box<RawValue>>> {
        let mut statement =
            self.db.prepare_cached("SELECT id, body, crc FROM history WHERE room=? AND at>=? ORDER BY id")?;
        let rows = statement.query_map(params![room, earliest(keep)], |row| {
            Ok((unsigned(row.get(0)?), row.get::<_, String>(1)?, row.get::<_, u32>(2)?))
        })?;
        let mut messages = Vec::new();
        for row in rows {
            let (id, body, crc) = row?;
            let intact = of_message(room, id, &body) == crc;
            let body = intact.then(|| RawValue::from_string(body).ok()).flatten();
            messages.push(body.ok_or_else(|| rotten(signed(id)))?);
        }
        Ok(messages)
    }

    /// Forgets what has been kept for newcomers for longer than this.
    pub(in super::super) fn forget_history(&mut self, keep: Duration) -> Result<()> {
        self.begin()?;
        self.db.prepare_cached("DELETE FROM history WHERE at<?")?.execute([earliest(keep)])?;
        Ok(())
    }
}

fn earliest(keep: Duration) -> i64 {
    wall_clock().saturating_sub(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX))
}

fn of_message(room: &str, id: u64, body: &str) -> u32 {
    checksum(&[room.as_bytes(), &id.to_le_bytes(), body.as_bytes()])
}
