//! Tables of events and what follows, and properties of any sequence of them.

use super::*;
use crate::supervisor::backoff::Policy;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn rules() -> Rules {
    Rules {
        policy: Policy { initial: Duration::from_millis(100), fixed: None, max_restarts: 3 },
        autorestart: true,
        stop_exit_codes: vec![42],
        min_uptime: Duration::from_secs(5),
        listen_timeout: Duration::from_secs(10),
        kill_timeout: Duration::from_secs(2),
        stands_by: true,
    }
}

/// A machine, a clock, and what is expected of them.
struct Stage {
    machine: Machine,
    now: Instant,
}

use Effect::{Go, Kept, Kill, Refused, Terminate};
use Which::{Good, New};

fn duty(id: Id, which: Which) -> Effect {
    Effect::Spawn { id, which, go: true }
}

fn beside(id: Id, which: Which) -> Effect {
    Effect::Spawn { id, which, go: false }
}

fn refused(why: &str) -> Effect {
    Refused(why.to_owned())
}

impl Stage {
    fn new() -> Self {
        let now = Instant::now();
        Self { machine: Machine::new(rules(), now), now }
    }

    fn check(&mut self, event: Event, effects: &[Effect], word: &str) -> &mut Self {
        let did = self.machine.step(event.clone(), self.now, 0.0);
        assert_eq!((did.as_slice(), self.machine.word()), (effects, word), "{event:?}");
        self
    }

    fn after(&mut self, ms: u64) -> &mut Self {
        self.now += Duration::from_millis(ms);
        self
    }

    /// Child 1 is stable.
    fn online() -> Self {
        let mut stage = Self::new();
        stage.check(Event::Start, &[duty(1, Good)], "starting").check(Event::Ready(1), &[], "online");
        stage.after(5000).check(Event::Tick, &[], "online");
        stage
    }

    /// Child 1 was told to go, child 2 stands by.
    fn switching() -> Self {
        let mut stage = Self::online();
        stage.check(reload(), &[beside(2, New)], "reloading");
        stage.check(Event::StandsBy(2), &[Terminate(1)], "reloading");
        stage
    }

    /// Child 2 is on duty, ready, on trial.
    fn trial() -> Self {
        let mut stage = Self::switching();
        stage.check(Event::Released(1), &[Go(2)], "starting").check(exit(1), &[], "starting");
        stage.check(Event::Ready(2), &[], "online");
        stage
    }

    fn reason(&self) -> &str {
        self.machine.reason().unwrap_or_default()
    }
}

fn exit(id: Id) -> Event {
    Event::Exited(id, Exit { code: Some(1), how: "exited with code 1".into() })
}

fn reload() -> Event {
    Event::Reload("reloaded".into(), New)
}

fn restart() -> Event {
    Event::Restart("asked".into(), Good)
}

#[test]
fn a_stable_child_that_crashes_is_back_at_once() {
    let mut stage = Stage::online();
    stage.check(exit(1), &[duty(2, Good)], "starting");
    assert_eq!((stage.machine.restarts(), stage.reason()), (1, "exited with code 1"));
}

#[test]
fn unstable_lives_wait_longer_and_longer_and_it_never_gives_up() {
    let mut stage = Stage::new();
    stage.check(Event::Start, &[duty(1, Good)], "starting").check(exit(1), &[duty(2, Good)], "starting");
    for (id, wait) in [(2, 100), (3, 200)] {
        stage.check(exit(id), &[], "waiting").after(wait - 1).check(Event::Tick, &[], "waiting");
        stage.after(1).check(Event::Tick, &[duty(id + 1, Good)], "starting");
    }
    for id in 4..50 {
        stage.check(exit(id), &[], "crash-looping").after(14_000);
        stage.check(Event::Tick, &[duty(id + 1, Good)], "crash-looping");
    }
    stage.check(Event::Ready(50), &[], "online").after(5000).check(Event::Tick, &[], "online");
    stage.check(exit(50), &[duty(51, Good)], "starting");
}

#[test]
fn dying_soon_after_ready_is_a_crash_loop_too() {
    let mut stage = Stage::new();
    let policy = Policy { max_restarts: 16, ..rules().policy };
    stage.machine.set_rules(Rules { policy, ..rules() });
    let (begun, mut starts, mut child) = (stage.now, 1, 1);
    stage.check(Event::Start, &[duty(1, Good)], "starting");
    while stage.now < begun + Duration::from_secs(60) {
        let mut effects = stage.machine.step(Event::Ready(child), stage.now, 0.0);
        effects.extend(stage.machine.step(exit(child), stage.now, 0.0));
        while effects.is_empty() {
            stage.now = stage.machine.wake_at().unwrap();
            effects = stage.machine.step(Event::Tick, stage.now, 0.0);
        }
        child += 1;
        assert_eq!(effects, [duty(child, Good)]);
        starts += u32::from(stage.now < begun + Duration::from_secs(60));
    }
    assert!(starts <= 12, "{starts} starts in a minute");
}

#[test]
fn a_child_that_is_there_already_is_taken_over() {
    let mut stage = Stage::new();
    stage.check(Event::Adopted, &[], "starting").check(Event::Ready(1), &[], "online");
    stage.check(Event::Adopted, &[], "online").check(exit(1), &[duty(2, Good)], "starting");
    assert_eq!(stage.machine.restarts(), 1);
}

#[test]
fn some_exits_are_meant() {
    let mut stage = Stage::online();
    let meant = Event::Exited(1, Exit { code: Some(42), how: "exited with code 42".into() });
    stage.check(meant, &[], "stopped");
    assert_eq!(stage.reason(), "exited with code 42");
}

#[test]
fn restarts_are_graceful_and_named() {
    let mut stage = Stage::online();
    stage.check(restart(), &[Terminate(1)], "restarting").check(exit(1), &[duty(2, Good)], "starting");
    assert_eq!(stage.reason(), "asked", "an exit that was asked for is no crash");
    let mut stage = Stage::online();
    stage.check(restart(), &[Terminate(1)], "restarting");
    stage.check(Event::Released(1), &[duty(2, Good)], "starting");
    stage.check(Event::Ready(2), &[], "online").after(2000).check(Event::Tick, &[Kill(1)], "online");
}

#[test]
fn who_does_not_go_is_killed() {
    let mut stage = Stage::online();
    stage.check(Event::Stop, &[Terminate(1)], "stopping").after(1999).check(Event::Tick, &[], "stopping");
    stage.after(1).check(Event::Tick, &[Kill(1)], "stopping").check(exit(1), &[], "stopped");
    let mut stage = Stage::online();
    stage.check(Event::Stop, &[Terminate(1)], "stopping").check(Event::StopNow, &[Kill(1)], "stopping");
}

#[test]
fn who_is_never_ready_is_a_crash() {
    let mut stage = Stage::new();
    stage.check(Event::Start, &[duty(1, Good)], "starting").after(10_000);
    stage.check(Event::Tick, &[Kill(1)], "starting").check(exit(1), &[duty(2, Good)], "starting");
    assert_eq!(stage.reason(), "was not ready within 10s");
    stage.after(10_000).check(Event::Tick, &[Kill(2)], "starting").check(exit(2), &[], "waiting");
}

#[test]
fn the_condemned_is_killed_until_it_is_gone() {
    let mut stage = Stage::online();
    let hung = || Event::Condemned("does not answer".into());
    stage.check(hung(), &[Kill(1)], "online").check(hung(), &[], "online");
    stage.after(1000).check(Event::Tick, &[Kill(1)], "online").check(exit(1), &[duty(2, Good)], "starting");
    assert_eq!(stage.reason(), "does not answer");
}

#[test]
fn a_reload_has_no_gap_and_is_kept_when_it_has_proved_itself() {
    let mut stage = Stage::trial();
    assert_eq!((stage.machine.restarts(), stage.reason()), (1, "reloaded"));
    stage.after(4999).check(Event::Tick, &[], "online").after(1).check(Event::Tick, &[Kept], "online");
    stage.check(exit(2), &[duty(3, Good)], "starting");
}

#[test]
fn a_reload_that_fails_in_standby_changes_nothing() {
    let mut stage = Stage::online();
    stage.check(reload(), &[beside(2, New)], "reloading");
    stage.check(exit(2), &[refused("exited with code 1")], "online");
    stage.check(reload(), &[beside(3, New)], "reloading").after(10_000);
    stage.check(Event::Tick, &[Kill(3), refused("was not ready within 10s")], "online");
    stage.check(exit(3), &[], "online");
    assert_eq!(stage.machine.restarts(), 0);
}

#[test]
fn a_reload_that_fails_on_duty_is_rolled_back() {
    let mut stage = Stage::trial();
    stage.check(exit(2), &[refused("exited with code 1"), duty(3, Good)], "starting");
    assert_eq!(stage.reason(), "the new version exited with code 1; the last good one is back");
    let mut stage = Stage::switching();
    stage.check(exit(1), &[Go(2)], "starting").after(10_000).check(Event::Tick, &[Kill(2)], "starting");
    stage.check(exit(2), &[refused("was not ready within 10s"), duty(3, Good)], "starting");
}

#[test]
fn what_happens_during_a_reload() {
    // The old one crashes: the standby takes over, ready or not.
    let mut stage = Stage::online();
    stage.check(reload(), &[beside(2, New)], "reloading").check(exit(1), &[Go(2)], "starting");
    assert_eq!(stage.reason(), "exited with code 1");
    // The standby dies when the old one was told to go.
    let mut stage = Stage::switching();
    stage.check(exit(2), &[refused("exited with code 1")], "restarting");
    stage.check(Event::Released(1), &[duty(3, Good)], "starting");
    // Another reload: the newer one wins, or waits.
    let mut stage = Stage::online();
    stage.check(reload(), &[beside(2, New)], "reloading");
    stage.check(reload(), &[Kill(2), beside(3, New)], "reloading").check(exit(2), &[], "reloading");
    stage.check(Event::StandsBy(3), &[Terminate(1)], "reloading").check(reload(), &[], "reloading");
    stage.check(Event::Released(1), &[Go(3)], "starting");
    stage.check(Event::Ready(3), &[beside(4, New)], "reloading");
    // A stop.
    let why = "stopped before it had proved itself";
    let mut stage = Stage::switching();
    stage.check(Event::Stop, &[Kill(2), refused(why)], "stopping").check(exit(1), &[], "stopping");
    stage.check(exit(2), &[], "stopped").check(Event::Start, &[duty(3, Good)], "starting");
    let mut stage = Stage::trial();
    stage.check(Event::Stop, &[refused(why), Terminate(2)], "stopping").check(exit(2), &[], "stopped");
}

#[test]
fn without_anything_to_protect_a_reload_is_a_restart() {
    let mut stage = Stage::new();
    stage.check(Event::Start, &[duty(1, Good)], "starting").check(exit(1), &[duty(2, Good)], "starting");
    stage.check(exit(2), &[], "waiting").check(reload(), &[duty(3, New)], "starting");
    let mut stage = Stage::online();
    stage.machine.set_rules(Rules { stands_by: false, ..rules() });
    stage.check(reload(), &[Terminate(1)], "restarting").check(exit(1), &[duty(2, New)], "starting");
}

#[test]
fn a_stop_wins() {
    let mut stage = Stage::new();
    stage.check(Event::Start, &[duty(1, Good)], "starting").check(exit(1), &[duty(2, Good)], "starting");
    stage.check(exit(2), &[], "waiting").check(Event::Stop, &[], "stopped").after(60_000);
    stage.check(Event::Tick, &[], "stopped");
    let mut stage = Stage::online();
    stage.check(restart(), &[Terminate(1)], "restarting").check(Event::Stop, &[], "stopping");
    stage.check(exit(1), &[], "stopped").check(restart(), &[], "stopped");
}

/// What a child is, seen from outside.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Child {
    Beside,
    OnDuty,
    Released,
}

proptest! {
    /// Whatever happens: never two children on duty, every restart has a reason, no signal goes to nobody, every new
    /// version ends kept or refused, and no state is without a way out.
    #[test]
    fn any_life_is_orderly(steps in prop::collection::vec((0u8..16, 0usize..4, 0u64..6_000, 0.0f64..1.0), 1..300)) {
        let mut stage = Stage::new();
        let mut children: BTreeMap<Id, Child> = BTreeMap::new();
        let mut terminated: Vec<Id> = Vec::new();
        for (what, who, ms, chance) in steps {
            let one = children.keys().nth(who % children.len().max(1)).copied();
            let event = match (what, one) {
                (0 | 1, _) => Event::Start,
                (2, _) => Event::Stop,
                (3, _) => Event::StopNow,
                (4, _) => restart(),
                (5, _) => Event::Restart("newer".into(), New),
                (6, _) => reload(),
                (7, _) => Event::Reload("memory".into(), Good),
                (8, _) => Event::Condemned("hung".into()),
                (9, Some(id)) if children[&id] == Child::Beside => Event::StandsBy(id),
                (10 | 11, Some(id)) if children[&id] == Child::OnDuty => Event::Ready(id),
                (12, Some(id)) if children[&id] == Child::OnDuty && terminated.contains(&id) => {
                    children.insert(id, Child::Released);
                    Event::Released(id)
                }
                (13, Some(id)) => { children.remove(&id); exit(id) }
                _ => Event::Tick,
            };
            for effect in stage.machine.step(event, stage.now, chance) {
                match effect {
                    Effect::Spawn { id, go, .. } => {
                        let child = if go { Child::OnDuty } else { Child::Beside };
                        prop_assert_eq!(children.insert(id, child), None);
                    }
                    Effect::Go(id) => prop_assert_eq!(children.insert(id, Child::OnDuty), Some(Child::Beside)),
                    Effect::Terminate(id) => { prop_assert!(children.contains_key(&id)); terminated.push(id); }
                    Effect::Kill(id) => prop_assert!(children.contains_key(&id), "a signal to nobody"),
                    Effect::Kept | Effect::Refused(_) => {}
                }
            }
            let on_duty = children.values().filter(|child| **child == Child::OnDuty).count();
            prop_assert!(on_duty <= 1, "two on duty: {:?}", children);
            prop_assert!(stage.machine.restarts() == 0 || stage.machine.reason().is_some(), "a restart without a reason");
            match stage.machine.state() {
                State::Stopped => prop_assert!(children.is_empty()),
                State::Backoff => prop_assert!(on_duty == 0 && stage.machine.wake_at().is_some()),
                State::Starting | State::Reloading | State::Switching => prop_assert!(on_duty == 1 && stage.machine.wake_at().is_some()),
                State::Stopping(_) => prop_assert!(!children.is_empty() && stage.machine.wake_at().is_some()),
                State::Online => prop_assert!(on_duty == 1),
            }
            stage.after(ms);
        }
        // Left alone, with children that obey, it comes to rest.
        let _ = stage.machine.step(Event::StopNow, stage.now, 0.0);
        for id in children.into_keys() {
            let _ = stage.machine.step(exit(id), stage.now, 0.0);
        }
        prop_assert_eq!(stage.machine.state(), State::Stopped);
    }
}
