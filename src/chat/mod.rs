//! The domain: rooms, members, and what each profile says to whom.
//!
//! Pure: no runtime, no socket, no clock. [`Chat`] takes one client event at a time and answers with the
//! [`Effect`]s it has, in the order in which they must happen; somebody else carries them out. That makes every
//! row of the wire's tables a plain table test.
//!
//! A member is a session: it may lose its connection and come back. Meanwhile it is away: it keeps its seats and
//! counts in no room.
//!
//! Promises: malformed input is a [`Refusal`], never a panic; a refused event changes nothing; member counts are
//! O(1) and never drift from the membership.

mod away;
mod body;
mod event;
mod rate;
mod refusal;
mod rights;
mod rooms;
mod text;

pub(crate) use away::{Seat, Standing};
pub(crate) use body::Body;
pub(crate) use event::{Kind, Payload, parse};
pub(crate) use rate::{Bucket, Rate};
pub(crate) use refusal::Refusal;
pub(crate) use rights::{Allowed, Rights};
pub(crate) use text::WallTime;

use crate::config::{Limits, Profile};
use away::Away;
use event::Request;
use rooms::Rooms;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, sync::Arc, time::Instant};

/// A session, as the domain knows it.
pub(crate) type MemberId = usize;
/// A room's id as the clients spell it.
pub(crate) type RoomId = Arc<str>;

/// Who a socket said it is in its handshake query; a part too long to be used is kept as that fact alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The nickname.
    pub(crate) name: Given,
    /// The room id.
    pub(crate) room: Given,
}

/// A nickname or room id as a client gave it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Given {
    /// Not there, or empty.
    #[default]
    Missing,
    /// Usable.
    Text(Arc<str>),
    /// Longer than the configured limit.
    TooLong,
}

impl Given {
    /// Takes what a client sent, if it is there and at most `max` bytes long.
    pub(crate) fn new(text: &str, max: usize) -> Self {
        match text.len() {
            0 => Self::Missing,
            len if len > max => Self::TooLong,
            _ => Self::Text(text.into()),
        }
    }
}

/// Who asks for something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    /// What it said in its handshake.
    pub(crate) said: &'a Identity,
    /// What its token allows; `None`: there are no tokens.
    pub(crate) rights: Option<&'a Rights>,
}

impl Caller<'_> {
    /// Who it is: a token counts for more than what was said.
    fn identity(&self) -> Cow<'_, Identity> {
        self.rights.map_or(Cow::Borrowed(self.said), |rights| Cow::Owned(rights.identity(self.said)))
    }
}

/// When something happens: for people, and for measuring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) at: Instant,
    pub(crate) wall: WallTime,
}

/// One consequence of an event; to be carried out in the order given.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    /// From now on the member receives what is said in the room; it goes by this name there.
    Enter(MemberId, RoomId, Arc<str>),
    /// From now on it no longer does.
    Exit(MemberId, RoomId),
    /// The event goes to every member of the room.
    Say(RoomId, &'static str, Body),
    /// The event goes to this socket alone.
    Tell(MemberId, &'static str, Body),
    /// How it stands with one who is away has changed; nobody hears of it.
    Stands(MemberId, Standing),
}

/// The state of one chat server: who is where, under which profile.
#[derive(Debug)]
pub(crate) struct Chat {
    profile: Profile,
    limits: Limits,
    rooms: Rooms,
    away: Away,
}

impl Chat {
    /// An empty chat.
    pub(crate) fn new(profile: Profile, limits: Limits) -> Self {
        Self { profile, limits, rooms: Rooms::default(), away: Away::default() }
    }

    /// Takes one event of a client and says what follows from it.
    ///
    /// # Errors
    /// The event is refused; nothing has changed.
    pub(crate) fn handle(
        &mut self,
        member: MemberId,
        caller: Caller<'_>,
        kind: Kind,
        payload: &Payload,
        now: Now,
    ) -> Result<Vec<Effect>, Refusal> {
        let request = event::read(self.profile, &self.limits, &caller.identity(), kind, payload)?;
        if let Some(rights) = caller.rights {
            rights.judge(&request, |room| self.rooms.contains(member, room))?;
        }
        match request {
            Request::Join { room, name, announce, mem_cnt } => {
                self.join(member, room, name, announce, mem_cnt)
            }
            Request::Chat { room, name, msg } => self.chat(&room, &name, &msg, now),
            Request::Leave { room, name, mem_cnt } => Ok(self.leave(member, &room, &name, mem_cnt)),
            Request::Exit { room, sender, target, mem_cnt } => {
                Ok(self.exit(&room, &sender, &target, mem_cnt))
            }
        }
    }

    fn join(
        &mut self,
        member: MemberId,
        room: RoomId,
        name: Arc<str>,
        announce: bool,
        mem_cnt: Option<event::Count>,
    ) -> Result<Vec<Effect>, Refusal> {
        let max = self.limits.max_rooms_per_socket;
        if !self.rooms.contains(member, &room) && self.rooms.of(member).len() >= max {
            return Err(Refusal::TooManyRooms { max });
        }
        self.rooms.join(member, room.clone(), name.clone());
        let mut effects = vec![Effect::Enter(member, room.clone(), name.clone())];
        if announce {
            let size = self.size(&room, mem_cnt);
            let body = Body::notice(&text::joined(self.profile, &name), &size, self.joiner(&name));
            effects.push(Effect::Say(room.clone(), "chatting", body.clone()));
            if self.profile == Profile::React {
                effects.push(Effect::Say(room, "join_room", body));
            }
        }
        Ok(effects)
    }

    fn chat(&mut self, room: &RoomId, name: &str, msg: &Payload, now: Now) -> Result<Vec<Effect>, Refusal> {
        let rate = self.limits.room_messages;
        if !self.rooms.may_speak(room, rate, now.at) {
            return Err(Refusal::RoomTooFast { max: rate.per_second });
        }
        let body = Body::message(msg, name, now.wall, self.rooms.count(room));
        Ok(vec![Effect::Say(room.clone(), "chatting", body)])
    }

    fn leave(
        &mut self,
        member: MemberId,
        room: &RoomId,
        name: &str,
        mem_cnt: Option<event::Count>,
    ) -> Vec<Effect> {
        // Of somebody who is not there nobody has to be told: that is also what makes "leave, then disconnect"
        // one notice and not two.
        if !self.rooms.leave(member, room) {
            return Vec::new();
        }
        vec![Effect::Exit(member, room.clone()), self.left(room, name, mem_cnt.map(event::Count::less_one))]
    }

    fn exit(
        &mut self,
        room: &RoomId,
        sender: &str,
        target: &str,
        mem_cnt: Option<event::Count>,
    ) -> Vec<Effect> {
        let size = self.size(room, mem_cnt.map(event::Count::less_one));
        let who = if self.profile == Profile::Local { sender } else { target };
        let msg = text::removed(self.profile, who);
        let mut effects = vec![Effect::Say(room.clone(), "chatting", Body::notice(&msg, &size, None))];
        let mut concerned = self.rooms.named(room, who);
        for member in &concerned {
            self.rooms.leave(*member, room);
        }
        // Who is away must not come back into it either.
        concerned.extend(self.away.give_up(&(room.clone(), who.into())));
        let body = Body::removed(&msg, who, &size);
        effects.extend(concerned.iter().map(|member| Effect::Tell(*member, "exit_room", body.clone())));
        effects.extend(concerned.iter().map(|member| Effect::Exit(*member, room.clone())));
        effects
    }

    /// The member's connection is lost: it may come back.
    pub(crate) fn lost(&mut self, member: MemberId) {
        let seats = self.rooms.remove(member);
        self.away.keep(member, seats, Standing::Expected);
    }

    /// Somebody of whom an earlier server knew: lost, until it comes back.
    pub(crate) fn restore(&mut self, member: MemberId, seats: Vec<Seat>, standing: Standing) {
        self.away.keep(member, seats, standing);
    }

    /// Somebody whose connection comes from another process, and who never was away: nobody is told.
    pub(crate) fn board(&mut self, member: MemberId, seats: Vec<Seat>) {
        self.away.end(member);
        for (room, name) in seats {
            self.rooms.join(member, room, name);
        }
    }

    /// It is back: in its rooms again, and nobody is told.
    pub(crate) fn back(&mut self, member: MemberId) -> Vec<Effect> {
        let seats = self.away.end(member).map(|absence| absence.seats).unwrap_or_default();
        let enter = |(room, name): Seat| {
            self.rooms.join(member, room.clone(), name.clone());
            Effect::Enter(member, room, name)
        };
        seats.into_iter().map(enter).collect()
    }

    /// A newcomer that cannot say who it was: where its name was lost from its room, it takes that place, and nobody
    /// is told.
    pub(crate) fn step_in(&mut self, member: MemberId, caller: Caller<'_>) -> Vec<Effect> {
        let identity = caller.identity();
        let (Given::Text(room), Given::Text(name)) = (&identity.room, &identity.name) else {
            return Vec::new();
        };
        if caller.rights.is_some_and(|rights| !rights.allow_room(room)) {
            return Vec::new();
        }
        let Some(away) = self.away.step_in(&(room.clone(), name.clone())) else { return Vec::new() };
        self.rooms.join(member, room.clone(), name.clone());
        vec![Effect::Stands(away, Standing::Replaced), Effect::Enter(member, room.clone(), name.clone())]
    }

    /// It has been away for too long: where the profile says so the rooms are told, once. It may still come back.
    pub(crate) fn overdue(&mut self, member: MemberId) -> Vec<Effect> {
        let absence = self.away.get_mut(member);
        let Some(absence) = absence.filter(|absence| absence.standing == Standing::Expected) else {
            return Vec::new();
        };
        absence.standing = Standing::Announced;
        let seats = absence.seats.clone();
        let mut effects = vec![Effect::Stands(member, Standing::Announced)];
        effects.extend(self.announce(&seats));
        effects
    }

    /// The member is gone for good: it leaves every room, and where the profile says so the rooms are told.
    pub(crate) fn gone(&mut self, member: MemberId) -> Vec<Effect> {
        let mut effects = self.overdue(member);
        self.away.end(member);
        for seat in self.rooms.remove(member) {
            effects.extend(self.announce(&[seat]));
        }
        effects
    }

    /// Leave notices, in the profile that has them.
    fn announce(&self, seats: &[Seat]) -> Vec<Effect> {
        let told = seats.iter().filter(|_| self.profile == Profile::Local);
        told.map(|(room, name)| self.left(room, name, None)).collect()
    }

    fn left(&self, room: &RoomId, name: &str, mem_cnt: Option<event::Count>) -> Effect {
        let size = self.size(room, mem_cnt);
        Effect::Say(room.clone(), "chatting", Body::notice(&text::left(self.profile, name), &size, None))
    }

    /// `size` of a notice: what the page counted where the profile trusts it, else the members there are.
    fn size(&self, room: &RoomId, mem_cnt: Option<event::Count>) -> event::Count {
        match (self.profile, mem_cnt) {
            (Profile::Web | Profile::React, Some(count)) => count,
            _ => event::Count::from(self.rooms.count(room)),
        }
    }

    fn joiner<'a>(&self, name: &'a str) -> Option<&'a str> {
        (self.profile == Profile::React).then_some(name)
    }

    /// The largest rooms, largest first, so many at most.
    pub(crate) fn largest_rooms(&self, count: usize) -> Vec<(RoomId, usize)> {
        self.rooms.largest(count)
    }

    /// Rooms with at least one member.
    pub(crate) fn room_count(&self) -> usize {
        self.rooms.len()
    }
}

#[cfg(test)]
mod tests;
