//! The life of one app, as a state machine. Pure: time is an argument, and what is to be done comes back as effects.
//!
//! ```text
//!               Start              READY=1           Reload              in standby
//!     Stopped --------> Starting ----------> Online --------> Reloading ------------> Switching
//!        ^                ^  |  ^               |  ^              |                      |
//!        |            due |  |  |          exit |  |   refused    |                      | the old one has let go
//!        | Stop           |  |  |               |  +--------------+                      | (or is gone): Go
//!        |              Backoff <---------------+                                        |
//!        |                |     +--------------------------------------------------------+
//!        |                |     | gone, or has let go
//!        +-- all gone -- Stopping <--- Stop, Restart, from anywhere
//! ```
//!
//! At most one child is *on duty*: it was told to go to work, and has neither let go nor ended. A reload starts a
//! second one in *standby*, beside it; children that let go and have not ended yet are *leaving*.
//!
//! Two versions of an app (program and configuration) are known: the *good* one, and a *new* one on trial. The new
//! one becomes the good one when it has been ready for `min_uptime` on duty ([`Effect::Kept`]). Before that, whatever
//! ends it brings the good one back at once ([`Effect::Refused`]). Crashes are always answered with the good one.
//!
//! What wins when two things happen at once:
//! - Stop wins over everything: a standby is killed, a reload refused, a backoff ended. The second stop kills.
//! - A child that ends while it is being stopped has done what it was asked: that is no crash.
//! - The child on duty crashes during a reload: the standby takes over at once, ready or not; it is on trial.
//! - The standby dies after the old one was told to go: the good version comes when the old one has let go.
//! - A reload during a reload: the newer one wins, the older standby is killed. While switching, it waits for the
//!   outcome. In a backoff, or with a child that is not ready, there is nothing to protect: it is a restart.
//! - A wish to restart with the good version (memory) while another child is coming anyway is met by that child;
//!   while the new version is on trial it speaks against that version, which is condemned.
//! - Condemned (a hang, the hard memory limit, never ready): killed at once, and treated as a crash.
//! - A start while anything else than Stopped: it is running already, or will be.

mod terms;

pub(super) use terms::{Effect, Event, Exit, Id, Rules, State, Which};

use std::time::{Duration, Instant};

/// Between two attempts to kill a child that should be gone.
const KILL_AGAIN: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Machine {
    rules: Rules,
    state: State,
    since: Instant,
    /// When time alone changes the state.
    deadline: Option<Instant>,
    /// When the child on duty counts as stable.
    stable_at: Option<Instant>,
    duty: Option<Duty>,
    standby: Option<Standby>,
    /// Children that are on their way out, and when to kill them.
    leaving: Vec<(Id, Instant)>,
    /// A reload that waits for the outcome of the one before.
    pending: Option<(String, Which)>,
    last_id: Id,
    /// Unstable lives in a row.
    unstable: u32,
    restarts: u32,
    reason: Option<String>,
}

#[derive(Debug)]
struct Duty {
    id: Id,
    which: Which,
    since: Instant,
    /// Why it was killed, until it is gone.
    verdict: Option<String>,
}

#[derive(Debug)]
struct Standby {
    id: Id,
    which: Which,
    why: String,
    /// It stands by; before, `due` is when it must.
    ready: bool,
    due: Instant,
}

type Effects = Vec<Effect>;

impl Machine {
    /// An app that does not run.
    pub(super) fn new(rules: Rules, now: Instant) -> Self {
        Self {
            rules,
            state: State::Stopped,
            since: now,
            deadline: None,
            stable_at: None,
            duty: None,
            standby: None,
            leaving: Vec::new(),
            pending: None,
            last_id: 0,
            unstable: 0,
            restarts: 0,
            reason: None,
        }
    }

    /// Takes one event; `chance` (`0.0..1.0`) is for the backoff's jitter.
    #[must_use]
    pub(super) fn step(&mut self, event: Event, now: Instant, chance: f64) -> Effects {
        match event {
            Event::Start if self.state == State::Stopped => self.put_on_duty(Which::Good, now),
            Event::Start => Vec::new(),
            Event::Adopted => self.adopt(now),
            Event::Stop => self.stop(now),
            Event::StopNow => self.stop_now(now),
            Event::Restart(why, which) => self.restart(why, which, now),
            Event::Reload(why, which) => self.reload(why, which, now),
            Event::Condemned(why) => self.condemn(why, now),
            Event::StandsBy(id) => self.stands_by(id, now),
            Event::Ready(id) => self.ready(id, now),
            Event::Released(id) => self.released(id, now),
            Event::Exited(id, exit) => self.exited(id, exit, now, chance),
            Event::Tick => self.tick(now),
        }
    }

    fn put_on_duty(&mut self, which: Which, now: Instant) -> Effects {
        self.last_id += 1;
        let id = self.last_id;
        self.begin(id, which, now);
        vec![Effect::Spawn { id, which, go: true }]
    }

    fn begin(&mut self, id: Id, which: Which, now: Instant) {
        self.duty = Some(Duty { id, which, since: now, verdict: None });
        self.stable_at = None;
        self.enter(State::Starting, now, Some(self.rules.listen_timeout));
    }

    fn again(&mut self, which: Which, now: Instant) -> Effects {
        self.restarts += 1;
        self.put_on_duty(which, now)
    }

    fn adopt(&mut self, now: Instant) -> Effects {
        if self.state == State::Stopped {
            self.last_id += 1;
            self.begin(self.last_id, Which::Good, now);
        }
        Vec::new()
    }

    fn stop(&mut self, now: Instant) -> Effects {
        let mut effects = self.dismiss(now, Some("stopped before it had proved itself"));
        match self.state {
            State::Stopped | State::Stopping(None) => {}
            // It was told to go already; its deadline stays.
            State::Switching | State::Stopping(Some(_)) => self.state = State::Stopping(None),
            State::Backoff => {
                self.enter(State::Stopping(None), now, None);
                effects.extend(self.settle(now));
            }
            State::Starting | State::Online | State::Reloading => {
                effects.extend(self.terminate(State::Stopping(None), now));
            }
        }
        effects
    }

    fn stop_now(&mut self, now: Instant) -> Effects {
        let mut effects = self.stop(now);
        if matches!(self.state, State::Stopping(_)) {
            effects.retain(|effect| !matches!(effect, Effect::Terminate(_)));
            effects.extend(self.duty.iter().map(|duty| Effect::Kill(duty.id)));
            effects.extend(self.leaving.iter().map(|(id, _)| Effect::Kill(*id)));
            self.deadline = self.duty.is_some().then_some(now + KILL_AGAIN);
        }
        effects
    }

    /// Forgets what is to come: the standby, and the trial of the new version.
    fn dismiss(&mut self, now: Instant, refusal: Option<&str>) -> Effects {
        let on_trial = self.duty.as_mut().is_some_and(|duty| {
            let new = duty.which == Which::New && refusal.is_some();
            if new {
                duty.which = Which::Good;
            }
            new
        });
        self.pending = None;
        let mut effects = Vec::new();
        let mut refused = on_trial || self.state == State::Stopping(Some(Which::New));
        if let Some(standby) = self.standby.take() {
            effects.push(self.see_off(standby.id, now));
            refused |= standby.which == Which::New;
        }
        effects.extend(refusal.filter(|_| refused).map(|why| Effect::Refused(why.to_owned())));
        effects
    }

    fn see_off(&mut self, id: Id, now: Instant) -> Effect {
        self.leaving.push((id, now + KILL_AGAIN));
        Effect::Kill(id)
    }

    /// The new version is on duty, and what goes wrong with it speaks against it.
    fn is_on_trial(&self) -> bool {
        matches!(self.state, State::Starting | State::Online)
            && self.duty.as_ref().is_some_and(|duty| duty.which == Which::New)
    }

    fn terminate(&mut self, state: State, now: Instant) -> Effects {
        self.enter(state, now, Some(self.rules.kill_timeout));
        self.stable_at = None;
        self.duty.iter().map(|duty| Effect::Terminate(duty.id)).collect()
    }

    fn restart(&mut self, why: String, which: Which, now: Instant) -> Effects {
        if which == Which::Good && self.is_on_trial() {
            return self.condemn(why, now);
        }
        match self.state {
            State::Stopped | State::Stopping(None) => return Vec::new(),
            State::Reloading | State::Switching if which == Which::Good => return Vec::new(),
            State::Switching => {
                self.pending = Some((why, which));
                return Vec::new();
            }
            _ => self.reason = Some(why),
        }
        let mut effects = self.dismiss(now, None);
        match self.state {
            State::Backoff => effects.extend(self.again(which, now)),
            State::Stopping(following) if following != Some(Which::New) => {
                self.state = State::Stopping(Some(which));
            }
            State::Starting | State::Online | State::Reloading => {
                effects.extend(self.terminate(State::Stopping(Some(which)), now));
            }
            _ => {}
        }
        effects
    }

    fn reload(&mut self, why: String, which: Which, now: Instant) -> Effects {
        match self.state {
            _ if which == Which::Good && self.is_on_trial() => self.condemn(why, now),
            State::Online | State::Reloading if !self.rules.stands_by => self.restart(why, which, now),
            State::Reloading | State::Switching if which == Which::Good => Vec::new(),
            State::Switching => {
                self.pending = Some((why, which));
                Vec::new()
            }
            State::Online | State::Reloading => {
                let mut effects: Effects =
                    self.standby.take().map(|older| self.see_off(older.id, now)).into_iter().collect();
                self.last_id += 1;
                let (id, due) = (self.last_id, now + self.rules.listen_timeout);
                self.standby = Some(Standby { id, which, why, ready: false, due });
                self.state = State::Reloading;
                effects.push(Effect::Spawn { id, which, go: false });
                effects
            }
            _ => self.restart(why, which, now),
        }
    }

    fn condemn(&mut self, why: String, now: Instant) -> Effects {
        let on_duty = matches!(
            self.state,
            State::Starting | State::Online | State::Reloading | State::Switching | State::Stopping(_)
        );
        let Some(duty) = self.duty.as_mut().filter(|duty| on_duty && duty.verdict.is_none()) else {
            return Vec::new();
        };
        duty.verdict = Some(why);
        self.deadline = Some(now + KILL_AGAIN);
        vec![Effect::Kill(duty.id)]
    }

    fn stands_by(&mut self, id: Id, now: Instant) -> Effects {
        let Some(standby) = self.standby.as_mut().filter(|standby| standby.id == id) else {
            return Vec::new();
        };
        standby.ready = true;
        if self.state == State::Reloading { self.terminate(State::Switching, now) } else { Vec::new() }
    }

    fn ready(&mut self, id: Id, now: Instant) -> Effects {
        if self.state != State::Starting || self.duty.as_ref().is_none_or(|duty| duty.id != id) {
            return Vec::new();
        }
        self.enter(State::Online, now, None);
        self.stable_at = Some(now + self.rules.min_uptime);
        match self.pending.take() {
            Some((why, which)) => self.reload(why, which, now),
            None => Vec::new(),
        }
    }

    fn released(&mut self, id: Id, now: Instant) -> Effects {
        if self.duty.as_ref().is_none_or(|duty| duty.id != id) {
            return Vec::new();
        }
        match self.state {
            State::Switching | State::Stopping(Some(_)) => {
                self.duty = None;
                self.leaving.push((id, now + self.rules.kill_timeout));
                self.follow(now)
            }
            _ => Vec::new(),
        }
    }

    /// The place on duty is free, and somebody was to follow.
    fn follow(&mut self, now: Instant) -> Effects {
        match (self.state, self.standby.take()) {
            (_, Some(standby)) => {
                self.restarts += 1;
                self.reason = Some(standby.why);
                self.begin(standby.id, standby.which, now);
                vec![Effect::Go(standby.id)]
            }
            (State::Stopping(Some(which)), None) => self.again(which, now),
            _ => self.settle(now),
        }
    }

    fn exited(&mut self, id: Id, exit: Exit, now: Instant, chance: f64) -> Effects {
        self.leaving.retain(|(leaving, _)| *leaving != id);
        if let Some(standby) = self.standby.take_if(|standby| standby.id == id) {
            return self.lost_standby(&standby, exit.how);
        }
        let Some(duty) = self.duty.take_if(|duty| duty.id == id) else { return self.settle(now) };
        match self.state {
            State::Starting | State::Online | State::Reloading => self.crashed(duty, exit, now, chance),
            _ => self.follow(now),
        }
    }

    fn lost_standby(&mut self, standby: &Standby, how: String) -> Effects {
        match self.state {
            State::Reloading => self.state = State::Online,
            State::Switching => {
                self.reason = Some(standby.why.clone());
                self.state = State::Stopping(Some(Which::Good));
            }
            _ => {}
        }
        vec![Effect::Refused(how)]
    }

    fn crashed(&mut self, duty: Duty, exit: Exit, now: Instant, chance: f64) -> Effects {
        let stable = self.state != State::Starting && self.stable_at.take().is_none();
        self.unstable = if stable { 1 } else { self.unstable.saturating_add(1) };
        let condemned = duty.verdict.is_some();
        let how = duty.verdict.unwrap_or(exit.how);
        self.reason = Some(how.clone());
        if let Some(standby) = &mut self.standby {
            standby.why.clone_from(&how);
        }
        let mut effects = Vec::new();
        if duty.which == Which::New {
            effects.push(Effect::Refused(how.clone()));
            self.reason = Some(format!("the new version {how}; the last good one is back"));
            // What ended was not the good version: that one starts with a clean record.
            self.unstable = 1;
        }
        if self.standby.is_some() {
            effects.extend(self.follow(now));
            return effects;
        }
        let over = exit.code.is_some_and(|code| self.rules.stop_exit_codes.contains(&code));
        if duty.which == Which::Good && !condemned && (over || !self.rules.autorestart) {
            self.enter(State::Stopping(None), now, None);
            effects.extend(self.settle(now));
            return effects;
        }
        match self.rules.policy.delay(self.unstable, chance) {
            Duration::ZERO => effects.extend(self.again(Which::Good, now)),
            delay => self.enter(State::Backoff, now, Some(delay)),
        }
        effects
    }

    /// Stopped, once nobody is left.
    fn settle(&mut self, now: Instant) -> Effects {
        if self.state == State::Stopping(None) && self.duty.is_none() && self.leaving.is_empty() {
            self.enter(State::Stopped, now, None);
        }
        Vec::new()
    }

    fn tick(&mut self, now: Instant) -> Effects {
        let mut effects = Vec::new();
        for (id, due) in self.leaving.iter_mut().filter(|(_, due)| *due <= now) {
            *due = now + KILL_AGAIN;
            effects.push(Effect::Kill(*id));
        }
        if let Some(late) = self.standby.take_if(|standby| !standby.ready && standby.due <= now) {
            effects.push(self.see_off(late.id, now));
            effects.extend(self.lost_standby(&late, self.never_ready()));
        }
        if self.stable_at.take_if(|at| *at <= now).is_some() {
            self.unstable = 0;
            let duty = self.duty.as_mut().filter(|duty| duty.which == Which::New);
            effects.extend(duty.map(|duty| {
                duty.which = Which::Good;
                Effect::Kept
            }));
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            effects.extend(self.overdue(now));
        }
        effects
    }

    fn overdue(&mut self, now: Instant) -> Effects {
        self.deadline = None;
        match (self.state, &self.duty) {
            (State::Backoff, _) => self.again(Which::Good, now),
            (State::Starting, Some(duty)) if duty.verdict.is_none() => self.condemn(self.never_ready(), now),
            (_, Some(duty)) => {
                // Asked again should it not have helped: there is no state without a way out.
                self.deadline = Some(now + KILL_AGAIN);
                vec![Effect::Kill(duty.id)]
            }
            _ => Vec::new(),
        }
    }

    fn never_ready(&self) -> String {
        format!("was not ready within {:?}", self.rules.listen_timeout)
    }

    fn enter(&mut self, state: State, now: Instant, timeout: Option<Duration>) {
        self.state = state;
        self.since = now;
        self.deadline = timeout.map(|timeout| now + timeout);
    }

    /// Takes new rules over; they hold from the next state on.
    pub(super) fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// When to send the next [`Event::Tick`].
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let standby = self.standby.iter().filter(|standby| !standby.ready).map(|standby| standby.due);
        let leaving = self.leaving.iter().map(|(_, due)| *due);
        self.deadline.into_iter().chain(self.stable_at).chain(standby).chain(leaving).min()
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// The child on duty, and since when.
    pub(super) fn duty(&self) -> Option<(Id, Instant)> {
        self.duty.as_ref().map(|duty| (duty.id, duty.since))
    }

    /// How often it was started again.
    pub(super) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Why it was started again last.
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Whether it fails over and over.
    pub(super) fn is_crash_looping(&self) -> bool {
        self.rules.policy.loops(self.unstable)
    }

    /// The word for where it is.
    pub(super) fn word(&self) -> &'static str {
        match self.state {
            State::Stopped => "stopped",
            State::Starting | State::Backoff if self.is_crash_looping() => "crash-looping",
            State::Starting => "starting",
            State::Online => "online",
            State::Reloading | State::Switching => "reloading",
            State::Stopping(Some(_)) => "restarting",
            State::Stopping(None) => "stopping",
            State::Backoff => "waiting",
        }
    }
}

#[cfg(test)]
mod tests;
