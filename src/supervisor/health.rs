//! What is observed of an app's children: whether they answer, what memory they use, and what follows from it.

use super::{
    ceiling::{Limits, Verdict},
    child,
    machine::{Class, Event, Id, Reason, State, Which},
    memory::Usage,
    probe::{self, Answer, Target},
    unit::Unit,
    version::Version,
    workplace::{Report, Told},
};
use crate::{
    config::{Ask, Occasion},
    control::{client, types::size},
};
use std::{path::Path, time::Instant};
use tokio_util::task::AbortOnDropHandle;

impl Unit {
    /// A child is at work: from now on it is asked whether it lives.
    pub(super) fn is_ready(&mut self, id: Id) {
        let (unit, answers) = (self.key, self.place.reports.clone());
        let told = move |answer| Report { unit, child: id, what: Told::Probe(answer) };
        if let Some(running) = self.children.get_mut(&id) {
            running.ready = Some(Instant::now());
            if std::mem::take(&mut running.outdated) {
                child::hang_up(running.pid);
            }
            let target = target(&running.version, &self.place.run);
            let probe = running.version.app.probe.clone();
            let run = |target| tokio::spawn(probe::run(target, probe, answers, told));
            running.probing = target.map(run).map(AbortOnDropHandle::new);
        }
        self.step(Event::Ready(id));
    }

    /// It is on its way out: its answers do not count any more.
    pub(super) fn leave_alone(&mut self, id: Id) {
        if let Some(running) = self.children.get_mut(&id) {
            running.probing = None;
            running.probed = None;
        }
    }

    /// Takes what a probe gave, and acts when it is too much.
    pub(super) fn probed(&mut self, id: Id, answer: Answer) {
        let at_work = matches!(self.machine.state(), State::Online | State::Reloading | State::HandingOver);
        let on_duty = self.machine.duty().is_some_and(|(duty, _)| duty == id);
        let Some(running) = self.children.get_mut(&id).filter(|child| child.probing.is_some()) else {
            return;
        };
        let limit = running.version.app.probe.failures;
        running.failures = if answer.is_ok() { 0 } else { running.failures + 1 };
        let hung = answer.as_ref().err().filter(|_| running.failures >= limit && at_work && on_duty);
        let hung = hung.map(|error| format!("did not answer {} probes in a row: {error}", running.failures));
        running.probed = Some(answer);
        self.look_at_health();
        if let Some(hung) = hung {
            self.step(Event::Condemned(Reason::new(Class::Hang, hung)));
        }
    }

    /// Takes a sample of what a child uses, and acts when it is too much.
    pub(super) fn sampled(&mut self, pid: u32, usage: Usage) {
        let duty = self.machine.duty().map(|(id, _)| id);
        let Some((id, child)) = self.children.iter_mut().find(|(_, child)| child.pid == pid) else { return };
        child.usage = usage;
        let (ready, on_duty) = (child.ready, duty == Some(*id));
        let app = &child.version.app;
        let limits = Limits { restart: app.max_memory_restart, kill: app.max_memory_kill };
        if !on_duty || !matches!(self.machine.state(), State::Starting | State::Online | State::Reloading) {
            return;
        }
        let is = size(usage.memory);
        let verdict = self.ceiling.judge(usage.memory, ready, limits, Instant::now());
        let too_low = verdict == Verdict::TooLow;
        if too_low && !self.ceiling_too_low {
            let why = format!("memory {is} is what it needs, and over the limit: a restart would not help");
            let happened = self.tell("max_memory_restart is too low", Some(why), Some(Class::Memory));
            self.place.hooks.call(Occasion::MemoryLimit, &happened);
        }
        self.ceiling_too_low = too_low;
        match verdict {
            Verdict::Fine | Verdict::TooLow => {}
            Verdict::Restart(limit) => {
                let why = format!("memory {is} over {}", size(limit));
                self.step(Event::Reload(Reason::new(Class::Memory, why), Which::Good));
            }
            Verdict::Kill(limit) => {
                let why = format!("memory {is} over the hard limit {}", size(limit));
                self.step(Event::Condemned(Reason::new(Class::Memory, why)));
            }
        }
    }
}

/// Whom to ask whether a child of this version lives.
fn target(version: &Version, run: &Path) -> Option<Target> {
    let app = &version.app;
    match (&app.probe.ask, version.address()) {
        (Ask::Chat, Some(address)) => {
            let (tls, control) = (app.tls.is_some(), client::stats_socket(run, &app.name));
            Some(Target::Chat { address, tls, control })
        }
        (Ask::Url(url), _) => Some(Target::Url(url.clone())),
        _ => None,
    }
}
