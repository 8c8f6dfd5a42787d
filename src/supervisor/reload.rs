//! A changed chat.toml: read as a whole, compared with what is in force, and carried out app by app.
//!
//! One that has problems changes nothing: the apps go on, and `status` says what is wrong.

use super::{
    driver::Driver,
    machine::{Class, Event, Reason, State, Which},
    unit::Unit,
};
use crate::{
    config::{Config, Occasion, Watch},
    control::types::Happened,
};

impl Driver {
    /// Reads chat.toml again and carries out what changed in it. `forced`: also for apps that do not watch it.
    pub(super) fn chat_toml_changed(&mut self, forced: bool) {
        if self.read().is_err() {
            return;
        }
        self.come_and_go();
        let config = self.config.clone();
        let mut refused = Vec::new();
        for unit in self.units.iter_mut().filter(|unit| !unit.leaving && !unit.is(State::Stopped)) {
            let Some(app) = config.app(unit.name()).filter(|app| !unit.agrees(&config, app)) else {
                continue;
            };
            if app.watch == Watch::Off && !forced {
                let app = unit.name();
                tracing::info!(app, "chat.toml changed; it does not watch, `chatctl reload` takes it over");
            } else if let Err(error) = unit.reload(&config, &Reason::new(Class::Config, "chat.toml changed"))
            {
                refused.push(format!("{}: {error:#}", unit.name()));
            }
        }
        refused.into_iter().for_each(|problem| self.refuse(problem));
        self.watch();
    }

    /// Stops the apps that chat.toml does not have any more, and starts those that are new in it. One that comes back
    /// while it is still being stopped has its turn when that is done. The names of those that were started.
    pub(super) fn come_and_go(&mut self) -> Vec<String> {
        let (config, mut came) = (self.config.clone(), Vec::new());
        for unit in &mut self.units {
            if !unit.leaving && !config.enabled().any(|app| app.name == unit.name()) {
                tracing::info!(app = unit.name(), "is not in chat.toml any more");
                unit.leaving = true;
                unit.stop("it is not in chat.toml any more");
            }
        }
        for app in config.enabled() {
            if self.units.iter().any(|unit| unit.name() == app.name) {
                continue;
            }
            match Unit::new(&config, app, &self.place) {
                Ok(mut unit) => {
                    unit.step(Event::Start);
                    self.units.push(unit);
                    came.push(app.name.clone());
                }
                Err(error) => self.refuse(format!("{}: {error:#}", app.name)),
            }
        }
        let place = |unit: &Unit| config.apps.iter().position(|app| app.name == unit.name());
        self.units.sort_by_key(|unit| place(unit).unwrap_or(usize::MAX));
        came
    }

    /// Takes over what chat.toml says now; the apps stay as they are until they are told.
    ///
    /// # Errors
    /// It has problems, and everything stays as it was: the lines to show.
    pub(super) fn read(&mut self) -> Result<(), Vec<String>> {
        let Some(path) = self.config.path.clone() else { return Ok(()) };
        let config = match Config::load(Some(&path)) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!("chat.toml has problems; the apps go on as they are:\n{error}");
                self.problems = error.to_string().lines().map(str::to_owned).collect();
                self.call_hooks(&error.to_string());
                return Err(self.problems.clone());
            }
        };
        self.problems.clear();
        if config.state_dir != self.config.state_dir {
            self.refuse("state_dir has changed: that takes a new start of the supervisor".to_owned());
            return Err(self.problems.clone());
        }
        if config.enabled().next().is_none() {
            self.refuse("no app is enabled any more: stop the supervisor instead".to_owned());
            return Err(self.problems.clone());
        }
        self.config = config;
        self.place.hooks.set(&self.config.hooks);
        Ok(())
    }

    /// Reloads an app whose files changed, or every app.
    pub(super) fn reload(&mut self, why: &Reason, concerned: impl Fn(&Unit, &Config) -> bool) {
        if self.stopping {
            return;
        }
        let mut refused = Vec::new();
        for unit in
            self.units.iter_mut().filter(|unit| concerned(unit, &self.config) && !unit.is(State::Stopped))
        {
            let earlier = format!("{}: ", unit.name());
            self.problems.retain(|problem| !problem.starts_with(&earlier));
            if let Err(error) = unit.reload(&self.config, why) {
                refused.push(format!("{}: {error:#}", unit.name()));
            }
        }
        refused.into_iter().for_each(|problem| self.refuse(problem));
    }

    fn refuse(&mut self, problem: String) {
        tracing::error!("not reloaded: {problem}");
        self.call_hooks(&problem);
        self.problems.push(problem);
    }

    /// chat.toml is not in force as it is.
    fn call_hooks(&self, problem: &str) {
        let happened = Happened::now("", "chat.toml refused", Some(problem.to_owned()), None, None);
        self.place.events.record(&happened);
        self.place.hooks.call(Occasion::ReloadFailed, &happened);
    }
}

impl Unit {
    /// Whether what runs is not what chat.toml and the program's file say now: it was taken over.
    pub(super) fn is_outdated(&self, config: &Config) -> bool {
        let app = config.enabled().find(|app| app.name == self.name());
        !self.good.is_current() || app.is_some_and(|app| !self.agrees(config, app))
    }

    /// Whether it runs, or is about to, as chat.toml says.
    fn agrees(&self, config: &Config, app: &crate::config::App) -> bool {
        self.latest().agrees(config, app)
    }

    /// Its time by `cron_restart` has come.
    pub(super) fn clock_strikes(&mut self, why: Reason, config: &Config) {
        let app = config.enabled().find(|app| app.name == self.name() && self.machine.has_ended());
        // It may have let go of its sockets meanwhile, and be another by now.
        if let Some(Err(error)) = app.map(|app| self.prepare(config, app)) {
            self.tell("not started", Some(format!("{why}: {error:#}")), Some(Class::Cron));
            return;
        }
        self.step(Event::Reload(why, Which::Good));
    }

    fn reload(&mut self, config: &Config, why: &Reason) -> anyhow::Result<()> {
        let app = config.enabled().find(|app| app.name == self.name());
        let Some(app) = app else { return Ok(()) };
        let version = self.prepare(config, app)?;
        self.step(Event::Reload(why.clone(), version));
        Ok(())
    }
}
