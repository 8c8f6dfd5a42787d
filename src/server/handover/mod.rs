//! Live handover: at a planned restart the established connections go to the next server process, and their clients
//! notice nothing.
//!
//! ```text
//!   this server (the giver)                                    the next one (the taker)
//!                                      <-- GET /handover ----  it has all it needs, and was told to
//!   goodbye to who cannot be moved
//!                                      -- who is going to come -->  it knows them
//!                                      <-- Ready --------------
//!   every connection pauses: all that was read is dispatched
//!   the sequencer commits, sends, lets go of the journal
//!                                      -- Begin, Batches, End ->  (sockets: SCM_RIGHTS)
//!                                      <-- Prepared -----------
//!                                      -- Commit ------------->  opens the journal, goes on with them
//!   ends, when what is being answered has been
//! ```
//!
//! Promises: at any moment one process serves, whoever dies, hangs or is cut off, at any point. The taker touches no
//! connection and writes nothing before the commit, or the giver's proven death ([`phases`]). Until the commit the
//! giver has everything, and goes on by putting each connection back where it was. What cannot be moved (polling, a
//! client that is not connected yet, TLS 1.2) is sent away without loss first, comes back, and recovers.
//!
//! A connection with TLS goes with its keys ([`tls`]): they are between the two processes, which are one server, and are
//! as secret as what is under way on any connection.
//!
//! What is being answered when the other process serves already, as a file to a client that takes its time, is answered to
//! its end, for as long as the operator lets a server take to end (`kill_timeout`).
//!
//! Nobody is served from the pause to the commit, and all that can be done before is: then each takes one look at its
//! reader, a few bytes and its socket. Those who are spoken to most arrive first. Their sessions are made after the
//! commit: before, both processes together would take twice the memory.
//!
//! The format has a version in its name ([`protocol::NAME`]): a process that speaks another is refused, and the restart
//! says goodbye to everybody instead. Not under systemd alone: it stops a service before it starts the next, so there
//! is nobody to take, and its descriptor store would hold connections that no process might ever serve.
//!
//! [`tls`]: super::tls

mod departure;
mod give;
mod phases;
mod protocol;
mod take;

pub(super) use departure::{Countdown, Detached};
pub(super) use give::{Giver, Outcome};
pub(super) use protocol::{NAME, PID};
pub(super) use take::{Taken, pull};

use super::{
    link::Link,
    recovery::{Life, Record},
};
use crate::chat::{Identity, MemberId, Rights};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, sync::Arc};

/// A member whose connection is going to go to another process: what is known, and does not change any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Announced {
    pub(super) member: MemberId,
    /// Who it said it is.
    pub(super) identity: Identity,
    /// It speaks Engine.IO 3.
    pub(super) eio3: bool,
    /// See [`Link::is_modern`].
    pub(super) modern: bool,
    /// Where its client is.
    pub(super) address: IpAddr,
    /// What its token allows, where tokens are asked for.
    pub(super) rights: Option<Arc<Rights>>,
}

impl Announced {
    /// `None`: it was never let in.
    fn of(link: &Link) -> Option<Self> {
        Some(Self {
            member: link.member(),
            identity: link.identity.clone(),
            eio3: link.eio3,
            modern: link.is_modern(),
            address: link.ticket.get()?.address(),
            rights: link.permit.rights(),
        })
    }
}

/// A member whose connection goes to another process: where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Traveller {
    pub(super) member: MemberId,
    /// It has received everything up to this id, or is about to: it is in what was written.
    pub(super) from: u64,
    /// Its session.
    pub(super) record: Record,
}

/// What a sequencer leaves behind when another process goes on.
pub(super) struct Leaving {
    /// Those that can go there, on their links.
    pub(super) travellers: Vec<(Arc<Link>, Traveller)>,
    /// Where the ids stand.
    pub(super) left: Life,
}

/// One of them, and its connection.
type Freed = (Arc<Link>, Traveller, Detached);
