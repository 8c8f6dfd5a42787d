//! The journal on a real disk, well and ill.

use super::{
    checkpoints::{Depth, checkpoint},
    *,
};
use crate::chat::{Body, Standing};
use bytes::Bytes;
use proptest::prelude::*;
use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt, PermissionsExt},
    thread,
};

const BOUNDS: Bounds = Bounds { messages: 1000, bytes: 1 << 20, window: Duration::from_secs(120) };

fn text(text: &str) -> Body {
    Body::from_parts(format!("{{\"msg\":{text:?}}}"), Vec::new()).unwrap()
}

fn open_with(path: &Path, bounds: Bounds) -> (Journal, Vec<KeptSession>) {
    // Held by nobody else here, and let go at once.
    let lock = Lock::take(path, false).unwrap();
    Journal::open(&lock, path, bounds, None).unwrap()
}

fn open(path: &Path) -> Journal {
    open_with(path, BOUNDS).0
}

fn read(journal: &Journal, room: &str) -> Result<Vec<u64>> {
    let (rows, all) = journal.read(&[(scope_of_room(room), 0)], u64::MAX, (10_000, usize::MAX))?;
    assert!(all);
    Ok(rows.iter().map(|row| row.id).collect())
}

fn said(journal: &Journal, room: &str) -> Vec<u64> {
    read(journal, room).unwrap()
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
    checkpoint(&journal.db, Depth::Truncate).unwrap();
    journal.kept()
}

#[test]
fn the_next_process_finds_what_the_last_one_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/er/chat.sqlite");
    let kept = filled(&path);
    let (journal, mut sessions) = open_with(&path, BOUNDS);
    assert_eq!(journal.kept().last, kept.last);
    assert_eq!(journal.kept().before, [Life { epoch: kept.epoch, last: 4 }]);
    assert_eq!(said(&journal, "r"), [1, 3, 4]);
    let last = journal.read(&[(scope_of_room("r"), 3)], 4, (10, 1000)).unwrap().0.remove(0);
    assert_eq!(last.body.parts().1, [Bytes::from_static(b"\0\x01binary")]);
    let session = sessions.remove(0);
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
    let first = Lock::take(&path, true).unwrap();
    for about_to_end in [false, true] {
        assert!(matches!(Lock::take(&path, about_to_end), Err(OpenError::InUse(_))));
    }
    // The one who waits gets it when the other lets go.
    let second = thread::spawn({
        let path = path.clone();
        move || Lock::take(&path, true).map(drop)
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
        assert_eq!(journal.kept().before, [], "{what}: offsets of before mean nothing now");
        assert_ne!(journal.kept().epoch, before.epoch, "{what}");
        assert_eq!(said(&journal, "r"), [0u64; 0], "{what}");
        journal.append(1, &scope_of_room("r"), "chatting", &text("on we go")).unwrap();
        journal.commit(Instant::now()).unwrap();
    }
}

/// What a journal that was full of things says after some harm to its file: all of it, or that it cannot say.
fn all_or_nothing(dir: &Path, whole: &[u8], harm: impl Fn(&mut Vec<u8>)) -> std::result::Result<(), String> {
    let path = dir.join("harmed.sqlite");
    remove(&path).unwrap();
    let mut content = whole.to_vec();
    harm(&mut content);
    std::fs::write(&path, content).unwrap();
    let lock = Lock::take(&path, false).unwrap();
    let opened = Journal::open(&lock, &path, Bounds { messages: 300, ..BOUNDS }, None);
    let (mut journal, sessions) = opened.map_err(|error| error.to_string())?;
    if journal.kept().before.is_empty() {
        return if sessions.is_empty() {
            Ok(())
        } else {
            Err("sessions of a journal that was begun afresh".into())
        };
    }
    let known: Vec<_> = sessions.iter().map(|kept| kept.member).collect();
    if known != (1..=40).collect::<Vec<_>>() || sessions.iter().any(|kept| kept.record != record()) {
        return Err(format!("sessions {known:?}"));
    }
    let last = journal.kept().last;
    for room in 0..7 {
        let scope = scope_of_room(&room.to_string());
        if journal.floor(&scope) != floor_of(room) && last == 400 {
            return Err(format!("floor {} of room {room}", journal.floor(&scope)));
        }
        let expect: Vec<u64> = (101..=last).filter(|id| id % 7 == room).collect();
        match journal.read(&[(scope, 0)], u64::MAX, (1000, usize::MAX)) {
            Err(_) => {}
            Ok((rows, _)) => {
                let ids: Vec<u64> = rows.iter().map(|row| row.id).collect();
                if ids != expect || rows.iter().any(|row| row.body != message(row.id)) {
                    return Err(format!("room {room}: {ids:?}"));
                }
            }
        }
    }
    // Newcomers may be told less, but nothing else.
    let told = journal.remembered("0", Duration::from_hours(24), 10).unwrap_or_default();
    if told.iter().any(|told| (1..=3).all(|id| told.get() != message(id).parts().0)) {
        return Err("the history".into());
    }
    // And it goes on, or says that it cannot.
    let _ = journal.append(last + 1, &scope_of_room("0"), "chatting", &text("on we go"));
    let _ = journal.commit(Instant::now() + Duration::from_secs(20));
    Ok(())
}

/// The last id of the room among the first hundred, which are pruned.
fn floor_of(room: u64) -> u64 {
    (1..=100).rev().find(|id| id % 7 == room).unwrap()
}

fn message(id: u64) -> Body {
    text(&format!("message {id} {}", "x".repeat(id as usize % 50)))
}

/// 400 messages in 7 rooms, of which 300 are left, 40 sessions, and a history.
fn full(path: &Path) -> Vec<u8> {
    let (mut journal, _) = open_with(path, Bounds { messages: 300, ..BOUNDS });
    for id in 1..=400 {
        journal.append(id, &scope_of_room(&(id % 7).to_string()), "chatting", &message(id)).unwrap();
        journal.commit(Instant::now()).unwrap();
    }
    for id in 1..=3 {
        journal.remember("0", id, &message(id), 3).unwrap();
    }
    for member in 1..=40 {
        journal.keep(member, (member % 2 == 0).then_some(Duration::ZERO), &record()).unwrap();
    }
    journal.commit(Instant::now()).unwrap();
    checkpoint(&journal.db, Depth::Truncate).unwrap();
    drop(journal);
    std::fs::read(path).unwrap()
}

#[test]
fn whatever_bit_is_flipped_it_is_an_error_and_never_a_message_nor_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let whole = full(&dir.path().join("chat.sqlite"));
    all_or_nothing(dir.path(), &whole, |_| {}).unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let flips = prop::collection::vec((0..whole.len(), 0u8..8), 1..4);
    let held = runner.run(&flips, |flips| {
        let harm = |content: &mut Vec<u8>| flips.iter().for_each(|(at, bit)| content[*at] ^= 1 << bit);
        all_or_nothing(dir.path(), &whole, harm).map_err(TestCaseError::fail)
    });
    held.unwrap();
    let held = runner.run(&(0..whole.len()), |len| {
        all_or_nothing(dir.path(), &whole, |content| content.truncate(len)).map_err(TestCaseError::fail)
    });
    held.unwrap();
}

#[test]
fn ids_that_were_lost_with_the_machine_are_not_mistaken_for_those_given_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.sqlite");
    let before = filled(&path);
    // Five messages more, which reach the disk no more than in part.
    let mut journal = open(&path);
    let lost = journal.kept().epoch;
    let wal = path.with_extension("sqlite-wal");
    let reached = std::fs::metadata(&wal).unwrap().len();
    for id in 5..=9 {
        journal.append(id, &scope_of_room("r"), "chatting", &text("lost")).unwrap();
        journal.commit(Instant::now()).unwrap();
    }
    drop(journal);
    OpenOptions::new().write(true).open(&wal).unwrap().set_len(reached).unwrap();
    let mut journal = open(&path);
    for id in 5..=20 {
        journal.append(id, &scope_of_room("r"), "chatting", &text("said by others")).unwrap();
    }
    let kept = journal.kept();
    let offset = |epoch, id| crate::server::recovery::offset::Offset { epoch, id }.to_string();
    assert_eq!(kept.resume(Some(&offset(before.epoch, 4)), 0), Ok(4));
    assert_eq!(kept.resume(Some(&offset(lost, 4)), 0), Ok(4));
    assert!(kept.resume(Some(&offset(lost, 9)), 0).is_err(), "nobody knows what it has heard");
    assert_eq!(kept.resume(Some(&offset(kept.epoch, 9)), 0), Ok(9));
}

#[test]
fn a_life_is_remembered_for_as_long_as_a_quiet_room_may_need_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.sqlite");
    let first = filled(&path);
    for _ in 0..5 {
        open(&path);
    }
    let kept = open(&path).kept();
    assert_eq!(kept.before.len(), 6);
    assert_eq!(kept.before[0], Life { epoch: first.epoch, last: 4 });
}

#[test]
fn the_times_of_sessions_hold_whatever_is_done_to_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.sqlite");
    filled(&path);
    let mut journal = open(&path);
    journal.forget(7).unwrap();
    journal.keep(1, Some(Duration::from_secs(40)), &record()).unwrap();
    journal.commit(Instant::now()).unwrap();
    let hour = 3_600_000;
    for put in [hour, -hour] {
        // As if the wall clock had stood there when the process ended.
        journal.meta.alive.wall -= put;
        journal.meta.write(&journal.db).unwrap();
        let (next, sessions) = open_with(&path, BOUNDS);
        let ago = sessions[0].lost_ago;
        assert!((Duration::from_secs(40)..Duration::from_secs(70)).contains(&ago), "{ago:?}");
        journal = next;
    }
    // After a restart of the machine the wall clock is all there is.
    let moment = Moment::now();
    journal.meta.alive = Moment { boot: "another".into(), wall: moment.wall - 30_000, ..moment };
    journal.meta.write(&journal.db).unwrap();
    let ago = open_with(&path, BOUNDS).1[0].lost_ago;
    assert!((Duration::from_secs(70)..Duration::from_secs(100)).contains(&ago), "{ago:?}");
}

#[test]
fn words_do_not_outlive_the_window_by_much_while_others_talk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.sqlite");
    let mut journal = open(&path);
    let start = Instant::now();
    journal.append(1, &scope_of_room("r"), "chatting", &text("secret words")).unwrap();
    journal
        .keep(1, None, &Record { seats: vec![("secret words".into(), "kim".into(), 0)], ..record() })
        .unwrap();
    for second in 1..=180 {
        journal.append(second + 1, &scope_of_room("r"), "chatting", &text("small talk")).unwrap();
        if second == 60 {
            journal.forget(1).unwrap();
        }
        journal.commit(start + Duration::from_secs(second)).unwrap();
        assert!(journal.next_due() <= start + Duration::from_secs(second + 30));
    }
    drop(journal);
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        let content = std::fs::read(file.path()).unwrap();
        assert!(!content.windows(12).any(|bytes| bytes == b"secret words"), "{file:?}");
    }
}

/// How many descriptors of this process lead there.
fn descriptors(path: &Path) -> usize {
    let open =
        std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| entry.ok()?.path().read_link().ok());
    open.filter(|to| to == path).count()
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn who_reads_the_file_from_outside_does_not_hold_up_the_chat() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.sqlite");
    let mut journal = open(&path);
    let say = |id, journal: &mut Journal| {
        let begun = Instant::now();
        journal.append(id, &scope_of_room("r"), "chatting", &text("x")).unwrap();
        journal.commit(Instant::now()).unwrap();
        begun.elapsed()
    };
    say(1, &mut journal);
    let backup = Connection::open(&path).unwrap();
    backup.execute_batch("BEGIN; SELECT count(*) FROM log").unwrap();
    say(2, &mut journal);
    journal.checkpoints.truncate();
    let (begun, mut id, mut slowest) = (Instant::now(), 2, Duration::ZERO);
    while begun.elapsed() < Duration::from_millis(300) {
        id += 1;
        slowest = slowest.max(say(id, &mut journal));
    }
    // SQLite's own patience is 5 s.
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

#[test]
fn who_lets_go_of_it_leaves_the_write_ahead_log_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("chat.sqlite");
    let mut journal = open(&path);
    journal.append(1, &scope_of_room("r"), "chatting", &text("x")).unwrap();
    journal.commit(Instant::now()).unwrap();
    journal.checkpoints.ask();
    wait_for("the checkpoints to have it open", || descriptors(&path) > 1);
    journal.let_go();
    wait_for("all to have let go", || descriptors(&path) == 0);
    // To copy it into the file, and to remove it, would make the next process wait for the disk.
    assert!(std::fs::metadata(path.with_extension("sqlite-wal")).unwrap().len() > 0);
    assert_eq!(said(&open(&path), "r"), [1]);
}

#[test]
fn large_batches_and_smaller_bounds_are_kept_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.sqlite");
    let (mut journal, _) = open_with(&path, Bounds { messages: 1000, ..BOUNDS });
    let mut id = 0;
    for _ in 0..20 {
        for _ in 0..5000 {
            id += 1;
            journal.append(id, &scope_of_room("r"), "chatting", &text("x")).unwrap();
        }
        journal.commit(Instant::now()).unwrap();
        assert!(journal.size().0 <= 1000, "{:?}", journal.size());
    }
    drop(journal);
    // Bounds that have become smaller hold soon as well, and without anybody's saying anything.
    let (mut journal, _) = open_with(&path, Bounds { messages: 100, ..BOUNDS });
    assert!(journal.next_due() <= Instant::now());
    for _ in 0..20 {
        journal.commit(Instant::now()).unwrap();
    }
    assert_eq!(journal.size().0, 100);
    assert!(journal.next_due() > Instant::now());
}

#[test]
fn it_stays_in_its_bounds_and_knows_what_it_no_longer_has() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Bounds { messages: 100, ..BOUNDS };
    let (mut journal, _) = open_with(&dir.path().join("chat.sqlite"), bounds);
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
    journal.keep_floors(&HashSet::from([scope_of_room("loud")]), now).unwrap();
    assert_eq!(journal.floor(&scope_of_room("quiet")), 0);

    let bounds = Bounds { bytes: 1 << 16, ..BOUNDS };
    let (mut journal, _) = open_with(&dir.path().join("bytes.sqlite"), bounds);
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
fn what_was_said_since_the_last_sign_of_life_is_kept_for_the_whole_window() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.sqlite");
    let mut journal = open(&path);
    // The last sign was given 9 s ago.
    journal.meta.alive.clock -= 9000;
    journal.meta.alive.wall -= 9000;
    journal.append(1, &scope_of_room("r"), "chatting", &text("just now")).unwrap();
    journal.meta.write(&journal.db).unwrap();
    journal.commit(Instant::now()).unwrap();
    drop(journal);
    let mut journal = open(&path);
    journal.commit(Instant::now() + BOUNDS.window.saturating_sub(Duration::from_secs(3))).unwrap();
    assert_eq!(said(&journal, "r"), [1]);
    journal.commit(Instant::now() + BOUNDS.window + Duration::from_secs(1)).unwrap();
    assert_eq!(said(&journal, "r"), [0u64; 0]);
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
        journal.remembered(room, day, 3).unwrap().iter().map(|raw| raw.get().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(texts("r"), [r#"{"msg":"8"}"#, r#"{"msg":"9"}"#, r#"{"msg":"10"}"#]);
    assert_eq!(texts("other"), [""; 0]);
    assert_eq!(journal.remembered("r", day, 1).unwrap().len(), 1, "fewer are wanted now");
}

/// How many messages are kept for newcomers.
fn remembered(journal: &Journal) -> i64 {
    journal.db.query_row("SELECT count(*) FROM history", [], |row| row.get(0)).unwrap()
}

#[test]
fn what_newcomers_are_told_no_more_is_forgotten_bite_by_bite() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(&dir.path().join("chat.sqlite"));
    for id in 1..=1000 {
        journal.remember(&format!("r{}", id % 300), id, &text("x"), 10).unwrap();
    }
    journal.forget_history(Some(Duration::from_hours(1))).unwrap();
    journal.commit(Instant::now()).unwrap();
    assert_eq!(remembered(&journal), 1000);
    assert!(journal.next_due() > Instant::now());
    let mut before = 1000;
    while journal.forget_history(None).is_ok() && journal.next_due() <= Instant::now() {
        let now = remembered(&journal);
        assert!((1..=256).contains(&(before - now)), "{before} {now}");
        before = now;
    }
    assert_eq!(remembered(&journal), 0);
}

#[test]
fn what_newcomers_are_told_of_all_rooms_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.sqlite");
    let (mut journal, _) = open_with(&path, Bounds { bytes: 1 << 20, ..BOUNDS });
    let long = text(&"x".repeat(1 << 20));
    for id in 1..=50 {
        journal.remember(&format!("r{id}"), id, &long, 10).unwrap();
        while journal.next_due() <= Instant::now() {
            journal.forget_history(Some(Duration::from_hours(1))).unwrap();
        }
        journal.commit(Instant::now()).unwrap();
    }
    let kept = remembered(&journal);
    assert!((1..40).contains(&kept), "{kept}");
    assert_eq!(journal.remembered("r50", Duration::from_hours(1), 10).unwrap().len(), 1);
}

#[test]
fn the_floors_of_a_crowd_do_not_stay_when_it_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open_with(&dir.path().join("chat.sqlite"), Bounds { messages: 10, ..BOUNDS });
    let (mut now, mut id) = (Instant::now(), 0);
    let rooms: Vec<String> = (0..3000).map(|n| scope_of_room(&n.to_string())).collect();
    for room in &rooms {
        id += 1;
        journal.append(id, room, "chatting", &text("x")).unwrap();
        journal.commit(now).unwrap();
    }
    assert!(journal.has_many_floors(now));
    journal.keep_floors(&rooms.iter().cloned().collect(), now).unwrap();
    assert_eq!(journal.floor(&rooms[0]), 1, "somebody is in there");
    assert!(!journal.has_many_floors(now), "all are needed");
    now += BOUNDS.window + Duration::from_secs(1);
    assert!(journal.has_many_floors(now), "somebody may have left");
    journal.keep_floors(&HashSet::from([rooms[7].clone()]), now).unwrap();
    let (count, capacity) = journal.floors.size();
    assert_eq!((count, journal.floor(&rooms[7])), (1, 8));
    assert!(capacity < 100, "{capacity}");
    journal.commit(now).unwrap();
}
