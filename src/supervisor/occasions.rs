//! What happens to an app: written down, and told to those who want to know. What that is, is found by comparing its
//! machine before and after a step.

use super::{
    machine::{Class, Machine, State},
    unit::Unit,
};
use crate::{
    config::{KillSignal, Occasion},
    control::types::{Happened, Health},
};
use std::time::Instant;

/// How a machine looks to those who are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    restarts: u32,
    reason: Option<Class>,
    failures: u32,
    failure: Option<Class>,
    looping: bool,
    stable: bool,
}

impl Look {
    /// At this one, now.
    pub(super) fn at(machine: &Machine) -> Self {
        let (failures, failure) = machine.failures();
        Self {
            restarts: machine.restarts(),
            reason: machine.reason_class(),
            failures,
            failure: failure.map(|reason| reason.class),
            looping: machine.is_crash_looping(),
            stable: machine.is_stable(),
        }
    }

    /// What has happened since `before`, in the order of its causes.
    pub(super) fn since(&self, before: &Self) -> Vec<Occasion> {
        let mut occasions = Vec::new();
        if self.failures != before.failures {
            occasions.push(match self.failure {
                Some(Class::Hang) => Occasion::Hang,
                Some(Class::NotReady) => Occasion::NotReady,
                Some(Class::Memory) => Occasion::Memory,
                _ => Occasion::Crash,
            });
        }
        if self.looping && !before.looping {
            occasions.push(Occasion::CrashLoop);
        }
        if self.restarts != before.restarts {
            // One that was killed for it has failed, and that was told.
            if self.reason == Some(Class::Memory) && self.failure != self.reason {
                occasions.push(Occasion::Memory);
            }
            occasions.push(Occasion::Restart);
        }
        occasions
    }

    /// Whether it is well again.
    pub(super) fn is_well(&self) -> bool {
        self.stable && !self.looping
    }
}

/// Whether somebody should know who wants to hear of what goes wrong only.
fn is_bad(what: &str, class: Option<Class>) -> bool {
    use Class::{Crash, Hang, Memory, NotReady, RolledBack};
    matches!(class, Some(Crash | Hang | Memory | NotReady | RolledBack))
        || matches!(what, "refused" | "degraded" | "killed" | "not replaced" | "not started")
}

impl Unit {
    /// As it is told.
    pub(super) fn happened(&self, what: &str, why: Option<String>, class: Option<Class>) -> Happened {
        let pid = self.on_duty().map(|child| child.pid);
        Happened::now(self.name(), what, why, class.map(Class::as_str), pid)
    }

    /// The one place where what happens to an app is written down.
    pub(super) fn tell(&self, what: &str, why: Option<String>, class: Option<Class>) -> Happened {
        let happened = self.happened(what, why, class);
        if is_bad(what, class) && !self.machine.has_finished() {
            tracing::warn!(app = happened.app, pid = happened.pid, why = happened.why, "{what}");
        } else {
            tracing::info!(app = happened.app, pid = happened.pid, why = happened.why, "{what}");
        }
        self.place.events.record(&happened);
        happened
    }

    /// That the version at work has yet to prove itself, where that is so.
    pub(super) fn trial(&self) -> Option<String> {
        let left = self.machine.on_trial_until()?.saturating_duration_since(Instant::now());
        Some(format!("on trial for {:.1} s", left.as_secs_f64()))
    }

    /// Who was told to go and is still there is killed, and should have been able to go.
    pub(super) fn tell_of_outstaying(&self) {
        if matches!(self.machine.state(), State::Switching | State::Stopping(_)) {
            let by = self.on_duty().map_or(KillSignal::default(), |child| child.version.kill_signal());
            let why = format!("did not end within {:?} of {}", self.app().kill_timeout, by.as_str());
            self.tell("killed", Some(why), None);
        }
    }

    /// Tells those who want to know what has happened since `before`.
    pub(super) fn call_hooks(&mut self, before: Look) {
        let now = Look::at(&self.machine);
        let occasions = now.since(&before);
        if !occasions.is_empty() {
            let why = self.machine.failures().1.map(ToString::to_string);
            let why = why.or_else(|| self.machine.reason().map(str::to_owned));
            let class = self.machine.failures().1.map(|reason| reason.class).or(self.machine.reason_class());
            let happened = self.happened(self.machine.word(), why, class);
            occasions.iter().for_each(|occasion| self.place.hooks.call(*occasion, &happened));
        }
        self.ailing |= occasions.iter().any(|occasion| *occasion != Occasion::Restart);
        self.look_at_health();
    }

    /// Tells when it is ill without having failed, and when it is well again.
    pub(super) fn look_at_health(&mut self) {
        let health = self.health();
        if health == Health::Degraded && !std::mem::replace(&mut self.degraded, true) {
            let known = self.on_duty().and_then(|child| child.probed.as_ref()?.as_ref().ok());
            let trouble = known.and_then(|(stats, _)| stats.recovery.trouble.clone());
            let happened = self.tell("degraded", trouble, None);
            self.place.hooks.call(Occasion::Degraded, &happened);
            self.ailing = true;
        }
        if self.ailing && health == Health::Ok && Look::at(&self.machine).is_well() {
            (self.ailing, self.degraded) = (false, false);
            let happened = self.tell("recovered", None, None);
            self.place.hooks.call(Occasion::Recovered, &happened);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_is_a_warning() {
        for (what, class, bad) in [
            ("starting", Some(Class::Crash), true),
            ("waiting", Some(Class::NotReady), true),
            ("refused", None, true),
            ("degraded", None, true),
            ("starting", Some(Class::Asked), false),
            ("reloading", Some(Class::File), false),
            ("online", None, false),
            ("kept", None, false),
            ("recovered", None, false),
        ] {
            assert_eq!(is_bad(what, class), bad, "{what} {class:?}");
        }
    }

    const WELL: Look =
        Look { restarts: 1, reason: None, failures: 1, failure: None, looping: false, stable: true };

    #[test]
    fn each_thing_that_happens_is_told_once() {
        use Occasion::*;
        for (before, now, expect) in [
            (WELL, WELL, vec![]),
            (
                WELL,
                Look { failures: 2, failure: Some(Class::Crash), restarts: 2, stable: false, ..WELL },
                vec![Crash, Restart],
            ),
            (
                WELL,
                Look { failures: 2, failure: Some(Class::Hang), looping: true, stable: false, ..WELL },
                vec![Hang, CrashLoop],
            ),
            (WELL, Look { failures: 2, failure: Some(Class::NotReady), ..WELL }, vec![NotReady]),
            // Above the ceiling: gracefully, which is no failure.
            (WELL, Look { restarts: 2, reason: Some(Class::Memory), ..WELL }, vec![Memory, Restart]),
            // Far above: killed now, and started again later.
            (WELL, Look { failures: 2, failure: Some(Class::Memory), ..WELL }, vec![Memory]),
            (
                Look { failures: 2, failure: Some(Class::Memory), reason: Some(Class::Memory), ..WELL },
                Look {
                    failures: 2,
                    failure: Some(Class::Memory),
                    reason: Some(Class::Memory),
                    restarts: 2,
                    ..WELL
                },
                vec![Restart],
            ),
            (WELL, Look { restarts: 2, reason: Some(Class::File), ..WELL }, vec![Restart]),
            (Look { looping: true, ..WELL }, WELL, vec![]),
        ] {
            assert_eq!(now.since(&before), expect, "{before:?} -> {now:?}");
        }
    }
}
