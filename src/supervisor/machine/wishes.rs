//! What is wished of an app, by people, files, the clock and the ceiling, and what follows in each state.

use super::*;

impl Machine {
    pub(super) fn start(&mut self, now: Instant) -> Effects {
        if self.state != State::Stopped {
            return Vec::new();
        }
        // What was before it was stopped is not held against it.
        self.unstable = 0;
        self.works = false;
        self.put_on_duty(Which::Good, now)
    }

    pub(super) fn stop(&mut self, now: Instant) -> Effects {
        (self.ended, self.finished) = (false, false);
        let mut effects = self.dismiss(now, Some("stopped before it had proved itself"));
        match self.state {
            State::Stopped | State::Stopping(None) => {}
            // It was told to go already; its deadline stays.
            State::Switching | State::Stopping(Some(_)) => self.state = State::Stopping(None),
            State::Backoff => {
                self.enter(State::Stopping(None), now, None);
                effects.extend(self.settle(now));
            }
            State::Starting | State::Online | State::Reloading | State::HandingOver => {
                effects.extend(self.terminate(State::Stopping(None), now));
            }
        }
        effects
    }

    pub(super) fn stop_now(&mut self, now: Instant) -> Effects {
        let mut effects = self.stop(now);
        if matches!(self.state, State::Stopping(_)) {
            effects.retain(|effect| !matches!(effect, Effect::Terminate(_)));
            effects.extend(self.duty.iter().map(|duty| Effect::Kill(duty.id)));
            effects.extend(self.leaving.iter().map(|(id, _)| Effect::Kill(*id)));
            self.deadline = self.duty.is_some().then_some(now + KILL_AGAIN);
        }
        effects
    }

    /// Forgets what is to come: the standby, and the trial of new versions, which are refused if there is a reason.
    fn dismiss(&mut self, now: Instant, refusal: Option<&str>) -> Effects {
        let mut effects = Vec::new();
        let mut given_up: Vec<Which> = self.pending.take().into_iter().map(|(_, which)| which).collect();
        if let State::Stopping(Some(following)) = self.state {
            given_up.push(following);
        }
        if let Some(standby) = self.standby.take() {
            effects.push(self.see_off(standby.id, now));
            given_up.push(standby.which);
        }
        let Some(why) = refusal else { return effects };
        if let Some(duty) = &mut self.duty {
            given_up.push(std::mem::replace(&mut duty.which, Which::Good));
        }
        effects.extend(given_up.into_iter().filter_map(|which| which.refused(why)));
        effects
    }

    pub(super) fn see_off(&mut self, id: Id, now: Instant) -> Effect {
        self.leaving.push((id, now + KILL_AGAIN));
        Effect::Kill(id)
    }

    /// The new version is on duty, and what goes wrong with it speaks against it.
    fn is_on_trial(&self) -> bool {
        matches!(self.state, State::Starting | State::Online)
            && self.duty.as_ref().is_some_and(|duty| duty.which != Which::Good)
    }

    pub(super) fn terminate(&mut self, state: State, now: Instant) -> Effects {
        self.enter(state, now, Some(self.rules.kill_timeout));
        self.stable_at = None;
        self.duty.iter().map(|duty| Effect::Terminate(duty.id)).collect()
    }

    pub(super) fn restart(&mut self, why: Reason, which: Which, now: Instant) -> Effects {
        if which == Which::Good && self.is_on_trial() {
            return self.condemn(why, now);
        }
        match self.state {
            State::Stopped | State::Stopping(None) => return Vec::new(),
            // Another child is coming anyway.
            State::Starting
            | State::Reloading
            | State::HandingOver
            | State::Switching
            | State::Stopping(_)
                if which == Which::Good =>
            {
                return Vec::new();
            }
            State::HandingOver | State::Switching => {
                self.pending = Some((why, which));
                return Vec::new();
            }
            _ => self.reason = Some(why),
        }
        let mut effects = self.dismiss(now, None);
        match self.state {
            State::Backoff => effects.extend(self.again(which, now)),
            State::Stopping(_) => self.state = State::Stopping(Some(which)),
            _ => effects.extend(self.terminate(State::Stopping(Some(which)), now)),
        }
        effects
    }

    pub(super) fn reload(&mut self, why: Reason, which: Which, now: Instant) -> Effects {
        match self.state {
            State::Stopped if self.ended && why.class == Class::Cron => {
                self.reason = Some(why);
                self.again(which, now)
            }
            _ if which == Which::Good && self.is_on_trial() => self.condemn(why, now),
            State::Online | State::Reloading if !self.rules.stands_by => self.restart(why, which, now),
            State::Reloading | State::HandingOver | State::Switching if which == Which::Good => Vec::new(),
            _ if which == Which::Good && self.rests_until.is_some_and(|until| now < until) => Vec::new(),
            State::HandingOver | State::Switching => {
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

    pub(super) fn condemn(&mut self, why: Reason, now: Instant) -> Effects {
        let on_duty = matches!(
            self.state,
            State::Starting
                | State::Online
                | State::Reloading
                | State::HandingOver
                | State::Switching
                | State::Stopping(_)
        );
        let Some(duty) = self.duty.as_mut().filter(|duty| on_duty && duty.verdict.is_none()) else {
            return Vec::new();
        };
        duty.verdict = Some(why);
        self.deadline = Some(now + KILL_AGAIN);
        vec![Effect::Kill(duty.id)]
    }
}
