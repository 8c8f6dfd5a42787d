//! The versions of an app: what is to be tried next, and what becomes of it.

use super::{
    backoff::Policy,
    cron::Schedule,
    keeper::{Bounds, Held, Place},
    machine::{Number, Rules, State, Which},
    sockets::Sockets,
    unit::Unit,
    version::Version,
    workplace::Workplace,
};
use crate::{
    config::{App, Config, Occasion},
    control::client,
};
use std::{path::Path, sync::Arc};

impl Unit {
    /// The newest version, whether it has proved itself or not.
    pub(super) fn latest(&self) -> &Arc<Version> {
        self.new.as_ref().unwrap_or(&self.good)
    }

    /// The app as its newest version has it.
    pub(super) fn app(&self) -> &App {
        &self.latest().app
    }

    /// Makes what `config` and the program's file are now the version that the next reload or restart tries, and
    /// says which that is.
    ///
    /// # Errors
    /// The new address or program cannot be had; everything stays as it was.
    pub(super) fn prepare(&mut self, config: &Config, app: &App) -> anyhow::Result<Which> {
        let keeps = keeps(&self.log_file, app, &self.place);
        let doors = &self.place.doors;
        let latest = self.latest().held();
        let lost = !client::stats_socket(&self.place.run, &app.name).exists();
        let fits = |held: &Arc<Held>| {
            !lost && held.sockets.is_at(app.listen, doors) && held.bounds() == keeps.bounds
        };
        let held = match latest.iter().chain(&self.good.held()).find(|held| fits(held)) {
            Some(held) => held.clone(),
            None => {
                let sockets = match &latest {
                    Some(held) => held.sockets.renewed(&app.name, app.listen, &self.place.run, doors)?,
                    None => Sockets::bind(&app.name, app.listen, &self.place.run, doors)?,
                };
                Held::new(sockets, keeps, &self.place.keepers)?
            }
        };
        let version = Arc::new(Version::new(config, app, &self.place.program, held)?);
        self.changes.clear();
        let number = version.number;
        if self.is(State::Stopped) {
            // Nothing runs that would have to be protected.
            (self.good, self.new, self.closes) = (version, None, None);
        } else {
            self.new = Some(version);
        }
        self.obey();
        // Who waits for an earlier version waits for what became of this one.
        if let Some(order) = &mut self.order {
            order.version = number;
        }
        Ok(Which::New(number))
    }

    /// The rules are those of the newest version.
    pub(super) fn obey(&mut self) {
        let app = &self.latest().app;
        let (rules, schedule) = (rules(app), app.cron_restart.as_deref().and_then(Schedule::new));
        self.machine.set_rules(rules);
        self.schedule = schedule;
    }

    pub(super) fn keep(&mut self, number: Number) {
        let its = |version: &&Arc<Version>| version.number == number;
        let running = self.children.values().map(|child| &child.version);
        if let Some(version) = running.chain(&self.new).find(its).cloned() {
            self.good = version;
        }
        self.new.take_if(|new| new.number == number);
        self.refusal = None;
        self.tell("kept", Some("this version has proved itself".to_owned()), None);
        self.tried(number, &Ok("the new version is in force".to_owned()));
    }

    pub(super) fn refuse(&mut self, number: Number, why: String) {
        if self.new.take_if(|new| new.number == number).is_some() {
            self.obey();
        }
        let happened = self.tell("refused", Some(why.clone()), None);
        self.place.hooks.call(Occasion::ReloadFailed, &happened);
        self.tried(number, &Err(format!("the new version {why}{}", self.what_instead())));
        self.refusal = Some(why);
    }

    /// What runs after a new version was refused.
    fn what_instead(&self) -> &'static str {
        match self.machine.state() {
            State::Stopped | State::Stopping(None) => "",
            State::Online | State::Reloading => "; the last good one serves",
            _ if self.machine.works() => "; the last good one comes back",
            _ => "; the one before, which did not work either, is tried again",
        }
    }
}

/// Where the keeper of an app is, and how it keeps.
pub(super) fn keeps(log: &Path, app: &App, place: &Workplace) -> Place {
    let bounds = Bounds { size: app.log_max_size, retain: app.log_retain };
    Place { path: place.run.join(format!("{}.keep", app.name)), log: log.to_owned(), bounds }
}

/// What the configuration says about the life of an app.
pub(super) fn rules(app: &App) -> Rules {
    Rules {
        policy: Policy {
            initial: app.exp_backoff_restart_delay,
            fixed: app.restart_delay,
            max_restarts: app.max_restarts,
        },
        autorestart: app.autorestart,
        stop_exit_codes: app.stop_exit_codes.clone(),
        min_uptime: app.min_uptime,
        listen_timeout: app.listen_timeout,
        kill_timeout: app.kill_timeout,
        stands_by: app.command.is_none(),
    }
}
