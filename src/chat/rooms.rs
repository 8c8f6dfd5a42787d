//! Who is in which room under which name: the membership table.

use super::{Bucket, MemberId, Rate, RoomId};
use crate::slack::give_back;
use indexmap::IndexMap;
use std::{cmp::Reverse, collections::HashMap, sync::Arc, time::Instant};

/// All rooms with their members. A room exists as long as it has one.
///
/// Joining, leaving and counting are O(1) in the size of the room; the two directions never disagree.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    rooms: HashMap<RoomId, Room>,
    /// The other direction; a socket is in few rooms, so a list serves.
    of: HashMap<MemberId, Vec<RoomId>>,
}

/// One of them.
#[derive(Debug, Default)]
struct Room {
    members: IndexMap<MemberId, Arc<str>>,
    /// What may be said in it.
    pace: Bucket,
}

impl Rooms {
    /// Puts the member in the room; one that is there already only changes its name.
    pub(super) fn join(&mut self, member: MemberId, room: RoomId, name: Arc<str>) {
        if self.rooms.entry(room.clone()).or_default().members.insert(member, name).is_none() {
            let rooms = self.of.entry(member).or_default();
            // Few are in more than one.
            rooms.reserve_exact(1);
            rooms.push(room);
        }
    }

    /// Takes the member out of the room; `false` when it was not there.
    pub(super) fn leave(&mut self, member: MemberId, room: &RoomId) -> bool {
        if self.drop_from(member, room).is_none() {
            return false;
        }
        if let Some(rooms) = self.of.get_mut(&member) {
            rooms.retain(|r| r != room);
            if rooms.is_empty() {
                self.of.remove(&member);
                give_back(&mut self.of);
            }
        }
        true
    }

    /// Takes the member out of every room; gives the rooms and the names it had there.
    pub(super) fn remove(&mut self, member: MemberId) -> Vec<(RoomId, Arc<str>)> {
        let rooms = self.of.remove(&member).unwrap_or_default();
        give_back(&mut self.of);
        rooms.into_iter().filter_map(|room| self.drop_from(member, &room).map(|name| (room, name))).collect()
    }

    fn drop_from(&mut self, member: MemberId, room: &RoomId) -> Option<Arc<str>> {
        let there = self.rooms.get_mut(room)?;
        let name = there.members.swap_remove(&member)?;
        if there.members.is_empty() {
            self.rooms.remove(room);
            give_back(&mut self.rooms);
        }
        Some(name)
    }

    pub(super) fn contains(&self, member: MemberId, room: &RoomId) -> bool {
        self.rooms.get(room).is_some_and(|room| room.members.contains_key(&member))
    }

    /// The rooms the member is in, in the order it joined them.
    pub(super) fn of(&self, member: MemberId) -> &[RoomId] {
        self.of.get(&member).map_or(&[], Vec::as_slice)
    }

    /// The members of the room that go by this name.
    pub(super) fn named(&self, room: &RoomId, name: &str) -> Vec<MemberId> {
        let members = self.rooms.get(room).map(|room| &room.members).into_iter().flatten();
        members.filter(|(_, n)| &***n == name).map(|(member, _)| *member).collect()
    }

    pub(super) fn count(&self, room: &RoomId) -> usize {
        self.rooms.get(room).map_or(0, |room| room.members.len())
    }

    /// Whether one more message may be said in the room; into one that nobody hears, always.
    pub(super) fn may_speak(&mut self, room: &RoomId, rate: Rate, now: Instant) -> bool {
        self.rooms.get_mut(room).is_none_or(|room| room.pace.take(rate, now))
    }

    /// The largest, largest first; of two alike, the one whose id comes first.
    pub(super) fn largest(&self, count: usize) -> Vec<(RoomId, usize)> {
        let mut sizes: Vec<_> =
            self.rooms.iter().map(|(room, it)| (Reverse(it.members.len()), room)).collect();
        if count > 0 && sizes.len() > count {
            sizes.select_nth_unstable(count - 1);
        }
        sizes.truncate(count);
        sizes.sort_unstable();
        sizes.into_iter().map(|(Reverse(members), room)| (room.clone(), members)).collect()
    }

    /// Rooms with at least one member.
    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        /// Whatever people do, the table says the same as a plain set of (member, room), and keeps no empty room.
        #[test]
        fn it_is_a_set_of_pairs(steps in prop::collection::vec((0u8..3, 0usize..6, 0u8..4), 0..200)) {
            let (mut rooms, mut model) = (Rooms::default(), HashSet::new());
            for (what, member, room) in steps {
                let id: RoomId = room.to_string().into();
                match what {
                    0 => { rooms.join(member, id, "n".into()); model.insert((member, room)); }
                    1 => { prop_assert_eq!(rooms.leave(member, &id), model.remove(&(member, room))); }
                    _ => { rooms.remove(member); model.retain(|(m, _)| *m != member); }
                }
                let distinct: HashSet<_> = model.iter().map(|(_, r)| *r).collect();
                prop_assert_eq!(rooms.len(), distinct.len());
                prop_assert_eq!(&rooms.largest(2)[..], &rooms.largest(9)[..distinct.len().min(2)]);
                prop_assert!(rooms.largest(9).is_sorted_by(|a, b| a.1 >= b.1));
                for room in 0..4u8 {
                    let id: RoomId = room.to_string().into();
                    let members: HashSet<_> = rooms.named(&id, "n").into_iter().collect();
                    let expected: HashSet<_> = model.iter().filter(|(_, r)| *r == room).map(|(m, _)| *m).collect();
                    prop_assert_eq!(rooms.count(&id), expected.len());
                    let known = rooms.largest(9).into_iter().find(|(room, _)| *room == id);
                    prop_assert_eq!(known.map_or(0, |(_, members)| members), expected.len());
                    prop_assert_eq!(members, expected);
                }
                for member in 0..6 {
                    prop_assert_eq!(rooms.of(member).len(), model.iter().filter(|(m, _)| *m == member).count());
                }
            }
        }
    }
}
