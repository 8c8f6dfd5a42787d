//! Who has lost the connection and may come back: the seats that are kept free.

use super::{MemberId, RoomId};
use crate::slack::give_back;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, sync::Arc};

/// A place in a room, and the name it is held under.
pub(crate) type Seat = (RoomId, Arc<str>);

/// How it stands with one who is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Standing {
    /// Nobody has been told that it has gone.
    #[default]
    Expected,
    /// The rooms have been told. It may still come back.
    Announced,
    /// Somebody of its name has stepped in for it: nothing is left to be said.
    Replaced,
}

/// One who is away.
#[derive(Debug)]
pub(super) struct Absence {
    /// Where, in the order of joining.
    pub(super) seats: Vec<Seat>,
    pub(super) standing: Standing,
}

/// Everybody who is away. They count in no room.
#[derive(Debug, Default)]
pub(super) struct Away {
    absences: HashMap<MemberId, Absence>,
    /// Whoever holds a seat, by the seat.
    by_seat: HashMap<Seat, Vec<MemberId>>,
}

impl Away {
    /// Keeps these seats for the member.
    pub(super) fn keep(&mut self, member: MemberId, seats: Vec<Seat>, standing: Standing) {
        for seat in &seats {
            self.by_seat.entry(seat.clone()).or_default().push(member);
        }
        self.absences.insert(member, Absence { seats, standing });
    }

    /// Ends its absence.
    pub(super) fn end(&mut self, member: MemberId) -> Option<Absence> {
        let absence = self.absences.remove(&member)?;
        give_back(&mut self.absences);
        for seat in &absence.seats {
            self.vacate(member, seat);
        }
        Some(absence)
    }

    pub(super) fn get_mut(&mut self, member: MemberId) -> Option<&mut Absence> {
        self.absences.get_mut(&member)
    }

    /// Takes one seat away from everybody who holds it.
    pub(super) fn give_up(&mut self, seat: &Seat) -> Vec<MemberId> {
        let holders = self.by_seat.remove(seat).unwrap_or_default();
        for member in &holders {
            if let Some(absence) = self.absences.get_mut(member) {
                absence.seats.retain(|held| held != seat);
            }
        }
        holders
    }

    /// Somebody new takes the place of one who held this seat, announced or not; of whom.
    pub(super) fn step_in(&mut self, seat: &Seat) -> Option<MemberId> {
        for member in self.by_seat.get(seat)? {
            let absence = self.absences.get_mut(member);
            if let Some(absence) = absence.filter(|absence| absence.standing != Standing::Replaced) {
                absence.standing = Standing::Replaced;
                return Some(*member);
            }
        }
        None
    }

    fn vacate(&mut self, member: MemberId, seat: &Seat) {
        if let Some(holders) = self.by_seat.get_mut(seat) {
            holders.retain(|holder| *holder != member);
            if holders.is_empty() {
                self.by_seat.remove(seat);
                give_back(&mut self.by_seat);
            }
        }
    }
}
