//! A journal that something has happened to. The first byte says what: it is another file altogether, or one that was
//! good is changed in places, in the file itself or in its write-ahead log: each change is where (three bytes, as a
//! part of the whole) and what is there now (one byte). Whatever it was, the server starts, and what it then tells of
//! before is what was said, from the beginning on, and nothing else.
#![no_main]

use chatctl::workbench::hostile::Journal;
use libfuzzer_sys::fuzz_target;
use std::{fs, path::PathBuf, sync::OnceLock, thread, time::Duration};
use tempfile::TempDir;

const ROOMS: [&str; 2] = ["r", "other"];
const MESSAGES: usize = 40;
/// Longer than between two checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(700);

struct Good {
    dir: TempDir,
    /// The file, its write-ahead log, and the log's index; as they lie there when a server has died.
    files: [(&'static str, Vec<u8>); 3],
    known: Vec<(usize, String)>,
    said: [Vec<String>; 2],
}

impl Good {
    fn path(&self) -> PathBuf {
        self.dir.path().join("chat.sqlite")
    }

    fn lay_out(&self) {
        for (suffix, content) in &self.files {
            fs::write(self.dir.path().join(format!("chat.sqlite{suffix}")), content).unwrap();
        }
    }
}

/// One whose messages are all in its write-ahead log, or in the file itself.
fn good(checkpointed: bool) -> &'static Good {
    static GOOD: [OnceLock<Good>; 2] = [const { OnceLock::new() }; 2];
    GOOD[usize::from(checkpointed)].get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chat.sqlite");
        let mut journal = Journal::open(&path).unwrap();
        for member in 0..5 {
            journal.enter(ROOMS[member % 2], &format!("member {member}"));
        }
        for n in 0..MESSAGES {
            journal.say(ROOMS[n % 2], &format!("message {n}"));
        }
        if checkpointed {
            thread::sleep(CHECKPOINT_EVERY);
            journal.enter(ROOMS[0], "one more");
            journal.say(ROOMS[0], "one more");
        }
        // Its end waits for a checkpoint that is being made.
        drop(journal);
        let read =
            |suffix| (suffix, fs::read(dir.path().join(format!("chat.sqlite{suffix}"))).unwrap_or_default());
        let files = [read(""), read("-wal"), read("-shm")];
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.trouble(), None);
        let (known, said) = (journal.known().collect(), ROOMS.map(|room| journal.said(room).unwrap()));
        assert_eq!(said[1].len(), MESSAGES / 2);
        drop(journal);
        Good { dir, files, known, said }
    })
}

fuzz_target!(|input: &[u8]| {
    let Some((what, change)) = input.split_first() else { return };
    let good = good(what & 8 == 8);
    good.lay_out();
    let another = what & 3 == 3;
    let (suffix, content) = &good.files[usize::from(what & 1)];
    let mut content = content.clone();
    if another {
        content = change.to_vec();
    } else {
        for change in change.chunks_exact(4) {
            let at = u32::from_be_bytes([0, change[0], change[1], change[2]]) as usize * content.len() >> 24;
            if let Some(byte) = content.get_mut(at) {
                *byte = change[3];
            }
        }
    }
    fs::write(good.dir.path().join(format!("chat.sqlite{suffix}")), content).unwrap();
    // Without the index, as after a copy; with it, as after a death.
    if what & 4 == 0 {
        let _ = fs::remove_file(good.dir.path().join("chat.sqlite-shm"));
    }

    let mut journal = Journal::open(&good.path()).expect("the server starts");
    for one in journal.known() {
        assert!(good.known.contains(&one), "nobody was {one:?}");
    }
    for (room, said) in ROOMS.iter().zip(&good.said) {
        if let Some(told) = journal.said(room) {
            assert!(said.starts_with(&told), "{told:?} was not said in {room}");
        }
    }
    journal.say("r", "on we go");
    journal.said("r");
});
