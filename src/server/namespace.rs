//! The namespace `/`: from what clients say in it to the sequencer's inbox, in order.
//!
//! All of it is done by the task that reads the connection, and nothing of it waits: so one client's events stay in the
//! order in which it sent them.

use super::{
    auth::{Auth, Denied},
    link::Link,
    pace::Verdict,
    packet::Ack,
    permit,
    recovery::Claim,
    sequencer::{Command, Event, Inbox},
};
use crate::chat::{self, Refusal};
use bytes::Bytes;
use std::{sync::Arc, time::Instant};
use tokio::sync::oneshot;

/// See the module.
pub(super) struct Namespace {
    inbox: Inbox,
    auth: Option<Arc<Auth>>,
}

impl Namespace {
    /// Before this sequencer; where people have to prove who they are, by this.
    pub(super) fn new(inbox: Inbox, auth: Option<Arc<Auth>>) -> Self {
        Self { inbox, auth }
    }

    /// A client connects, and says this of itself. When the answer comes the sequencer has said on the link who it is.
    ///
    /// # Errors
    /// It has to prove who it is, and does not: it is told why.
    pub(super) fn admit(
        &self,
        claim: Option<&str>,
        link: &Arc<Link>,
    ) -> Result<oneshot::Receiver<()>, Denied> {
        // What is no claim claims nothing: pages send what they like.
        let claim: Claim = claim.and_then(|claim| serde_json::from_str(claim).ok()).unwrap_or_default();
        if let Some(auth) = &self.auth {
            permit::settle(auth, &claim, link, &self.inbox).inspect_err(|denied| {
                tracing::debug!(%denied, "not let in");
                self.inbox.push(Command::Denied);
            })?;
        }
        if claim.pid.is_some() {
            link.seen_modern();
        }
        let (done, admitted) = oneshot::channel();
        self.inbox.push(Command::Admit(claim, link.clone(), done));
        Ok(admitted)
    }

    /// It knows that it is connected.
    pub(super) fn arrived(&self, link: &Arc<Link>) {
        self.inbox.push(Command::Arrived(link.clone()));
    }

    /// It comes from another process, where it was connected.
    pub(super) fn moved(&self, link: &Arc<Link>) {
        permit::watch(link, &self.inbox);
        self.arrived(link);
    }

    /// It is gone; `for_good`: it says so itself.
    pub(super) fn gone(&self, link: &Arc<Link>, for_good: bool) {
        let for_good = for_good || link.said_farewell();
        self.inbox.push(Command::Gone { link: link.clone(), for_good });
    }

    /// It says something, and may want to have it acknowledged.
    pub(super) fn take(&self, text: &str, attachments: Vec<Bytes>, ack: Option<i64>, link: &Arc<Link>) {
        let (link, ack) = (link.clone(), ack.map(Ack));
        let verdict = link.judge();
        if verdict == (Verdict::Refuse { tell: false }) && ack.is_none() {
            return;
        }
        let (name, mut payload) =
            chat::parse(text, attachments).unwrap_or_else(|refusal: Refusal| (String::new(), Err(refusal)));
        if let Some(max) = link.too_fast(verdict) {
            payload = Err(Refusal::TooFast { max });
        }
        self.inbox.push_event(Event { link, name, payload, ack, at: Instant::now() });
    }
}
