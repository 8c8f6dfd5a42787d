//! What children do by themselves, what time brings, and what follows in each state.

use super::*;

impl Machine {
    pub(super) fn stands_by(&mut self, id: Id, now: Instant) -> Effects {
        let Some(standby) = self.standby.as_mut().filter(|standby| standby.id == id) else {
            return Vec::new();
        };
        standby.ready = true;
        match self.state {
            State::Reloading => {
                self.enter(State::HandingOver, now, Some(HANDOVER));
                vec![Effect::HandOver(id)]
            }
            State::HandingOver => self.terminate(State::Switching, now),
            _ => Vec::new(),
        }
    }

    pub(super) fn ready(&mut self, id: Id, now: Instant) -> Effects {
        if self.state == State::HandingOver
            && let Some(standby) = self.standby.take_if(|standby| standby.id == id)
        {
            self.leaving.extend(self.duty.take().map(|old| (old.id, now + self.rules.kill_timeout)));
            self.succeed(standby, now);
        }
        if self.state != State::Starting || self.duty.as_ref().is_none_or(|duty| duty.id != id) {
            return Vec::new();
        }
        self.works |= self.duty.as_ref().is_some_and(|duty| duty.which == Which::Good);
        self.enter(State::Online, now, None);
        self.stable_at = Some(now + self.rules.min_uptime);
        match self.pending.take() {
            Some((why, which)) => self.reload(why, which, now),
            None => Vec::new(),
        }
    }

    pub(super) fn released(&mut self, id: Id, now: Instant) -> Effects {
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
                let id = standby.id;
                self.succeed(standby, now);
                vec![Effect::Go(id)]
            }
            (State::Stopping(Some(which)), None) => self.again(which, now),
            _ => self.settle(now),
        }
    }

    /// The standby is on duty.
    fn succeed(&mut self, standby: Standby, now: Instant) {
        self.restarts += 1;
        self.reason = Some(standby.why);
        self.begin(standby.id, standby.which, now);
    }

    pub(super) fn exited(&mut self, id: Id, exit: Exit, now: Instant, chance: f64) -> Effects {
        self.leaving.retain(|(leaving, _)| *leaving != id);
        if let Some(standby) = self.standby.take_if(|standby| standby.id == id) {
            return self.lost_standby(&standby, exit.how, now);
        }
        let Some(duty) = self.duty.take_if(|duty| duty.id == id) else { return self.settle(now) };
        match self.state {
            State::Starting | State::Online | State::Reloading => self.crashed(duty, exit, now, chance),
            State::HandingOver => {
                // One that has handed over ends well; another did not get so far.
                let crash = (exit.code != Some(0)).then(|| Reason::new(Class::Crash, exit.how));
                let crash = duty.verdict.or(crash);
                if let (Some(crash), Some(standby)) = (crash, &mut self.standby) {
                    standby.why = crash;
                }
                self.follow(now)
            }
            _ => self.follow(now),
        }
    }

    fn lost_standby(&mut self, standby: &Standby, how: String, now: Instant) -> Effects {
        match self.state {
            State::Reloading => self.state = State::Online,
            State::Switching => {
                self.reason = Some(standby.why.clone());
                self.state = State::Stopping(Some(Which::Good));
            }
            State::HandingOver => (self.state, self.deadline) = (State::Online, None),
            _ => {}
        }
        let mut effects: Effects = standby.which.refused(&how).into_iter().collect();
        if effects.is_empty() {
            self.in_vain = self.in_vain.saturating_add(1);
            self.rests_until = Some(now + self.rules.policy.delay(self.in_vain.saturating_add(1), 0.0));
            effects.push(Effect::NotReplaced(how));
        }
        if let Some((why, which)) = self.pending.take_if(|_| self.state == State::Online) {
            effects.extend(self.reload(why, which, now));
        }
        effects
    }

    fn crashed(&mut self, duty: Duty, exit: Exit, now: Instant, chance: f64) -> Effects {
        let stable = self.state != State::Starting && self.stable_at.take().is_none();
        self.works &= stable || duty.which != Which::Good;
        let meant = duty.verdict.is_none() && exit.code.is_some_and(|code| self.is_meant(code));
        self.unstable = match (meant, stable) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => self.unstable.saturating_add(1),
        };
        self.finished = meant && exit.code == Some(0);
        let over = meant || (duty.verdict.is_none() && !self.rules.autorestart && duty.which == Which::Good);
        let how = duty.verdict.unwrap_or(Reason::new(Class::Crash, exit.how));
        self.reason = Some(how.clone());
        if !meant {
            self.failures += 1;
            self.failure = Some(how.clone());
        }
        if let Some(standby) = &mut self.standby {
            standby.why.clone_from(&how);
        }
        let mut effects = Vec::new();
        match duty.which {
            Which::Good => {}
            Which::New(number) if meant => effects.push(Effect::Kept(number)),
            Which::New(number) => {
                effects.push(Effect::Refused(number, how.text.clone()));
                let before =
                    if self.works { "the last good one is back" } else { "the one before is tried again" };
                let back = format!("the new version {how}; {before}");
                self.reason = Some(Reason::new(Class::RolledBack, back));
                // What ended was not the good version: that one starts with a clean record.
                self.unstable = 1;
            }
        }
        effects.extend(match (&self.standby, self.pending.take_if(|_| meant || duty.which == Which::Good)) {
            (Some(_), _) => self.follow(now),
            // Nothing is left to protect from it.
            (None, Some((why, which))) => {
                self.reason = Some(why);
                self.again(which, now)
            }
            (None, None) if over => {
                self.ended = true;
                self.enter(State::Stopping(None), now, None);
                self.settle(now)
            }
            (None, None) => self.come_back(now, chance),
        });
        effects
    }

    /// Whether who ends with this code wants to stay away.
    fn is_meant(&self, code: i32) -> bool {
        self.rules.stop_exit_codes.contains(&code) || (code == 0 && !self.rules.autorestart)
    }

    fn come_back(&mut self, now: Instant, chance: f64) -> Effects {
        match self.rules.policy.delay(self.unstable, chance) {
            Duration::ZERO => self.again(Which::Good, now),
            delay => {
                self.enter(State::Backoff, now, Some(delay));
                Vec::new()
            }
        }
    }

    /// Stopped, once nobody is left.
    pub(super) fn settle(&mut self, now: Instant) -> Effects {
        if self.state == State::Stopping(None) && self.duty.is_none() && self.leaving.is_empty() {
            self.enter(State::Stopped, now, None);
        }
        Vec::new()
    }

    pub(super) fn tick(&mut self, now: Instant) -> Effects {
        let mut effects = Vec::new();
        for (id, due) in self.leaving.iter_mut().filter(|(_, due)| *due <= now) {
            *due = now + KILL_AGAIN;
            effects.push(Effect::Kill(*id));
        }
        if let Some(late) = self.standby.take_if(|standby| !standby.ready && standby.due <= now) {
            effects.push(self.see_off(late.id, now));
            effects.extend(self.lost_standby(&late, self.never_ready().text, now));
        }
        if self.stable_at.take_if(|at| *at <= now).is_some() {
            self.unstable = 0;
            self.failure = None;
            self.works = true;
            let proved = self.duty.as_mut().map(|duty| std::mem::replace(&mut duty.which, Which::Good));
            effects.extend(proved.and_then(|which| match which {
                Which::Good => None,
                Which::New(number) => Some(Effect::Kept(number)),
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
            (State::HandingOver, Some(duty)) if duty.verdict.is_none() => self.give_up_handover(now),
            (_, Some(duty)) => {
                // Asked again should it not have helped: there is no state without a way out.
                self.deadline = Some(now + KILL_AGAIN);
                vec![Effect::Kill(duty.id)]
            }
            _ => Vec::new(),
        }
    }

    /// Whoever of the two hangs: the one on duty has everything still.
    fn give_up_handover(&mut self, now: Instant) -> Effects {
        let Some(standby) = self.standby.take() else { return Vec::new() };
        let mut effects = vec![self.see_off(standby.id, now)];
        effects.extend(self.lost_standby(&standby, format!("did not take over within {HANDOVER:?}"), now));
        effects
    }

    fn never_ready(&self) -> Reason {
        Reason::new(Class::NotReady, format!("was not ready within {:?}", self.rules.listen_timeout))
    }
}
