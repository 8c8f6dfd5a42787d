//! Every interleaving of the two sides, and of their deaths, hangs and patience, looked at one by one.

use super::*;
use std::collections::{HashSet, VecDeque};

/// Messages of the giver: connections, and the end of them.
const BATCHES: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Message {
    Announced,
    AllAnnounced,
    Ready,
    Batch,
    End,
    Prepared,
    Commit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fate<P> {
    /// It is in the middle of it.
    At(P),
    /// It serves.
    Serves,
    /// It does not: it has gone, or has declined.
    Out,
    Dead,
}

/// One moment of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    giver: Fate<Giver>,
    sent: u8,
    taker: Fate<Taker>,
    to_taker: VecDeque<Message>,
    to_giver: VecDeque<Message>,
    /// The taker has shut the door.
    shut: bool,
}

impl World {
    fn new() -> Self {
        let (to_taker, to_giver) = (VecDeque::new(), VecDeque::new());
        Self {
            giver: Fate::At(Giver::Announcing),
            sent: 0,
            taker: Fate::At(Taker::Preparing),
            to_taker,
            to_giver,
            shut: false,
        }
    }

    fn giver_has_closed(&self) -> bool {
        !matches!(self.giver, Fate::At(_))
    }

    fn taker_has_closed(&self) -> bool {
        !matches!(self.taker, Fate::At(_))
    }

    /// What of the giver is sent; whether it is accepted.
    fn send(&mut self, message: Message) -> bool {
        let accepted = !self.shut && !self.taker_has_closed();
        if accepted {
            self.to_taker.push_back(message);
        }
        accepted
    }

    fn giver_meets(&self, met: Met) -> Self {
        let mut world = self.clone();
        let Fate::At(giver) = &mut world.giver else { return world };
        match giver.on(met) {
            Give::Pause => world.sent = 0,
            Give::Wait => {}
            Give::Commit => {
                world.giver = if world.send(Message::Commit) { Fate::Out } else { Fate::Serves };
            }
            Give::Keep => world.giver = Fate::Serves,
        }
        world
    }

    fn taker_hears(&self, heard: Heard) -> Self {
        let mut world = self.clone();
        let Fate::At(taker) = &mut world.taker else { return world };
        match taker.on(heard) {
            Step::Ready => world.to_giver.push_back(Message::Ready),
            Step::Prepared => world.to_giver.push_back(Message::Prepared),
            Step::Shut => world.shut = true,
            Step::Take => world.taker = Fate::Serves,
            Step::Decline => world.taker = Fate::Out,
        }
        world
    }

    /// All that can come next. Somebody who hangs is somebody to whom other things come first.
    fn next(&self) -> Vec<Self> {
        let mut next = Vec::new();
        if let Fate::At(giver) = self.giver {
            next.push(Self { giver: Fate::Dead, ..self.clone() });
            next.push(self.giver_meets(Met::Trouble));
            let mut world = self.clone();
            let (more, last) = match giver {
                Giver::Announcing => (Message::Announced, Message::AllAnnounced),
                Giver::Sending | Giver::Asking => (Message::Batch, Message::End),
            };
            let message = if self.sent < BATCHES { more } else { last };
            world.sent += 1;
            if self.sent > BATCHES {
                // It has said everything, and listens.
                let mut world = self.clone();
                next.extend(world.to_giver.pop_front().map(|message| match (giver, message) {
                    (Giver::Announcing, Message::Ready) => world.giver_meets(Met::Ready),
                    (Giver::Asking, Message::Prepared) => world.giver_meets(Met::Prepared),
                    other => panic!("nobody says that then: {other:?}"),
                }));
            } else if !world.send(message) {
                next.push(self.giver_meets(Met::Trouble));
            } else if message == Message::End {
                next.push(world.giver_meets(Met::AllSent));
            } else {
                next.push(world);
            }
        }
        // The process of a giver that has gone ends, sooner or later.
        if self.giver == Fate::Out {
            next.push(Self { giver: Fate::Dead, ..self.clone() });
        }
        if let Fate::At(taker) = self.taker {
            next.push(Self { taker: Fate::Dead, ..self.clone() });
            let mut world = self.clone();
            let dead = self.giver == Fate::Dead;
            match world.to_taker.pop_front() {
                Some(Message::Announced) => next.push(world),
                Some(Message::Batch) => {
                    assert_ne!(taker, Taker::Preparing, "nobody pauses for one who is not ready");
                    next.push(world);
                }
                Some(Message::AllAnnounced) => next.push(world.taker_hears(Heard::AllAnnounced)),
                Some(Message::End) => next.push(world.taker_hears(Heard::End)),
                Some(Message::Commit) => next.push(world.taker_hears(Heard::Commit)),
                Some(Message::Ready | Message::Prepared) => unreachable!("only the taker says it"),
                None if self.giver_has_closed() || self.shut => {
                    next.push(self.taker_hears(Heard::Closed { dead }));
                }
                None => next.push(self.taker_hears(Heard::Silence)),
            }
        }
        next
    }
}

#[test]
fn there_is_never_more_than_one_and_never_less() {
    let (mut seen, mut open) = (HashSet::new(), vec![World::new()]);
    let (mut moved, mut kept) = (0, 0);
    while let Some(world) = open.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        if world.taker == Fate::Serves {
            assert!(matches!(world.giver, Fate::Out | Fate::Dead), "two serve: {world:?}");
        }
        let next = world.next();
        if next.is_empty() {
            match (world.giver, world.taker) {
                (Fate::Out | Fate::Dead, Fate::Serves) => moved += 1,
                (Fate::Serves, Fate::Out | Fate::Dead) => kept += 1,
                // The supervisor starts another.
                (Fate::Dead, Fate::Dead) => {}
                // A giver that was taken for alive when the taker gave up, and died only then: put on duty as any.
                (Fate::Dead, Fate::Out) if !world.to_taker.contains(&Message::Commit) => {}
                _ => panic!("nobody serves, or both do: {world:?}"),
            }
        }
        open.extend(next);
    }
    assert!(seen.len() > 50 && moved > 0 && kept > 0, "{} {moved} {kept}", seen.len());
}

#[test]
fn a_commit_that_was_sent_is_found_however_late() {
    let mut taker = Taker::Preparing;
    assert_eq!(taker.on(Heard::AllAnnounced), Step::Ready);
    assert_eq!(taker.on(Heard::End), Step::Prepared);
    assert_eq!(taker.on(Heard::Silence), Step::Shut);
    assert_eq!(taker.on(Heard::Commit), Step::Take);
}

#[test]
fn of_a_dead_giver_it_takes_what_has_come_and_of_a_living_one_nothing() {
    for (dead, expect) in [(true, Step::Take), (false, Step::Decline)] {
        for mut taker in [Taker::Preparing, Taker::Collecting, Taker::Waiting, Taker::Shut] {
            assert_eq!(taker.on(Heard::Closed { dead }), expect);
        }
    }
}
