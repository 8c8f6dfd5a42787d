//! The floors: who knows less than this of a scope cannot be told all it missed.

use super::{
    Result,
    codec::{checksum, signed, unsigned},
    rotten,
};
use crate::slack::give_back;
use rusqlite::{Connection, params};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

/// Below so many nobody asks which are still needed.
const MANY: usize = 1024;

/// Of each scope that has lost something, the highest id that is no longer in the log.
pub(super) struct Floors {
    of: HashMap<Arc<str>, u64>,
    /// So many are worth a look at which are still needed.
    many: usize,
    looked: Instant,
}

impl Floors {
    pub(super) fn read(db: &Connection, now: Instant) -> Result<Self> {
        let mut statement = db.prepare("SELECT scope, id, crc FROM floor")?;
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, Arc<str>>(0)?, unsigned(row.get(1)?), row.get::<_, u32>(2)?))
        })?;
        let mut of = HashMap::new();
        for row in rows {
            let (scope, id, crc) = row?;
            if checksum_of(&scope, id) != crc {
                return Err(rotten(signed(id)));
            }
            of.insert(scope, id);
        }
        Ok(Self { of, many: MANY, looked: now })
    }

    pub(super) fn get(&self, scope: &str) -> u64 {
        self.of.get(scope).copied().unwrap_or(0)
    }

    pub(super) fn highest(&self) -> u64 {
        self.of.values().copied().max().unwrap_or(0)
    }

    /// In the transaction that takes out of the log what was below them.
    pub(super) fn raise(&mut self, db: &Connection, to: BTreeMap<Arc<str>, u64>) -> Result<()> {
        let mut statement = db.prepare_cached("INSERT OR REPLACE INTO floor VALUES(?,?,?)")?;
        for (scope, id) in to {
            statement.execute(params![&*scope, signed(id), checksum_of(&scope, id)])?;
            self.of.insert(scope, id);
        }
        Ok(())
    }

    /// Whether there are twice as many as when they were last looked at, or those of a crowd that may have left since.
    pub(super) fn are_many(&self, now: Instant, window: Duration) -> bool {
        let count = self.of.len();
        count > self.many || count > MANY && now.saturating_duration_since(self.looked) > window
    }

    /// Forgets those of all other scopes: nobody is there who could have missed something, and who comes hears only
    /// what is said from then on.
    pub(super) fn keep(&mut self, db: &Connection, needed: &HashSet<String>, now: Instant) -> Result<()> {
        let mut statement = db.prepare_cached("DELETE FROM floor WHERE scope=?")?;
        for scope in self.of.keys().filter(|scope| !needed.contains(&***scope)) {
            statement.execute([&**scope])?;
        }
        self.of.retain(|scope, _| needed.contains(&**scope));
        give_back(&mut self.of);
        (self.many, self.looked) = (MANY.max(2 * self.of.len()), now);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.of.len(), self.of.capacity())
    }
}

fn checksum_of(scope: &str, id: u64) -> u32 {
    checksum(&[scope.as_bytes(), &id.to_le_bytes()])
}
