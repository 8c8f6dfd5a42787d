//! Tables of events and what follows, and properties of any sequence of them.

use super::*;
use proptest::prelude::*;

fn rules() -> Rules {
    Rules {
        policy: Policy { initial: Duration::from_millis(100), fixed: None, max_restarts: 3 },
        autorestart: true,
        min_uptime: Duration::from_secs(5),
        listen_timeout: Duration::from_secs(10),
        kill_timeout: Duration::from_secs(2),
        watch_delay: Duration::from_millis(500),
    }
}

/// A machine, a clock, and what is expected of them.
struct Stage {
    machine: Machine,
    now: Instant,
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

    fn online() -> Self {
        let mut stage = Self::new();
        stage.check(Event::Start, &[Effect::Spawn], "starting").check(Event::Ready, &[], "online");
        stage.after(5000).check(Event::Tick, &[], "online");
        stage
    }

    fn reason(&self) -> &str {
        self.machine.reason().unwrap_or_default()
    }
}

fn exit() -> Event {
    Event::Exited("exited with code 1".into())
}

#[test]
fn a_stable_child_that_crashes_is_back_at_once() {
    let mut stage = Stage::online();
    stage.check(exit(), &[Effect::Spawn], "starting");
    assert_eq!((stage.machine.restarts(), stage.reason()), (1, "exited with code 1"));
}

#[test]
fn unstable_lives_wait_longer_and_longer_and_it_never_gives_up() {
    let mut stage = Stage::new();
    stage.check(Event::Start, &[Effect::Spawn], "starting").check(exit(), &[Effect::Spawn], "starting");
    for wait in [100, 200] {
        stage.check(exit(), &[], "waiting").after(wait - 1).check(Event::Tick, &[], "waiting");
        stage.after(1).check(Event::Tick, &[Effect::Spawn], "starting");
    }
    for _ in 0..50 {
        stage.check(exit(), &[], "crash-looping").after(14_000).check(
            Event::Tick,
            &[Effect::Spawn],
            "crash-looping",
        );
    }
    stage.check(Event::Ready, &[], "online").after(5000).check(Event::Tick, &[], "online");
    stage.check(exit(), &[Effect::Spawn], "starting");
}

#[test]
fn restarts_are_graceful_and_named() {
    let mut stage = Stage::online();
    stage.check(Event::Restart("SIGHUP".into()), &[Effect::Terminate], "restarting");
    stage.check(Event::Exited("exited with code 0".into()), &[Effect::Spawn], "starting");
    assert_eq!(stage.reason(), "SIGHUP", "an exit that was asked for is no crash");
}

#[test]
fn who_does_not_go_is_killed() {
    let mut stage = Stage::online();
    stage.check(Event::Stop, &[Effect::Terminate], "stopping").after(1999).check(
        Event::Tick,
        &[],
        "stopping",
    );
    stage.after(1).check(Event::Tick, &[Effect::Kill], "stopping").check(exit(), &[], "stopped");
    let mut stage = Stage::online();
    stage.check(Event::Stop, &[Effect::Terminate], "stopping").check(
        Event::StopNow,
        &[Effect::Kill],
        "stopping",
    );
}

#[test]
fn who_is_never_ready_is_restarted() {
    let mut stage = Stage::new();
    stage.check(Event::Start, &[Effect::Spawn], "starting").after(10_000).check(
        Event::Tick,
        &[Effect::Terminate],
        "restarting",
    );
    assert_eq!(stage.reason(), "not ready within 10s");
}

#[test]
fn many_changes_are_one_restart_after_quiet() {
    let mut stage = Stage::online();
    for n in 0..20 {
        stage.check(Event::Changed(format!("file{n}")), &[], "online").after(50).check(
            Event::Tick,
            &[],
            "online",
        );
    }
    stage.after(449).check(Event::Tick, &[], "online").after(1).check(
        Event::Tick,
        &[Effect::Terminate],
        "restarting",
    );
    assert_eq!(stage.reason(), "file0 changed");
    stage.check(Event::Changed("late".into()), &[], "restarting").check(exit(), &[Effect::Spawn], "starting");
    assert!(stage.machine.change.is_none(), "the new child has seen it");
}

#[test]
fn a_tree_that_is_never_quiet_is_restarted_all_the_same() {
    let mut stage = Stage::online();
    let mut restarted = 0;
    for _ in 0..60 {
        let _ = stage.machine.step(Event::Changed("busy".into()), stage.now, 0.0);
        restarted += stage.machine.step(Event::Tick, stage.now, 0.0).len();
        stage.after(100);
    }
    assert_eq!(restarted, 1);
}

#[test]
fn a_stop_wins() {
    let mut stage = Stage::new();
    stage.check(Event::Start, &[Effect::Spawn], "starting").check(exit(), &[Effect::Spawn], "starting");
    stage.check(exit(), &[], "waiting").check(Event::Stop, &[], "stopped").after(60_000).check(
        Event::Tick,
        &[],
        "stopped",
    );
    let mut stage = Stage::online();
    stage.check(Event::Restart("x".into()), &[Effect::Terminate], "restarting").check(
        Event::Stop,
        &[],
        "stopping",
    );
    stage.check(exit(), &[], "stopped").check(Event::Restart("x".into()), &[], "stopped");
}

proptest! {
    /// Whatever happens: never two children, every restart has a reason, and no state is without a way out.
    #[test]
    fn any_life_is_orderly(steps in prop::collection::vec((0u8..8, 0u64..20_000, 0.0f64..1.0), 1..200)) {
        let mut stage = Stage::new();
        let mut alive = false;
        for (what, ms, chance) in steps {
            let event = match what {
                0 => Event::Start,
                1 => Event::Stop,
                2 => Event::StopNow,
                3 => Event::Restart("asked".into()),
                4 => Event::Changed("file".into()),
                5 if alive => Event::Ready,
                6 if alive => { alive = false; exit() }
                _ => Event::Tick,
            };
            for effect in stage.machine.step(event, stage.now, chance) {
                match effect {
                    Effect::Spawn => { prop_assert!(!alive, "a second child"); alive = true; }
                    Effect::Terminate | Effect::Kill => prop_assert!(alive, "a signal to nobody"),
                }
            }
            prop_assert!(stage.machine.restarts() == 0 || stage.machine.reason().is_some(), "a restart without a reason");
            match stage.machine.state() {
                State::Stopped => prop_assert!(!alive),
                State::Backoff => prop_assert!(!alive && stage.machine.wake_at().is_some()),
                State::Starting | State::Stopping { .. } => prop_assert!(alive && stage.machine.wake_at().is_some()),
                State::Online => prop_assert!(alive),
            }
            stage.after(ms);
        }
    }
}
