//! What the journal knows of itself, and of the lives before this one.

use super::{
    Epoch, Kept, Life, Result,
    clock::Moment,
    codec::{checksum, signed, unsigned},
    rotten,
};
use rusqlite::{Connection, params};

/// Lives before this one that are remembered: an older offset is refused.
const LIVES: usize = 1000;

/// The one row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meta {
    /// Of this process: its ids are told from those of the others.
    pub(super) epoch: Epoch,
    /// The highest id that is no longer in the log.
    pub(super) pruned: u64,
    /// Up to this id something may have been said while there was no journal.
    pub(super) gap: u64,
    /// The last sign of life.
    pub(super) alive: Moment,
}

impl Meta {
    /// Of a journal that is begun after this id.
    pub(super) fn afresh(epoch: Epoch, last: u64) -> Self {
        // Nothing of before is there.
        Self { epoch, pruned: last, gap: last, alive: Moment::now() }
    }

    pub(super) fn read(db: &Connection) -> Result<Self> {
        let row = db.query_row("SELECT epoch, pruned, gap, boot, clock, wall, crc FROM meta", [], |row| {
            let alive = Moment { boot: row.get(3)?, clock: row.get(4)?, wall: row.get(5)? };
            let (pruned, gap) = (unsigned(row.get(1)?), unsigned(row.get(2)?));
            Ok((Self { epoch: Epoch(unsigned(row.get(0)?)), pruned, gap, alive }, row.get::<_, u32>(6)?))
        });
        let (meta, crc) = row?;
        if meta.checksum() == crc { Ok(meta) } else { Err(rotten(0)) }
    }

    pub(super) fn write(&self, db: &Connection) -> Result<()> {
        let Self { epoch, pruned, gap, alive } = self;
        let mut statement = db.prepare_cached("INSERT OR REPLACE INTO meta VALUES(0,?,?,?,?,?,?,?)")?;
        statement.execute(params![
            signed(epoch.0),
            signed(*pruned),
            signed(*gap),
            alive.boot,
            alive.clock,
            alive.wall,
            self.checksum()
        ])?;
        Ok(())
    }

    fn checksum(&self) -> u32 {
        let Self { epoch, pruned, gap, alive } = self;
        let numbers = [epoch.0, *pruned, *gap, unsigned(alive.clock), unsigned(alive.wall)];
        let numbers = numbers.map(u64::to_le_bytes).concat();
        checksum(&[&numbers, alive.boot.as_bytes()])
    }
}

/// The lives before, oldest first.
pub(super) fn lives(db: &Connection) -> Result<Vec<Life>> {
    let mut statement = db.prepare("SELECT epoch, last, crc FROM life ORDER BY number")?;
    let rows = statement.query_map([], |row| {
        let life = Life { epoch: Epoch(unsigned(row.get(0)?)), last: unsigned(row.get(1)?) };
        Ok((life, row.get::<_, u32>(2)?))
    })?;
    let mut lives = Vec::new();
    for row in rows {
        let (life, crc) = row?;
        if of_life(&life) != crc {
            return Err(rotten(0));
        }
        lives.push(life);
    }
    Ok(lives)
}

/// Begins a new life: what an offset of the last one may say is settled now.
///
/// A process that died may have lost its last words with the machine, and its ids are given out again: under another
/// epoch nobody can mistake one for the other.
pub(super) fn begin_life(db: &Connection, ended: Life, mut before: Vec<Life>) -> Result<Kept> {
    let crc = of_life(&ended);
    db.execute(
        "INSERT INTO life(epoch, last, crc) VALUES(?,?,?)",
        params![signed(ended.epoch.0), signed(ended.last), crc],
    )?;
    let last = ended.last;
    before.push(ended);
    if before.len() > LIVES {
        before.remove(0);
        db.execute("DELETE FROM life WHERE number=(SELECT min(number) FROM life)", [])?;
    }
    Ok(Kept { epoch: Epoch::new(), last, before })
}

fn of_life(life: &Life) -> u32 {
    checksum(&[&life.epoch.0.to_le_bytes(), &life.last.to_le_bytes()])
}
