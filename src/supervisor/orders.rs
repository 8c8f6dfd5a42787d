//! What people ask of an app over the control API: carried out, waited for, answered with what came of it.
//!
//! One at a time: a second order is refused with the reason. Only a stop may come in between; it ends the first.

use super::{
    machine::{Event, Id, State, Which},
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
    reply: oneshot::Sender<Outcome>,
    /// The child on duty when it was given, and the restarts by then.
    duty: Option<Id>,
    restarts: u32,
}

impl Unit {
    /// Takes an order; the answer comes when its effect has.
    pub(super) fn order(&mut self, action: Action, config: &Config, reply: oneshot::Sender<Outcome>) {
        let app = self.name().to_owned();
        let answer = |reply: oneshot::Sender<Outcome>, outcome: Result<String, String>| {
            let _ = reply.send(Outcome::new(&app, outcome));
        };
        if let Some(order) = self.order.take_if(|_| action == Action::Stop) {
            answer(order.reply, Err("somebody stopped it meanwhile".to_owned()));
        }
        if let Some(order) = &self.order {
            let busy = format!("a {} is under way: try again when it is done", order.action);
            return answer(reply, Err(busy));
        }
        let stopped = self.is(State::Stopped);
        match action {
            _ if self.leaving => return answer(reply, Err("chat.toml does not have it any more".to_owned())),
            Action::Start | Action::Restart | Action::Reload if self.is(State::Stopping(None)) => {
                return answer(reply, Err("it is being stopped: try again when it is done".to_owned()));
            }
            Action::Reload if stopped => return answer(reply, Err("it is stopped: start it".to_owned())),
            Action::Start if !stopped => {
                return answer(reply, Ok(format!("it is {} already", self.machine.word())));
            }
            Action::Stop if stopped => return answer(reply, Ok("it is stopped already".to_owned())),
            _ => {}
        }
        if action != Action::Stop {
            let prepared = match config.enabled().find(|candidate| candidate.name == app) {
                Some(now) => self.prepare(config, now).map_err(|error| format!("{error:#}")),
                None => Err("chat.toml does not have it any more, or has it disabled".to_owned()),
            };
            if let Err(problem) = prepared {
                return answer(reply, Err(problem));
            }
        }
        let (duty, restarts) = (self.machine.duty().map(|(id, _)| id), self.machine.restarts());
        self.order = Some(Order { action, reply, duty, restarts });
        self.step(match action {
            Action::Stop => Event::Stop,
            Action::Restart if !stopped => Event::Restart("asked to restart".to_owned(), Which::New),
            Action::Start | Action::Restart => Event::Start,
            Action::Reload => Event::Reload("asked to reload".to_owned(), Which::New),
        });
    }

    /// Answers the order under way with what became of a new version, if that is what it waits for.
    pub(super) fn tried(&mut self, outcome: Result<String, String>) {
        let waits = |order: &mut Order| match order.action {
            Action::Reload => true,
            Action::Start | Action::Restart => outcome.is_err(),
            Action::Stop => false,
        };
        if let Some(order) = self.order.take_if(waits) {
            let _ = order.reply.send(Outcome::new(self.name(), outcome));
        }
    }

    fn fulfil(&mut self, outcome: Result<String, String>) {
        if let Some(order) = self.order.take() {
            // Who asked may have gone.
            let _ = order.reply.send(Outcome::new(self.name(), outcome));
        }
    }

    /// Answers the order under way once its effect is there; a reload's is told by the machine itself.
    pub(super) fn settle_order(&mut self) {
        let Some(order) = &self.order else { return };
        let pid = self.on_duty().map_or(0, |child| child.pid);
        let another = self.machine.duty().map(|(id, _)| id) != order.duty;
        let asked_for = u32::from(order.action == Action::Restart && order.duty.is_some());
        let failed = || Err(format!("it {}", self.machine.reason().unwrap_or("did not come up")));
        let outcome = match (order.action, self.machine.state()) {
            (Action::Stop, State::Stopped) => Some(Ok("it is stopped".to_owned())),
            (Action::Start | Action::Restart, State::Online) if another => {
                Some(Ok(format!("it is online, pid {pid}")))
            }
            (Action::Start, State::Stopped | State::Backoff) => Some(failed()),
            (Action::Restart, State::Backoff) if another => Some(failed()),
            (Action::Start | Action::Restart, _) if self.machine.restarts() > order.restarts + asked_for => {
                Some(failed())
            }
            _ => None,
        };
        if let Some(outcome) = outcome {
            self.fulfil(outcome);
        }
    }
}
