//! Live handover: at a planned restart the established connections go to the next server process, and their clients
//! notice nothing.
//!
//! ```text
//!   this server (the giver)                                    the next one (the taker)
//!                                      <-- GET /handover ----  it has all it needs, and was told to
//!   goodbye to who cannot be moved
//!   every connection pauses: all that was read is dispatched
//!   the sequencer commits, sends, lets go of the journal
//!   every connection is let go of
//!                                      -- Begin, Batches, End ->  (sockets: SCM_RIGHTS)
//!                                      <-- Prepared -----------
//!                                      -- Commit ------------->  opens the journal, goes on with them
//!   ends
//! ```
//!
//! Promises: at any moment one process serves, whoever dies, hangs or is cut off, at any point. The taker touches no
//! connection and writes nothing before the commit, or the giver's proven death ([`phases`]). Until the commit the
//! giver can take everything back, by the code by which the taker takes it. What cannot be moved (polling, a client
//! that is not connected yet) is sent away without loss first, comes back, and recovers.
//!
//! The format has a version in its name ([`protocol::NAME`]): a process that speaks another is refused, and the restart
//! says goodbye to everybody instead. Not under systemd alone: it stops a service before it starts the next, so there
//! is nobody to take, and its descriptor store would hold connections that no process might ever serve.
//!
//! (socketioxide able to move a socket, with its session, to another process would make most of this go away.)

mod departure;
mod give;
mod phases;
mod protocol;
mod take;

pub(super) use departure::{Departure, Detached};
pub(super) use give::{Giver, Outcome};
pub(super) use protocol::{NAME, PID};
pub(super) use take::{Taken, pull};

use super::{
    edge::Edge,
    link::Link,
    recovery::{Life, Record},
};
use crate::chat::{Identity, MemberId, Rights};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, sync::Arc, time::Duration};

/// The heartbeats of connections that arrive together are spread over this.
const HEARTBEATS_OVER: Duration = Duration::from_secs(5);

/// A member whose connection goes to another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Traveller {
    pub(super) member: MemberId,
    /// It has received everything up to this id, or is about to: it is in what was written.
    pub(super) from: u64,
    /// Its session.
    pub(super) record: Record,
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

/// What a sequencer leaves behind when another process goes on.
pub(super) struct Leaving {
    /// Those that can go there, on their links.
    pub(super) travellers: Vec<(Arc<Link>, Traveller)>,
    /// Where the ids stand.
    pub(super) left: Life,
}

/// Gives these connections to this process's engine: each goes on where it was.
fn arrive(edge: &Arc<Edge>, arriving: Vec<(Traveller, Detached)>) {
    let all = u32::try_from(arriving.len()).unwrap_or(u32::MAX).max(1);
    for (n, (traveller, detached)) in (0..all).zip(arriving) {
        if let Err(error) = edge.go_on(&traveller, detached, HEARTBEATS_OVER * n / all) {
            let member = traveller.member;
            tracing::warn!(member, %error, "a connection could not go on: its client will come back");
        }
    }
}
