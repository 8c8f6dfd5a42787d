//! The journal on a real disk, well and ill.

use super::{checkpoints::checkpoint, *};
use bytes::Bytes;
use std::{
    fs::OpenOptions,
    os::unix::fs::{FileExt, PermissionsExt},
    thread,
};

const BOUNDS: Bounds = Bounds { messages: 1000, bytes: 1 << 20, window: Duration::from_secs(120) };

fn text(text: &str) -> Body {
    Body::from_parts(format!("{{\"msg\":{text:?}}}"), Vec::new()).unwrap()
}

fn open(path: &Path) -> Journal {
    Journal::open(path, BOUNDS, None).unwrap()
}

fn said(journal: &Journal, room: &str) -> Vec<u64> {
    let rows = journal.read(&[scope_of_room(room)], 0, u64::MAX, 10_000).unwrap();
    rows.iter().map(|row| row.id).collect()
}

fn record() -> Record {
    Record {
        pid: Some("secret".into()),
        since: 1,
        seats: vec![("r".into(), "kim".into(), 2)],
        standing: Standing::Announced,
    }
}

/// A journal with three events, one of them binary, and a session.
fn filled(path: &Path) -> Kept {
    let mut journal = open(path);
    for (id, room) in [(1, "r"), (2, "other"), (3, "r")] {
        journal.append(id, &scope_of_room(room), "chatting", &text("hello")).unwrap();
    }
    let binary = Body::from_parts(
        r#"{"msg":{"_placeholder":true,"num":0}}"#.into(),
        vec![Bytes::from_static(b"\0\x01binary")],
    );
    journal.append(4, &scope_of_room("r"), "chatting", &binary.unwrap()).unwrap();
    journal.keep(7, None, &record()).unwrap();
    journal.commit(Instant::now()).unwrap();
    // Into the file itself, where the tests look for it.
    checkpoint(&journal.db, true).unwrap();
    journal.kept()
}

#[test]
fn the_next_process_finds_what_the_last_one_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/er/chat.sqlite");
    let kept = filled(&path);
    let journal = open(&path);
    assert_eq!(journal.kept(), kept);
    assert_eq!(said(&journal, "r"), [1, 3, 4]);
    let last = journal.read(&[scope_of_room("r")], 3, 4, 10).unwrap().remove(0);
    assert_eq!(last.body.parts().1, [Bytes::from_static(b"\0\x01binary")]);
    let session = journal.sessions().unwrap().remove(0);
    assert_eq!((session.member, session.record), (7, record()));
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
}

#[test]
fn two_never_share_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.sqlite");
    let first = open(&path);
    assert!(matches!(Journal::open(&path, BOUNDS, None), Err(OpenError::InUse(_))));
    // The one who waits gets it when the other lets go.
    let second = thread::spawn({
        let path = path.clone();
        move || Journal::open(&path, BOUNDS, None).map(drop)
    });
    drop(first);
    second.join().unwrap().unwrap();
}

#[test]
fn whatever_has_happened_to_the_file_it_opens() {
    type Harm = fn(&File, u64);
    let harms: [(&str, Harm); 5] = [
        ("truncated to nothing", |file, _| file.set_len(0).unwrap()),
        ("truncated in the middle", |file, len| file.set_len(len / 2 + 100).unwrap()),
        ("overwritten", |file, _| file.write_all_at(b"this is no database at all", 0).unwrap()),
        ("of another version", |file, _| file.write_all_at(&99u32.to_be_bytes(), 60).unwrap()),
        ("zeroes", |file, len| file.write_all_at(&vec![0; len as usize - 4096], 4096).unwrap()),
    ];
    for (what, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chat.sqlite");
        let before = filled(&path);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        harm(&file, file.metadata().unwrap().len());
        let mut journal = open(&path);
        assert_ne!(journal.kept().epoch, before.epoch, "{what}: offsets of before mean nothing now");
        assert_eq!(said(&journal, "r"), [0u64; 0], "{what}");
        journal.append(1, &scope_of_room("r"), "chatting", &text("on we go")).unwrap();
        journal.commit(Instant::now()).unwrap();
    }
}

#[test]
fn a_flipped_bit_is_an_error_and_never_a_message() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.sqlite");
    filled(&path);
    let content = std::fs::read(&path).unwrap();
    let at = content.windows(5).position(|bytes| bytes == b"hello").unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"jello", at as u64).unwrap();
    let journal = open(&path);
    let rotten = [("r", 0u64), ("other", 0)]
        .iter()
        .any(|(room, from)| journal.read(&[scope_of_room(room)], *from, 10, 10).is_err());
    assert!(rotten);
}

#[test]
fn it_stays_in_its_bounds_and_knows_what_it_no_longer_has() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Bounds { messages: 100, ..BOUNDS };
    let mut journal = Journal::open(&dir.path().join("chat.sqlite"), bounds, None).unwrap();
    let now = Instant::now();
    journal.append(1, &scope_of_room("quiet"), "chatting", &text("x")).unwrap();
    for id in 2..=1000 {
        journal.append(id, &scope_of_room("loud"), "chatting", &text("x")).unwrap();
        if id % 50 == 0 {
            journal.commit(now).unwrap();
            assert!(journal.size().0 <= 100, "{}", journal.size().0);
        }
    }
    assert_eq!(said(&journal, "loud"), (901..=1000).collect::<Vec<_>>());
    assert_eq!(journal.floor(&scope_of_room("loud")), 900);
    assert_eq!(journal.floor(&scope_of_room("quiet")), 1, "nothing of it after 1 is missing");
    assert_eq!(journal.floor(&scope_of_room("unheard of")), 0);
    journal.keep_floors(&HashSet::from([scope_of_room("loud")])).unwrap();
    assert_eq!(journal.floor(&scope_of_room("quiet")), 0);

    let bounds = Bounds { bytes: 1 << 16, ..BOUNDS };
    let mut journal = Journal::open(&dir.path().join("bytes.sqlite"), bounds, None).unwrap();
    for id in 1..=1000 {
        journal.append(id, &scope_of_room("r"), "chatting", &text(&"x".repeat(1000))).unwrap();
        journal.commit(now).unwrap();
        assert!(journal.size().1 <= 1 << 16);
    }
}

#[test]
fn what_is_older_than_the_window_goes_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.sqlite");
    let mut journal = open(&path);
    let start = Instant::now();
    for id in 1..=500 {
        journal.append(id, &scope_of_room("r"), "chatting", &text("secret words")).unwrap();
    }
    journal.commit(start).unwrap();
    assert_eq!(journal.size().0, 500);
    let later = start + BOUNDS.window + Duration::from_secs(2);
    assert!(journal.next_due() <= later);
    for _ in 0..20 {
        journal.commit(later).unwrap();
    }
    assert_eq!(journal.size(), (0, 0));
    drop(journal);
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let content = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!content.windows(12).any(|bytes| bytes == b"secret words"), "overwritten on the disk too");
    }
}

#[test]
fn newcomers_get_the_last_messages_of_a_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(&dir.path().join("chat.sqlite"));
    for id in 1..=10 {
        journal.remember("r", id, &text(&id.to_string()), 3).unwrap();
    }
    journal.commit(Instant::now()).unwrap();
    let day = Duration::from_hours(24);
    let texts = |room| {
        journal.remembered(room, day).unwrap().iter().map(|raw| raw.get().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(texts("r"), [r#"{"msg":"8"}"#, r#"{"msg":"9"}"#, r#"{"msg":"10"}"#]);
    assert_eq!(texts("other"), [""; 0]);
}
