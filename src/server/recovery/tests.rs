//! Recovery through the deaths of servers, and through trouble with the disk.

use super::*;

fn open(path: &Path) -> (Recovery, Restored) {
    let config = config::Config::from_text(config::DEFAULT, None).unwrap();
    Recovery::open(&config.server, path, None, &HashMap::new()).unwrap()
}

fn link() -> Arc<Link> {
    Link::new(Default::default(), false, None, Default::default())
}

fn claim(pid: Pid, offset: Option<String>) -> Claim {
    Claim { pid: Some(pid.as_str().to_owned()), offset, token: None }
}

/// Somebody who has entered a room and has heard one message there: how it would come back.
fn somebody(recovery: &mut Recovery) -> (MemberId, Pid, String) {
    let Admission { member, pid, .. } = recovery.admit(&Claim::default(), true, None);
    recovery.arrived(member, pid, link());
    recovery.seated(member, &"r".into(), &"kim".into());
    let id = recovery.record(&"r".into(), "chatting", &Body::refusal("said", "before"));
    recovery.commit(Instant::now());
    (member, pid.unwrap(), recovery.offset(id))
}

#[test]
fn nobody_is_recovered_across_what_was_said_without_a_journal() {
    for dies in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chat.sqlite");
        let (mut recovery, _) = open(&path);
        let (_, pid, offset) = somebody(&mut recovery);
        assert!(recovery.admit(&claim(pid, Some(offset.clone())), true, None).entry != Entry::New);
        recovery.fail("the disk is full");
        assert!(recovery.admit(&claim(pid, Some(offset.clone())), true, None).entry == Entry::New);
        let unkept = recovery.record(&"r".into(), "chatting", &Body::refusal("said", "meanwhile"));
        let later = recovery.offset(unkept);
        if dies {
            // The disk is well again for the next one, which knows nothing of what was said.
            drop(recovery);
            recovery = open(&path).0;
        } else {
            recovery.tick(Instant::now() + Duration::from_secs(11));
            assert!(recovery.stats().trouble.is_none());
        }
        recovery.record(&"r".into(), "chatting", &Body::refusal("said", "after"));
        recovery.commit(Instant::now());
        for offset in [Some(offset), None] {
            let entry = recovery.admit(&claim(pid, offset.clone()), true, None).entry;
            assert_eq!(entry, Entry::New, "{dies} {offset:?}");
        }
        // Who has heard all of it is told the rest, as long as anybody knows that.
        let entry = recovery.admit(&claim(pid, Some(later)), true, None).entry;
        assert_eq!(entry, if dies { Entry::New } else { Entry::Back(unkept) });
    }
}

#[test]
fn the_next_server_takes_up_where_the_last_one_died() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.sqlite");
    let (mut recovery, _) = open(&path);
    let (member, pid, offset) = somebody(&mut recovery);
    let missed = recovery.record(&"r".into(), "chatting", &Body::refusal("said", "missed"));
    recovery.commit(Instant::now());
    for life in 0..3 {
        let (next, restored) = {
            drop(recovery);
            open(&path)
        };
        recovery = next;
        assert_eq!(restored.len(), 1, "{life}");
        let Admission { member: known, entry, .. } =
            recovery.admit(&claim(pid, Some(offset.clone())), true, None);
        assert_eq!(known, member);
        let rooms = recovery.sessions.get(member).unwrap().rooms();
        let Entry::Back(from) = entry else { panic!("not recovered: {entry:?}") };
        let told = recovery.missed(member, &rooms, from, recovery.last()).unwrap();
        assert_eq!(told.events.iter().map(|(id, ..)| *id).collect::<Vec<_>>(), [missed]);
        recovery.commit(Instant::now());
    }
}

#[test]
fn what_newcomers_were_told_goes_when_they_are_told_nothing_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.sqlite");
    let with = |messages| {
        let mut config = config::Config::from_text(config::DEFAULT, None).unwrap();
        config.server.history.messages = messages;
        Recovery::open(&config.server, &path, None, &HashMap::new()).unwrap().0
    };
    let mut recovery = with(3);
    recovery.remember(&"r".into(), 1, &Body::refusal("said", "before"));
    recovery.commit(Instant::now());
    assert!(recovery.remembered(&"r".into()).is_some());
    for (messages, is_kept) in [(3, true), (0, false), (3, false)] {
        drop(recovery);
        recovery = with(messages);
        let later = Instant::now() + Duration::from_secs(11);
        recovery.tick(later);
        recovery.commit(later);
        assert_eq!(recovery.remembered(&"r".into()).is_some(), is_kept);
    }
}

#[test]
fn the_journal_is_held_also_while_it_does_not_work() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.sqlite");
    let (mut recovery, _) = open(&path);
    recovery.fail("the disk is full");
    assert!(!path.exists(), "the next one would take up what is not all");
    assert!(
        Recovery::open(
            &config::Config::from_text(config::DEFAULT, None).unwrap().server,
            &path,
            None,
            &HashMap::new()
        )
        .is_err()
    );
    recovery.close();
    open(&path);
}
