//! Those who come and go at an awkward moment.

use super::*;
use crate::{
    chat::{Given, Identity},
    config::{Config, DEFAULT, Profile},
    server::recovery::Claim,
};
use tokio::sync::oneshot;

/// A sequencer, and what clients do.
struct Server {
    sequencer: Sequencer,
    commands: Receiver<Command>,
    inbox: Inbox,
    stats: Arc<Stats>,
    _dir: tempfile::TempDir,
}

impl Server {
    fn new() -> Self {
        let (dir, stats) = (tempfile::tempdir().unwrap(), Arc::new(Stats::new()));
        let settings = Config::from_text(DEFAULT, None).unwrap().server;
        let journal = dir.path().join("chat.sqlite");
        let (recovery, _) = Recovery::open(&settings, &journal, None, &HashMap::new()).unwrap();
        let (inbox, commands) = inbox(stats.clone());
        let (chat, bounds) =
            (Chat::new(Profile::Web, settings.limits), Bounds { packets: 64, bytes: 1 << 20 });
        let sequencer = Sequencer::new(chat, recovery, bounds, TimeZone::UTC, stats.clone());
        Self { sequencer, commands, inbox, stats, _dir: dir }
    }

    /// Somebody is on the way in, as whom this says.
    fn comes(&self, claim: Claim) -> Arc<Link> {
        let identity = Identity { name: Given::new("kim", 9), room: Given::new("r", 9) };
        let link = Link::new(identity, false, None, Arc::default());
        self.inbox.push(Command::Admit(claim, link.clone(), oneshot::channel().0));
        link
    }

    fn says(&self, link: &Arc<Link>, text: &str) {
        let (name, payload) = crate::chat::parse(text, Vec::new()).unwrap();
        self.inbox.push_event(Event { link: link.clone(), name, payload, ack: None, at: Instant::now() });
    }

    fn goes(&self, link: &Arc<Link>) {
        self.inbox.push(Command::Gone { link: link.clone(), for_good: false });
    }

    fn step(&mut self) {
        self.sequencer.step(&self.commands, &mut Vec::new(), Instant::now());
    }

    fn accepted(&self) -> u64 {
        self.stats.accepted.load(Relaxed)
    }
}

/// A connection that breaks while it comes back, and the next one of the same client, which has spoken already.
#[test]
fn who_goes_before_it_is_let_in_takes_nothing_of_another_with_it() {
    let mut server = Server::new();
    let first = server.comes(Claim::default());
    server.step();
    let pid = first.pid().unwrap();
    let back = || Claim { pid: Some(pid.as_str().to_owned()), ..Claim::default() };
    server.inbox.push(Command::Arrived(first.clone()));
    server.goes(&first);
    let [broken, good] = [server.comes(back()), server.comes(back())];
    server.says(&broken, r#"["chatting","lost"]"#);
    server.says(&good, r#"["chatting","here I am"]"#);
    server.goes(&broken);
    server.step();
    assert_eq!((broken.member(), server.accepted()), (good.member(), 0));
    server.inbox.push(Command::Arrived(good.clone()));
    server.step();
    assert_eq!(server.accepted(), 1);
    assert!(server.sequencer.early.is_empty() && good.has_credit());
}
