//! What a session is allowed, and for how long.
//!
//! ```text
//! CONNECT with a token -> rights -> ... -> they expire: told (`auth_expired`) -> goodbye without loss -> it comes back
//! ```
//!
//! It comes back as from any lost connection: with a new token nothing is missed, with the old one it is not let in.

use super::{
    auth::{Auth, Denied},
    link::{Drain, Link, lock},
    recovery::Claim,
    sequencer::{Command, Inbox},
};
use crate::chat::{Given, Rights};
use std::{
    sync::{Arc, Mutex, OnceLock, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio_util::task::AbortOnDropHandle;

/// For the word to leave before the goodbye begins, after which nothing is sent any more.
const WORD: Duration = Duration::from_millis(300);
/// For its answer to the goodbye, and for its going.
const ANSWER: Duration = Duration::from_secs(1);
const GOING: Duration = Duration::from_secs(2);
/// Timers beyond this are no use.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// See the module.
#[derive(Default)]
pub(super) struct Permit {
    /// The token of the handshake's query, for clients that give it there.
    pub(super) token: OnceLock<Box<str>>,
    rights: Mutex<Option<Arc<Rights>>>,
    expiry: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Permit {
    /// What it is allowed; `None`: there is no `[auth]`.
    pub(super) fn rights(&self) -> Option<Arc<Rights>> {
        lock(&self.rights).clone()
    }

    /// This is what it is allowed.
    pub(super) fn entitle(&self, rights: Arc<Rights>) {
        *lock(&self.rights) = Some(rights);
    }
}

/// Finds out what a client is allowed that connects, and until when.
///
/// # Errors
/// It is not let in.
pub(super) fn settle(auth: &Auth, claim: &Claim, link: &Arc<Link>, inbox: &Inbox) -> Result<(), Denied> {
    let token = claim.token.as_deref().or(link.permit.token.get().map(|token| &**token));
    let rights = auth.judge(token)?;
    match &link.identity.name {
        Given::Missing => {}
        Given::Text(name) if *name == rights.name => {}
        Given::Text(_) | Given::TooLong => return Err(Denied::Name),
    }
    if let Some(ticket) = link.ticket.get() {
        ticket.call(&rights.name).map_err(Denied::Full)?;
    }
    link.permit.entitle(Arc::new(rights));
    watch(link, inbox);
    Ok(())
}

/// Sees to it that what it is allowed ends when it expires.
pub(super) fn watch(link: &Arc<Link>, inbox: &Inbox) {
    let Some(rights) = link.permit.rights() else { return };
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let until = Duration::from_secs(u64::try_from(rights.expires).unwrap_or(0));
    let left = until.saturating_sub(since_1970).min(LONGEST);
    let expiry = tokio::spawn(expire(Arc::downgrade(link), inbox.clone(), left));
    *lock(&link.permit.expiry) = Some(AbortOnDropHandle::new(expiry));
}

async fn expire(link: Weak<Link>, inbox: Inbox, left: Duration) {
    tokio::time::sleep(left).await;
    if let Some(link) = link.upgrade() {
        inbox.push(Command::Expired(link));
    }
    tokio::time::sleep(WORD).await;
    let open = || link.upgrade().filter(|link| !link.is_closed());
    for (drain, pause) in [(Drain::Start, ANSWER), (Drain::Late, GOING)] {
        let Some(link) = open() else { return };
        link.drain(drain);
        drop(link);
        tokio::time::sleep(pause).await;
    }
    if let Some(link) = open() {
        link.cut();
    }
}
