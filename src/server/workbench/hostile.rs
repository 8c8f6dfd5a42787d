//! See [`crate::workbench::hostile`].

use crate::{
    chat::{Body, MemberId, RoomId, Seat},
    config::{self, Config},
    server::{
        auth::Auth,
        handover,
        link::Link,
        recovery::{Claim, Recovery},
    },
};
use std::{collections::HashMap, fmt, os::unix::net::UnixStream, path::Path, time::Duration, time::Instant};

/// What keeps sessions and messages, on its file.
pub struct Journal {
    recovery: Recovery,
    known: Vec<(MemberId, Vec<Seat>)>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens it, as a server does when it starts.
    ///
    /// # Errors
    /// The server would not start.
    pub fn open(path: &Path) -> Result<Self, String> {
        let settings = Config::from_text(config::DEFAULT, None).unwrap().server;
        let opened = Recovery::open(&settings, path, None, &HashMap::new());
        let (recovery, restored) = opened.map_err(|failure| failure.to_string())?;
        let known = restored.into_iter().map(|(member, seats, _)| (member, seats)).collect();
        Ok(Self { recovery, known })
    }

    /// Somebody comes, into this room; gives who it is.
    pub fn enter(&mut self, room: &str, name: &str) -> usize {
        let admission = self.recovery.admit(&Claim::default(), true, None);
        let link = Link::new(Default::default(), false, None, Default::default());
        self.recovery.arrived(admission.member, admission.pid, link);
        self.recovery.seated(admission.member, &room.into(), &name.into());
        admission.member
    }

    /// Something is said in a room.
    pub fn say(&mut self, room: &str, text: &str) {
        self.recovery.record(&room.into(), "chatting", &Body::refusal("said", text));
        self.recovery.commit(Instant::now());
    }

    /// Whom an earlier server knew: who it is, and where under which name.
    pub fn known(&self) -> impl Iterator<Item = (usize, String)> {
        let seats = |seats: &[Seat]| {
            seats.iter().map(|(room, name)| format!("{name} in {room}")).collect::<Vec<_>>().join(", ")
        };
        self.known.iter().map(move |(member, all)| (*member, seats(all)))
    }

    /// All that was ever said in a room; `None`: that cannot be told.
    pub fn said(&mut self, room: &str) -> Option<Vec<String>> {
        let rooms: [(RoomId, u64); 1] = [(room.into(), 0)];
        let missed = self.recovery.missed(0, &rooms, 0, self.recovery.last())?;
        Some(missed.events.iter().map(|(_, _, body)| body.parts().0.into()).collect())
    }

    /// Why there is no journal just now.
    pub fn trouble(&self) -> Option<String> {
        self.recovery.stats().trouble
    }
}

/// Takes over from whoever is at the other end, as a new server does. Gives how many connections.
///
/// # Errors
/// It has nothing of it, and why.
pub fn take_over(giver: UnixStream) -> Result<usize, String> {
    let taken = handover::pull(giver, || true).map_err(|declined| declined.to_string())?;
    Ok(taken.sessions().len())
}

/// By what people prove who they are.
pub struct Keys(Auth);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keys {
    /// Those of a file.
    ///
    /// # Errors
    /// They are none, and why.
    pub fn read(file: &Path) -> Result<Self, String> {
        let settings = config::Auth {
            keys: Some(file.to_owned()),
            issuer: None,
            audience: None,
            leeway: Duration::ZERO,
            exit_roles: Vec::new(),
        };
        let auth = Auth::load(settings, 256).map_err(|failure| failure.to_string())?;
        Ok(Self(auth.unwrap()))
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// It is not to be trusted, and why.
    pub fn name(&self, token: &str) -> Result<String, String> {
        let rights = self.0.judge(Some(token)).map_err(|denied| denied.to_string())?;
        Ok(rights.name.to_string())
    }
}
