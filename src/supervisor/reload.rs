//! A changed chat.toml: read as a whole, compared with what is in force, and carried out app by app.
//!
//! One that has problems changes nothing: the apps go on, and `status` says what is wrong.

use super::{driver::Driver, machine::Event, unit::Unit};
use crate::config::{App, Config, Watch};

impl Driver {
    /// Reads chat.toml again. `forced`: also for apps that do not watch it.
    pub(super) fn reload(&mut self, forced: bool) {
        let Some(path) = self.config.path.clone() else { return };
        let config = match Config::load(Some(&path)) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!("chat.toml has problems; the apps go on as they are:\n{error}");
                self.problems = error.to_string().lines().map(str::to_owned).collect();
                return;
            }
        };
        self.problems.clear();
        if config.state_dir != self.config.state_dir {
            self.refuse("state_dir has changed: that takes a new start of the supervisor".to_owned());
            return;
        }
        if config.enabled().next().is_none() {
            self.refuse("no app is enabled any more: stop the supervisor instead".to_owned());
            return;
        }
        let old = std::mem::replace(&mut self.config, config.clone());
        for unit in &mut self.units {
            if !config.enabled().any(|app| app.name == unit.app.name) {
                tracing::info!(app = unit.app.name, "is not in chat.toml any more");
                unit.leaving = true;
                unit.step(Event::Stop);
            }
        }
        for app in config.enabled() {
            self.carry_out(app, &old, forced);
        }
        self.watch();
    }

    fn carry_out(&mut self, app: &App, old: &Config, forced: bool) {
        let outcome = match self.units.iter_mut().find(|unit| unit.app.name == app.name && !unit.leaving) {
            None => Unit::new(&self.config, app, &self.place).map(|mut unit| {
                unit.step(Event::Start);
                self.units.push(unit);
            }),
            Some(unit) if unit.app == *app && old.server == self.config.server => Ok(()),
            Some(unit) if app.watch == Watch::Off && !forced => {
                tracing::info!(
                    app = unit.app.name,
                    "chat.toml changed; it does not watch, SIGHUP takes it over"
                );
                Ok(())
            }
            Some(unit) => unit.change(&self.config, app, &self.place).map(|()| {
                unit.step(Event::Restart("chat.toml changed".to_owned()));
            }),
        };
        if let Err(error) = outcome {
            self.refuse(format!("{}: {error:#}", app.name));
        }
    }

    fn refuse(&mut self, problem: String) {
        tracing::error!("chat.toml changed: {problem}");
        self.problems.push(problem);
    }
}
