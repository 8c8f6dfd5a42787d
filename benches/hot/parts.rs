//! The hot parts: what is done for each message, as it is done in the server.

use chatctl::workbench::{self, Journal, Room, Rules};
use std::{hint::black_box, mem, time::Instant};

/// A message as a client of the page writes it.
const MESSAGE: &str = r#"["chatting","안녕하세요, 오늘 저녁에 시간 되면 같이 밥 먹어요 🍚"]"#;
/// Members of a room.
const MEMBERS: usize = 50;
/// Messages that come at once where much is said.
const MANY: usize = 32;

/// Something that is prepared once, and then done again and again.
pub(crate) trait Part {
    /// What is measured, at this time.
    fn work(&mut self, now: Instant);
    /// What has to be done before it is done again.
    fn between(&mut self, _: Instant) {}
}

impl<F: FnMut(Instant)> Part for F {
    fn work(&mut self, now: Instant) {
        self(now);
    }
}

/// A name, and how it is prepared.
pub(crate) type Named = (&'static str, fn() -> Box<dyn Part>);

/// All of them, in the order in which a message meets them.
pub(crate) const PARTS: [Named; 6] = [
    ("frames_in", frames_in),
    ("message", message),
    ("journal", journal),
    ("step", || Box::new(Step::new(1))),
    ("step_busy", || Box::new(Step::new(MANY))),
    ("runs_out", || Box::new(RunsOut(Step::new(MANY)))),
];

/// The edge's walk through what a client writes: 64 messages and eight pongs, in reads of the server's size.
fn frames_in() -> Box<dyn Part> {
    let (mut stream, mask) = (Vec::new(), [0x5a, 0x17, 0xc3, 0x88]);
    for number in 0..64 {
        frame(&mut stream, 0x81, format!("42{MESSAGE}").as_bytes(), mask);
        if number % 8 == 0 {
            frame(&mut stream, 0x8a, b"", mask);
        }
    }
    Box::new(move |_| assert!(workbench::client_frames(black_box(&stream))))
}

/// A short frame as a client writes it (RFC 6455, section 5.2).
fn frame(stream: &mut Vec<u8>, head: u8, payload: &[u8], mask: [u8; 4]) {
    stream.extend([head, 0x80 | u8::try_from(payload.len()).expect("is short")]);
    stream.extend(mask);
    stream.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// One message, from the client's text by the profile's rule to the frames that every receiver gets.
fn message() -> Box<dyn Part> {
    let mut rules = Rules::new(MEMBERS);
    Box::new(move |_| assert!(black_box(rules.judge(black_box(MESSAGE))) > Some(MESSAGE.len())))
}

/// 64 messages into a journal that is full, with one commit.
fn journal() -> Box<dyn Part> {
    let mut journal = Journal::full(10_000);
    Box::new(move |now| journal.batch(64, now))
}

/// A step of the sequencer: so many messages to a room, judged, kept with one commit, queued for every member.
struct Step {
    room: Room,
    messages: usize,
    /// Since the members last received.
    said: usize,
}

impl Step {
    fn new(messages: usize) -> Self {
        Self { room: Room::of(MEMBERS), messages, said: 0 }
    }
}

impl Part for Step {
    fn work(&mut self, now: Instant) {
        self.room.queue(MESSAGE, self.messages);
        self.room.step(now);
        self.said += self.messages;
    }

    fn between(&mut self, _: Instant) {
        let received = self.room.receive();
        assert!(received >= mem::take(&mut self.said) * MEMBERS * MESSAGE.len(), "{received} bytes");
    }
}

/// What a busy step has queued for the members leaves, as few writes for each.
struct RunsOut(Step);

impl Part for RunsOut {
    fn work(&mut self, now: Instant) {
        self.0.between(now);
    }

    fn between(&mut self, now: Instant) {
        self.0.work(now);
    }
}
