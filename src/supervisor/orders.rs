//! What people ask of an app over the control API: carried out, waited for, answered with what came of it.
//!
//! One at a time: a second order is refused with the reason. Only a stop may come in between; it ends the first, and
//! a second stop waits for the same end.

use super::{
    machine::{Class, Event, Id, Number, Reason, State, Which},
    unit::Unit,
};
use crate::{
    config::Config,
    control::types::{Action, Outcome},
};
use tokio::sync::oneshot;

/// An order under way.
pub(super) struct Order {
    action: Action,
    replies: Vec<oneshot::Sender<Outcome>>,
    /// The version it waits for.
    pub(super) version: Number,
    /// The child that it is to be rid of.
    from: Option<Id>,
    /// As many restarts are what was asked for; one more, and it has failed.
    restarts: u32,
}

impl Order {
    /// Why what it is for happens.
    pub(super) fn reason(&self) -> Reason {
        asked_to(self.action)
    }

    fn answer(self, app: &str, outcome: &Result<String, String>) {
        for reply in self.replies {
            // Who asked may have gone.
            let _ = reply.send(Outcome::new(app, outcome.clone()));
        }
    }
}

fn asked_to(action: Action) -> Reason {
    Reason::new(Class::Asked, format!("asked to {action}"))
}

impl Unit {
    /// Takes an order; the answer comes when its effect has.
    pub(super) fn order(&mut self, action: Action, config: &Config, reply: oneshot::Sender<Outcome>) {
        match self.order.take_if(|_| action == Action::Stop) {
            Some(mut order) if order.action == Action::Stop => {
                order.replies.push(reply);
                self.order = Some(order);
                return;
            }
            Some(order) => order.answer(self.name(), &Err("somebody stopped it meanwhile".to_owned())),
            None => {}
        }
        let event = match self.follow(action, config) {
            Ok(event) => event,
            Err(answer) => return drop(reply.send(Outcome::new(self.name(), answer))),
        };
        let version = match event {
            Event::Restart(_, Which::New(number)) | Event::Reload(_, Which::New(number)) => number,
            _ => 0,
        };
        let from = self.machine.duty().map(|(id, _)| id).filter(|_| action != Action::Start);
        let coming = matches!(self.machine.state(), State::Stopping(Some(_)) | State::Backoff);
        let restarts = self.machine.restarts() + u32::from(from.is_some() || coming);
        self.order = Some(Order { action, replies: vec![reply], version, from, restarts });
        match event {
            Event::Stop => self.stop("asked to stop"),
            event => self.step(event),
        }
    }

    /// What has to happen for it; or the answer, when nothing has or can.
    fn follow(&mut self, action: Action, config: &Config) -> Result<Event, Result<String, String>> {
        if let Some(order) = &self.order {
            return Err(Err(format!("a {} is under way: try again when it is done", order.action)));
        }
        let state = self.machine.state();
        match action {
            _ if self.leaving => return Err(Err("chat.toml does not have it any more".to_owned())),
            Action::Stop if state == State::Stopped && !self.machine.has_ended() => {
                return Err(Ok("it is stopped already".to_owned()));
            }
            Action::Stop => return Ok(Event::Stop),
            _ if state == State::Stopping(None) => {
                return Err(Err("it is being stopped: try again when it is done".to_owned()));
            }
            Action::Reload if state == State::Stopped => {
                return Err(Err("it is stopped: start it".to_owned()));
            }
            Action::Start => match state {
                State::Stopped | State::Backoff => {}
                // It is waited for.
                State::Starting | State::Stopping(_) => return Ok(Event::Start),
                _ => return Err(Ok(format!("it is {} already", self.machine.word()))),
            },
            Action::Restart | Action::Reload => {}
        }
        let app = config.enabled().find(|app| app.name == self.name());
        let app = app.ok_or("chat.toml does not have it any more, or has it disabled".to_owned());
        let version = app.and_then(|app| self.prepare(config, app).map_err(|error| format!("{error:#}")));
        let version = version.map_err(Err)?;
        let asked = asked_to(action);
        Ok(match action {
            _ if state == State::Stopped => Event::Start,
            Action::Reload => Event::Reload(asked, version),
            _ => Event::Restart(asked, version),
        })
    }

    /// Answers the order under way with what became of a version, if that is what it waits for.
    pub(super) fn tried(&mut self, number: Number, outcome: &Result<String, String>) {
        let waits = |order: &mut Order| match order.action {
            _ if order.version != number => false,
            Action::Reload => true,
            Action::Start | Action::Restart => outcome.is_err(),
            Action::Stop => false,
        };
        if let Some(order) = self.order.take_if(waits) {
            order.answer(self.name(), outcome);
        }
    }

    /// Answers the order under way once its effect is there; a reload's is told by the machine itself.
    pub(super) fn settle_order(&mut self) {
        let Some(order) = &self.order else { return };
        let another = self.machine.duty().map(|(id, _)| id) != order.from;
        let failed = || Err(format!("it {}", self.machine.reason().unwrap_or("did not come up")));
        let outcome = match (order.action, self.machine.state()) {
            (Action::Stop, State::Stopped) => Ok("it is stopped".to_owned()),
            (Action::Start | Action::Restart, State::Online) if another => {
                let pid = self.on_duty().map_or(0, |child| child.pid);
                Ok(format!("it is online, pid {pid}"))
            }
            (Action::Start | Action::Restart, State::Stopped) if self.machine.has_finished() => {
                Ok(format!("it did its work, and {}", self.machine.reason().unwrap_or("ended")))
            }
            (Action::Start | Action::Restart, State::Stopped) => failed(),
            (Action::Start | Action::Restart, State::Backoff) if another => failed(),
            (Action::Start | Action::Restart, _) if self.machine.restarts() > order.restarts => failed(),
            _ => return,
        };
        if let Some(order) = self.order.take() {
            order.answer(self.name(), &outcome);
        }
    }
}
