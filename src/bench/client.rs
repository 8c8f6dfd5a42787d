//! One client: it comes in, joins its room, says something when it is its turn, hears everything, and where it is cut off
//! it comes back, as socket.io-client does.

use super::{
    connection::{Connection, Sent, said},
    mark::Mark,
    run::Run,
    talk::{Identity, Template},
};
use anyhow::{Error, Result, bail};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

/// A server that acknowledges who joins does it by then.
const ACKNOWLEDGED: Duration = Duration::from_secs(2);
/// Between two tries of one whose message was refused.
const REFUSED: Duration = Duration::from_millis(100);

/// How many are in a room.
#[derive(Debug, Default)]
pub(super) struct Room {
    pub(super) members: Cell<u32>,
}

/// What is common to a crowd.
pub(super) struct Manners {
    /// Whether the server answers who joins; `None`: that is not known yet.
    pub(super) acknowledges: Cell<Option<bool>>,
    /// Whether sessions are taken up again: everybody remembers what it has heard.
    pub(super) comes_back: bool,
}

/// What a client that comes back has to show (socket.io-client 4.6, connection state recovery).
#[derive(Debug, Default)]
struct Session {
    pid: Option<String>,
    /// Of the last event that it heard.
    offset: String,
    /// Which messages it has heard, a bit for each.
    heard: Vec<u64>,
}

/// See the module.
pub(super) struct Client {
    run: Rc<Run>,
    pub(super) number: u32,
    who: Identity,
    room: Rc<Room>,
    manners: Rc<Manners>,
    connection: RefCell<Rc<Connection>>,
    /// Since when it is connected.
    since: Cell<u64>,
    session: RefCell<Session>,
    template: Rc<RefCell<Template>>,
    /// Its message that is on its way, and when it was sent, where it speaks again when it has heard itself.
    awaits: Cell<Option<(u32, u64)>>,
}

/// How somebody is in again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    /// With its session: it misses nothing.
    Recovered,
    /// As somebody new.
    Afresh,
}

impl Client {
    /// Connects, and joins.
    ///
    /// # Errors
    /// It is not let in.
    pub(super) async fn enter(
        run: &Rc<Run>,
        number: u32,
        who: Identity,
        room: Rc<Room>,
        template: Rc<RefCell<Template>>,
        manners: Rc<Manners>,
    ) -> Result<Rc<Self>> {
        let begun = run.now();
        let opened = Connection::open(run, &who, None).await?;
        run.tally.borrow_mut().entered(begun, run.now());
        let client = Rc::new(Self {
            run: run.clone(),
            number,
            who,
            room,
            manners,
            connection: RefCell::new(Rc::new(opened.connection)),
            since: Cell::new(run.now()),
            session: RefCell::new(Session { pid: opened.pid, ..Session::default() }),
            template,
            awaits: Cell::default(),
        });
        client.join().await?;
        client.room.members.update(|members| members + 1);
        Ok(client)
    }

    async fn join(self: &Rc<Self>) -> Result<()> {
        let Some(join) = self.run.talk.join(&self.who) else { return Ok(()) };
        self.connection().send(&join);
        match self.manners.acknowledges.get() {
            Some(true) => self.joined().await,
            Some(false) => Ok(()),
            None => {
                let joined = tokio::time::timeout(ACKNOWLEDGED, self.joined()).await;
                self.manners.acknowledges.set(Some(joined.is_ok()));
                joined.unwrap_or(Ok(()))
            }
        }
    }

    /// Waits for the answer, or for the notice that it is there.
    async fn joined(self: &Rc<Self>) -> Result<()> {
        let mut answer = None;
        while answer.is_none() {
            let hear = |packet: &[u8], at| match packet {
                [b'4', b'3', b'1', b'[', rest @ ..] => answer = Some(said(rest)),
                packet => {
                    self.hear(packet, self.run.at(at));
                    if packet.starts_with(&self.run.beginning) {
                        answer = Some(String::new());
                    }
                }
            };
            self.connection().receive(&self.run.scratch, hear).await?;
        }
        match answer.filter(|answer| answer.contains("\"error\"")) {
            Some(why) => bail!("the server did not let it join: {}", why.trim_end_matches(']')),
            None => Ok(()),
        }
    }

    /// Hears until the connection ends, and says why it did.
    pub(super) async fn listen(self: &Rc<Self>) -> Error {
        let (run, connection) = (&self.run, self.connection());
        loop {
            let heard = connection.receive(&run.scratch, |packet, at| self.hear(packet, run.at(at)));
            if let Err(why) = heard.await {
                return why;
            }
        }
    }

    /// The same, of one that is not expected to end.
    pub(super) async fn stay(self: Rc<Self>) {
        let why = self.listen().await;
        self.room.members.update(|members| members - 1);
        self.ended(&why);
    }

    /// Its connection has ended, without having been cut.
    pub(super) fn ended(&self, why: &Error) {
        let (run, mut tally) = (&self.run, self.run.tally.borrow_mut());
        if run.leaves.get() {
            tally.left += 1;
        } else {
            tally.lost += 1;
            tally.trouble(format_args!("{why:#}"));
            if tally.lost >= tally.entry.count() {
                run.stop.cancel();
            }
        }
        run.changed.notify_one();
    }

    /// Cuts its connection, as a line that breaks.
    pub(super) fn cut(&self) {
        self.connection().cut();
    }

    /// Comes back once, and takes up its session where the server has kept it.
    ///
    /// # Errors
    /// It is not let in this time.
    pub(super) async fn come_back(self: &Rc<Self>) -> Result<Back> {
        let run = &self.run;
        let claim = {
            let session = self.session.borrow();
            session.pid.clone().map(|pid| (pid, session.offset.clone()))
        };
        let pid = claim.as_ref().map(|(pid, offset)| (pid.as_str(), offset.as_str()));
        let opened = Connection::open(run, &self.who, pid).await?;
        self.connection.replace(Rc::new(opened.connection));
        self.since.set(run.now());
        let back = if claim.is_some_and(|(pid, _)| opened.pid == Some(pid)) {
            Back::Recovered
        } else {
            Back::Afresh
        };
        if back == Back::Afresh {
            let mut session = self.session.borrow_mut();
            (session.pid, session.offset) = (opened.pid, String::new());
        }
        for (packet, at) in opened.early {
            self.hear(&packet, run.at(at));
        }
        if back == Back::Afresh {
            self.join().await?;
        }
        Ok(back)
    }

    fn connection(&self) -> Rc<Connection> {
        self.connection.borrow().clone()
    }

    fn hear(self: &Rc<Self>, packet: &[u8], now: u64) {
        let run = &self.run;
        if self.manners.comes_back {
            self.session.borrow_mut().remember(packet);
        }
        if packet.starts_with(&run.beginning) {
            let mut hint = run.hint.get();
            let mark = Mark::find(packet, &mut hint);
            run.hint.set(hint);
            let Some(mark) = mark.filter(|mark| mark.run == run.talk.run) else { return };
            if self.manners.comes_back {
                let is_first = self.session.borrow_mut().is_first(mark.number);
                run.tally.borrow_mut().heard_once(mark, now, is_first, self.since.get());
            } else {
                run.tally.borrow_mut().heard(mark, now);
            }
            if mark.sender == self.number
                && self.awaits.get().is_some_and(|(number, _)| number == mark.number)
            {
                self.say_again();
            }
        } else if packet.starts_with(b"42[\"chat_error\",") {
            let mut tally = run.tally.borrow_mut();
            tally.refused += 1;
            tally.trouble(format_args!("refused: {}", said(&packet[2..])));
            if self.awaits.get().is_some() {
                let client = self.clone();
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(REFUSED).await;
                    client.say_again();
                });
            }
        }
    }

    /// Says something that was due then. `again`: and so on, each time when it has heard itself.
    pub(super) fn say(self: &Rc<Self>, due: u64, again: bool) {
        let (run, connection) = (&self.run, self.connection.borrow());
        let mut tally = run.tally.borrow_mut();
        let number = tally.sent;
        let mark = Mark { run: run.talk.run, due, sender: self.number, number };
        match connection.send(self.template.borrow_mut().fill(mark)) {
            Sent::Whole | Sent::Queued => {}
            Sent::Waits => {
                let connection = connection.clone();
                // What breaks here breaks where it is read, too.
                tokio::task::spawn_local(async move { connection.flush().await });
            }
            Sent::Dropped => {
                tally.unsent += 1;
                return;
            }
        }
        tally.said(due, run.now(), self.room.members.get().into());
        self.awaits.set(again.then_some((number, due)));
    }

    fn say_again(self: &Rc<Self>) {
        self.awaits.set(None);
        if self.run.speaks.get() {
            self.say(self.run.now(), true);
        }
    }

    /// One that has waited for its message for too long speaks all the same: what is lost must not end the load.
    pub(super) fn lose_patience(self: &Rc<Self>, since: u64) {
        if self.awaits.get().is_some_and(|(_, due)| due < since) {
            self.run.tally.borrow_mut().trouble("a sender did not get its own message within 10 s");
            self.say_again();
        }
    }

    /// Goes, as people do.
    pub(super) fn leave(&self) {
        self.connection().leave();
    }
}

impl Session {
    /// The offset of an event is its last argument, where that is a text.
    fn remember(&mut self, packet: &[u8]) {
        let Some(offset) = packet.strip_prefix(b"42[").and_then(offset) else { return };
        self.offset.clear();
        self.offset.push_str(offset);
    }

    /// Whether it had not heard this message.
    fn is_first(&mut self, number: u32) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.heard.len() <= word {
            self.heard.resize(word + 1, 0);
        }
        let is_first = self.heard[word] & bit == 0;
        self.heard[word] |= bit;
        is_first
    }
}

/// A text without escapes at the end of an array that has something before it.
fn offset(array: &[u8]) -> Option<&str> {
    let text = array.strip_suffix(b"\"]")?;
    let begin = text.iter().rposition(|byte| *byte == b'"')?;
    let before = text[..begin].strip_suffix(b",")?;
    let text = &text[begin + 1..];
    (!before.is_empty() && !text.contains(&b'\\')).then(|| std::str::from_utf8(text).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_the_last_argument_where_that_is_a_text() {
        let mut session = Session::default();
        for (packet, expect) in [
            (r#"42["chatting",{"msg":"a"},"1a-7"]"#, "1a-7"),
            (r#"42["chatting",{"msg":"a"}]"#, "1a-7"),
            (r#"42["chatting",["a"]]"#, "1a-7"),
            (r#"42["alone"]"#, "1a-7"),
            (r#"42["chatting","","b"]"#, "b"),
            (r#"43["x","y"]"#, "b"),
            ("42[\"\"]", "b"),
        ] {
            session.remember(packet.as_bytes());
            assert_eq!(session.offset, expect, "{packet}");
        }
    }

    #[test]
    fn what_comes_twice_is_noticed() {
        let mut session = Session::default();
        let first: Vec<bool> =
            [0, 64, 0, 1000, 63, 64, 1000, 999].map(|number| session.is_first(number)).into();
        assert_eq!(first, [true, true, false, true, true, false, false, true]);
    }
}
