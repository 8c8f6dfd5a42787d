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

use Effect::{Go, HandOver, Kept, Kill, NotReplaced, Refused, Terminate};
use Which::Good;

/// The first new version, and those after it.
const NEW: Which = Which::New(1);
const NEWER: Which = Which::New(2);

fn duty(id: Id, which: Which) -> Effect {
    Effect::Spawn { id, which, go: true }
}

fn beside(id: Id, which: Which) -> Effect {
    Effect::Spawn { id, which, go: false }
}

fn refused(why: &str) -> Effect {
    Refused(1, why.to_owned())
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

    /// Child 2 takes over from child 1.
    fn handing_over() -> Self {
        let mut stage = Self::online();
        stage.check(reload(), &[beside(2, NEW)], "reloading");
        stage.check(Event::StandsBy(2), &[HandOver(2)], "reloading");
        stage
    }

    /// Child 2 could not take over: child 1 was told to go, child 2 stands by.
    fn switching() -> Self {
        let mut stage = Self::handing_over();
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
    Event::Reload("reloaded".into(), NEW)
}

fn newer() -> Event {
    Event::Reload("reloaded again".into(), NEWER)
}

fn memory() -> Event {
    Event::Reload("memory".into(), Good)
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
fn what_it_waits_for_is_known() {
    let mut stage = Stage::new();
    assert_eq!((stage.machine.next_start(), stage.machine.unstable()), (None, (0, 3)));
    stage.check(Event::Start, &[duty(1, Good)], "starting").check(exit(1), &[duty(2, Good)], "starting");
    assert_eq!((stage.machine.next_start(), stage.machine.unstable()), (None, (1, 3)));
    stage.check(exit(2), &[], "waiting");
    assert_eq!(stage.machine.next_start(), stage.machine.wake_at());
    assert_eq!(stage.machine.unstable(), (2, 3));
    // A new version is on trial from the moment it is ready, and then is what one can go back to.
    let mut stage = Stage::trial();
    assert_eq!(stage.machine.on_trial_until(), stage.machine.wake_at());
    stage.after(5000).check(Event::Tick, &[Kept(1)], "online");
    assert_eq!(stage.machine.on_trial_until(), None);
}

#[test]
fn the_clock_starts_what_ended_by_itself_and_never_what_was_stopped() {
    let clock = || Event::Reload(Reason::new(Class::Cron, "the clock"), Good);
    let done = |id| Event::Exited(id, Exit { code: Some(0), how: "exited with code 0".into() });
    let mut stage = Stage::new();
    stage.machine.set_rules(Rules { autorestart: false, ..rules() });
    stage.check(clock(), &[], "stopped").check(Event::Start, &[duty(1, Good)], "starting");
    // However often: who ends as it may does not fail.
    for id in 1..=20 {
        stage.check(done(id), &[], "stopped").check(reload(), &[], "stopped");
        stage.check(clock(), &[duty(id + 1, Good)], "starting");
    }
    assert_eq!((stage.reason(), stage.machine.unstable().0), ("the clock", 0));
    // One that failed is tried again as well; one that was stopped, before or after its end, is not.
    stage.check(exit(21), &[], "stopped").check(clock(), &[duty(22, Good)], "starting");
    stage.check(done(22), &[], "stopped").check(Event::Stop, &[], "stopped").check(clock(), &[], "stopped");
    stage.check(Event::Start, &[duty(23, Good)], "starting").check(Event::Stop, &[Terminate(23)], "stopping");
    stage.check(done(23), &[], "stopped").check(clock(), &[], "stopped");
}

#[test]
fn the_good_version_works_while_it_does() {
    let mut stage = Stage::new();
    stage.check(Event::Start, &[duty(1, Good)], "starting");
    assert!(!stage.machine.works());
    stage.check(Event::Ready(1), &[], "online");
    assert!(stage.machine.works());
    stage.check(exit(1), &[duty(2, Good)], "starting");
    assert!(!stage.machine.works());
    let back = "the new version exited with code 1; the one before is tried again";
    stage.check(Event::Restart("asked".into(), NEW), &[Terminate(2)], "restarting");
    stage.check(exit(2), &[duty(3, NEW)], "starting");
    stage.check(exit(3), &[refused("exited with code 1"), duty(4, Good)], "starting");
    assert_eq!(stage.reason(), back);
    // Whoever is ready for long enough has been good, and a crash much later changes nothing of that.
    let mut stage = Stage::trial();
    stage.after(5000).check(Event::Tick, &[Kept(1)], "online").check(exit(2), &[duty(3, Good)], "starting");
    assert!(stage.machine.works());
}

#[test]
fn who_ends_well_and_may_has_finished() {
    for (code, autorestart, finished) in [(0, false, true), (1, false, false), (42, true, false)] {
        let mut stage = Stage::new();
        stage.machine.set_rules(Rules { autorestart, stop_exit_codes: vec![42], ..rules() });
        stage.check(Event::Start, &[duty(1, Good)], "starting");
        let exit = Exit { code: Some(code), how: format!("exited with code {code}") };
        stage.check(Event::Exited(1, exit), &[], "stopped");
        assert_eq!(stage.machine.has_finished(), finished, "{code}");
        stage.check(Event::Start, &[duty(2, Good)], "starting");
        assert!(!stage.machine.has_finished());
    }
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
    stage.check(meant.clone(), &[], "stopped");
    assert_eq!(stage.reason(), "exited with code 42");
    // Of a new version as well: it did what it is there for.
    let mut stage = Stage::online();
    stage.check(Event::Restart("asked".into(), NEW), &[Terminate(1)], "restarting");
    stage.check(exit(1), &[duty(2, NEW)], "starting").check(Event::Ready(2), &[], "online");
    let Event::Exited(_, exit) = meant else { unreachable!() };
    stage.check(Event::Exited(2, exit), &[Kept(1)], "stopped");
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
    stage.after(4999).check(Event::Tick, &[], "online").after(1).check(Event::Tick, &[Kept(1)], "online");
    stage.check(exit(2), &[duty(3, Good)], "starting");
}

#[test]
fn a_reload_that_fails_in_standby_changes_nothing() {
    let mut stage = Stage::online();
    stage.check(reload(), &[beside(2, NEW)], "reloading");
    stage.check(exit(2), &[refused("exited with code 1")], "online");
    stage.check(reload(), &[beside(3, NEW)], "reloading").after(10_000);
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
    stage.check(reload(), &[beside(2, NEW)], "reloading").check(exit(1), &[Go(2)], "starting");
    assert_eq!(stage.reason(), "exited with code 1");
    // The standby dies when the old one was told to go.
    let mut stage = Stage::switching();
    stage.check(exit(2), &[refused("exited with code 1")], "restarting");
    stage.check(Event::Released(1), &[duty(3, Good)], "starting");
    // Another reload: the newer one wins, or waits.
    let mut stage = Stage::online();
    stage.check(reload(), &[beside(2, NEW)], "reloading");
    stage.check(newer(), &[Kill(2), beside(3, NEWER)], "reloading").check(exit(2), &[], "reloading");
    let newest = Event::Reload("once more".into(), Which::New(3));
    stage.check(Event::StandsBy(3), &[HandOver(3)], "reloading").check(newest.clone(), &[], "reloading");
    stage.check(Event::Ready(3), &[beside(4, Which::New(3))], "reloading");
    let mut stage = Stage::switching();
    stage.check(newest, &[], "reloading").check(Event::Released(1), &[Go(2)], "starting");
    stage.check(Event::Ready(2), &[beside(3, Which::New(3))], "reloading");
    // A stop.
    let why = "stopped before it had proved itself";
    let mut stage = Stage::switching();
    stage.check(Event::Stop, &[Kill(2), refused(why)], "stopping").check(exit(1), &[], "stopping");
    stage.check(exit(2), &[], "stopped").check(Event::Start, &[duty(3, Good)], "starting");
    let mut stage = Stage::trial();
    stage.check(Event::Stop, &[refused(why), Terminate(2)], "stopping").check(exit(2), &[], "stopped");
}

#[test]
fn a_handover_ends_with_one_of_the_two() {
    // It has taken over: the old one is on its way out.
    let mut stage = Stage::handing_over();
    stage.check(Event::Ready(2), &[], "online").check(exit(1), &[], "online");
    assert_eq!((stage.machine.restarts(), stage.reason()), (1, "reloaded"));
    stage.after(5000).check(Event::Tick, &[Kept(1)], "online");
    // The other order.
    let gone = || Event::Exited(1, Exit { code: Some(0), how: "exited with code 0".into() });
    let mut stage = Stage::handing_over();
    stage.check(gone(), &[Go(2)], "starting").check(Event::Ready(2), &[], "online");
    assert_eq!((stage.machine.restarts(), stage.reason()), (1, "reloaded"));
    // The old one does not go.
    let mut stage = Stage::handing_over();
    stage.check(Event::Ready(2), &[], "online").after(2000).check(Event::Tick, &[Kill(1)], "online");
    // It dies before it has handed over.
    let mut stage = Stage::handing_over();
    stage.check(exit(1), &[Go(2)], "starting");
    assert_eq!(stage.reason(), "exited with code 1");
    // The new one dies, or hangs: the old one goes on, and what waited is tried.
    let mut stage = Stage::handing_over();
    stage.check(exit(2), &[refused("exited with code 1")], "online");
    assert_eq!(stage.machine.restarts(), 0);
    let mut stage = Stage::handing_over();
    stage.check(newer(), &[], "reloading").after(12_000);
    let effects = [Kill(2), refused("did not take over within 12s"), beside(3, NEWER)];
    stage.check(Event::Tick, &effects, "reloading").check(exit(2), &[], "reloading");
    // The old one is condemned.
    let mut stage = Stage::handing_over();
    stage.check(Event::Condemned("leaks".into()), &[Kill(1)], "reloading").check(
        exit(1),
        &[Go(2)],
        "starting",
    );
    assert_eq!(stage.reason(), "leaks");
    // A stop.
    let mut stage = Stage::handing_over();
    let effects = [Kill(2), refused("stopped before it had proved itself"), Terminate(1)];
    stage.check(Event::Stop, &effects, "stopping").check(exit(2), &[], "stopping").check(
        exit(1),
        &[],
        "stopped",
    );
}

#[test]
fn a_newer_version_during_a_trial_decides_for_itself() {
    // The one on trial proves itself while the newer stands beside it, and the newer fails.
    let mut stage = Stage::trial();
    stage.check(newer(), &[beside(3, NEWER)], "reloading").after(5000);
    stage.check(Event::Tick, &[Kept(1)], "reloading");
    stage.check(exit(3), &[Refused(2, "exited with code 1".into())], "online");
    // The one on trial dies: the newer takes over, and is still to prove itself.
    let mut stage = Stage::trial();
    stage.check(newer(), &[beside(3, NEWER)], "reloading");
    stage.check(exit(2), &[refused("exited with code 1"), Go(3)], "starting");
    stage.check(Event::Ready(3), &[], "online").after(5000).check(Event::Tick, &[Kept(2)], "online");
    // The first fails when the old one was told to go already, and the newer one waits for its turn.
    let mut stage = Stage::switching();
    stage.check(newer(), &[], "reloading");
    stage.check(exit(2), &[refused("exited with code 1")], "restarting").check(memory(), &[], "restarting");
    stage.check(Event::Released(1), &[duty(3, Good)], "starting").check(memory(), &[], "starting");
    stage.check(Event::Ready(3), &[beside(4, NEWER)], "reloading");
    // With nothing to protect it does not wait.
    let mut stage = Stage::switching();
    stage.check(newer(), &[], "reloading").check(exit(2), &[refused("exited with code 1")], "restarting");
    stage.check(exit(1), &[duty(3, Good)], "starting").check(exit(3), &[duty(4, NEWER)], "starting");
    assert_eq!(stage.reason(), "reloaded again");
    // A stop ends them all.
    let why = "stopped before it had proved itself";
    let mut stage = Stage::switching();
    stage.check(newer(), &[], "reloading");
    stage.check(Event::Stop, &[Kill(2), Refused(2, why.into()), refused(why)], "stopping");
}

#[test]
fn a_successor_that_does_not_make_it_is_not_tried_again_at_once() {
    let mut stage = Stage::online();
    stage.check(memory(), &[beside(2, Good)], "reloading");
    stage.check(exit(2), &[NotReplaced("exited with code 1".into())], "online");
    stage.check(memory(), &[], "online").after(100).check(memory(), &[beside(3, Good)], "reloading");
    stage.check(exit(3), &[NotReplaced("exited with code 1".into())], "online").after(100);
    stage.check(memory(), &[], "online").check(reload(), &[beside(4, NEW)], "reloading");
}

#[test]
fn what_a_killed_successor_said_last_changes_nothing() {
    let mut stage = Stage::online();
    stage.check(reload(), &[beside(2, NEW)], "reloading");
    stage.check(Event::StandsBy(2), &[Effect::HandOver(2)], "reloading").after(12_000);
    stage.check(Event::Tick, &[Kill(2), refused("did not take over within 12s")], "online");
    stage.check(restart(), &[Terminate(1)], "restarting").check(exit(1), &[duty(3, Good)], "starting");
    stage.check(Event::Ready(2), &[], "starting").check(exit(2), &[], "starting");
    stage.check(Event::Ready(3), &[], "online");
}

#[test]
fn without_anything_to_protect_a_reload_is_a_restart() {
    let mut stage = Stage::new();
    stage.check(Event::Start, &[duty(1, Good)], "starting").check(exit(1), &[duty(2, Good)], "starting");
    stage.check(exit(2), &[], "waiting").check(reload(), &[duty(3, NEW)], "starting");
    let mut stage = Stage::online();
    stage.machine.set_rules(Rules { stands_by: false, ..rules() });
    stage.check(reload(), &[Terminate(1)], "restarting").check(exit(1), &[duty(2, NEW)], "starting");
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
    /// Taking over.
    Taking,
    OnDuty,
    Released,
}

/// What surrounds a machine: its children, and the versions it was to try.
#[derive(Default)]
struct Surroundings {
    children: BTreeMap<Id, (Child, Which)>,
    terminated: Vec<Id>,
    killed: Vec<Id>,
    tried: Number,
    ended: Vec<Number>,
}

impl Surroundings {
    fn another(&mut self) -> Which {
        self.tried += 1;
        Which::New(self.tried)
    }

    fn event(&mut self, what: u8, who: usize) -> Event {
        let one = self.children.keys().nth(who % self.children.len().max(1)).copied();
        let is = |id: &Id, child| self.children[id].0 == child;
        match (what, one) {
            (0 | 1, _) => Event::Start,
            (2, _) => Event::Stop,
            (3, _) => Event::StopNow,
            (4, _) => restart(),
            (5, _) => Event::Restart("newer".into(), self.another()),
            (6, _) => Event::Reload("newer".into(), self.another()),
            (7, _) => memory(),
            (8, _) => Event::Condemned("hung".into()),
            (9, Some(id)) if is(&id, Child::Beside) || is(&id, Child::Taking) => Event::StandsBy(id),
            (10 | 11, Some(id)) if is(&id, Child::OnDuty) || is(&id, Child::Taking) => Event::Ready(id),
            (12, Some(id)) if is(&id, Child::OnDuty) && self.terminated.contains(&id) => Event::Released(id),
            (13, Some(id)) => exit(id),
            (14, Some(id)) => Event::Exited(id, Exit { code: Some(42), how: "exited with code 42".into() }),
            _ => Event::Tick,
        }
    }

    /// Never two on duty, no signal to nobody, no version kept that is not the one on duty or has just ended, none
    /// with two ends.
    fn take(&mut self, event: &Event, effects: Vec<Effect>) -> Result<(), TestCaseError> {
        let before = self.children.clone();
        match event {
            Event::Exited(id, _) => drop(self.children.remove(id)),
            Event::Released(id) => self.children.get_mut(id).unwrap().0 = Child::Released,
            Event::StandsBy(id) => self.children.get_mut(id).unwrap().0 = Child::Beside,
            // It says so only when the other has let go. One that was killed said it before, and is nobody any more.
            Event::Ready(id) if self.children[id].0 == Child::Taking && !self.killed.contains(id) => {
                let duty = self.children.values_mut().find(|child| child.0 == Child::OnDuty);
                duty.into_iter().for_each(|duty| duty.0 = Child::Released);
                self.children.get_mut(id).unwrap().0 = Child::OnDuty;
            }
            _ => {}
        }
        for effect in effects {
            match effect {
                Effect::Spawn { id, which, go } => {
                    let child = if go { Child::OnDuty } else { Child::Beside };
                    prop_assert_eq!(self.children.insert(id, (child, which)), None);
                    if let Which::New(number) = which {
                        prop_assert_eq!(number, self.tried, "only the newest is tried");
                        prop_assert!(!self.ended.contains(&number));
                    }
                }
                Effect::Go(id) => {
                    let child = self.children.get_mut(&id).unwrap();
                    prop_assert!(matches!(child.0, Child::Beside | Child::Taking));
                    child.0 = Child::OnDuty;
                }
                Effect::HandOver(id) => {
                    let child = self.children.get_mut(&id).unwrap();
                    prop_assert_eq!(std::mem::replace(&mut child.0, Child::Taking), Child::Beside);
                }
                Effect::Terminate(id) => {
                    prop_assert!(self.children.contains_key(&id));
                    self.terminated.push(id);
                }
                Effect::Kill(id) => {
                    prop_assert!(self.children.contains_key(&id), "a signal to nobody");
                    self.killed.push(id);
                }
                Effect::Kept(number) => {
                    prop_assert!(before.values().any(|child| *child == (Child::OnDuty, Which::New(number))));
                    prop_assert!(!self.ended.contains(&number));
                    self.ended.push(number);
                }
                Effect::Refused(number, why) => {
                    prop_assert!(!why.is_empty() && !self.ended.contains(&number));
                    self.ended.push(number);
                }
                Effect::NotReplaced(why) => prop_assert!(!why.is_empty()),
            }
        }
        let on_duty = self.children.values().filter(|child| child.0 == Child::OnDuty).count();
        prop_assert!(on_duty <= 1, "two on duty: {:?}", self.children);
        Ok(())
    }

    fn on_duty(&self) -> usize {
        self.children.values().filter(|child| child.0 == Child::OnDuty).count()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Whatever happens: what [`Surroundings::take`] says, every restart has a reason, no state is without a way out,
    /// and the newest version that was to be tried always ends kept or refused.
    #[test]
    fn any_life_is_orderly(
        steps in prop::collection::vec((0u8..16, 0usize..4, 0u64..6_000, 0.0f64..1.0), 1..300),
        stands_by: bool,
        autorestart: bool,
    ) {
        let mut stage = Stage::new();
        stage.machine.set_rules(Rules { stands_by, autorestart, ..rules() });
        let mut around = Surroundings::default();
        for (what, who, ms, chance) in steps {
            let event = around.event(what, who);
            let runs = !matches!(stage.machine.state(), State::Stopped | State::Stopping(None));
            let tried = matches!(event, Event::Restart(_, Which::New(_)) | Event::Reload(_, Which::New(_)));
            if tried && !runs {
                // There is nothing to try it on: it is what is started next.
                around.ended.push(around.tried);
            }
            let effects = stage.machine.step(event.clone(), stage.now, chance);
            around.take(&event, effects)?;
            let (machine, on_duty) = (&stage.machine, around.on_duty());
            prop_assert!(machine.restarts() == 0 || machine.reason().is_some(), "a restart without a reason");
            match machine.state() {
                State::Stopped => prop_assert!(around.children.is_empty()),
                State::Backoff => prop_assert!(on_duty == 0 && machine.wake_at().is_some()),
                State::Starting | State::Switching => prop_assert!(on_duty == 1 && machine.wake_at().is_some()),
                State::HandingOver => prop_assert!(on_duty == 1 && machine.wake_at().is_some()),
                State::Reloading => prop_assert!(on_duty == 1 && machine.wake_at().is_some()),
                State::Stopping(_) => prop_assert!(!around.children.is_empty() && machine.wake_at().is_some()),
                State::Online => prop_assert!(on_duty == 1),
            }
            stage.after(ms);
        }
        // Left alone, with children that do what they are told, it comes to rest: online, or stopped.
        for _ in 0..100 {
            let next = around.children.iter().next().map(|(id, (child, _))| match child {
                _ if around.killed.contains(id) || around.terminated.contains(id) => exit(*id),
                Child::Beside => Event::StandsBy(*id),
                Child::Taking => Event::Ready(*id),
                Child::OnDuty => Event::Ready(*id),
                Child::Released => exit(*id),
            });
            let event = next.unwrap_or(Event::Tick);
            let effects = stage.machine.step(event.clone(), stage.now, 0.5);
            around.take(&event, effects)?;
            let effects = stage.machine.step(Event::Tick, stage.now, 0.5);
            around.take(&Event::Tick, effects)?;
            stage.after(1000);
        }
        prop_assert!(matches!(stage.machine.state(), State::Online | State::Stopped), "{:?}", stage.machine);
        prop_assert!(around.tried == 0 || around.ended.contains(&around.tried), "the newest version has no end: {:?}", stage.machine);
        // And stopped at once, it stops.
        let _ = stage.machine.step(Event::StopNow, stage.now, 0.0);
        for id in around.children.into_keys() {
            let _ = stage.machine.step(exit(id), stage.now, 0.0);
        }
        prop_assert_eq!(stage.machine.state(), State::Stopped);
    }
}
