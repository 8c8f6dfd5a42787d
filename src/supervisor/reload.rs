//! A changed chat.toml: read as a whole, compared with what is in force, and carried out app by app.
//!
//! One that has problems changes nothing: the apps go on, and `status` says what is wrong.

use super::{
    driver::Driver,
    machine::{Event, State},
    unit::Unit,
};
use crate::config::{Config, Watch};

impl Driver {
    /// Reads chat.toml again and carries out what changed in it. `forced`: also for apps that do not watch it.
    pub(super) fn chat_toml_changed(&mut self, forced: bool) {
        if self.read().is_err() {
            return;
        }
        let config = self.config.clone();
        for unit in &mut self.units {
            if !config.enabled().any(|app| app.name == unit.name()) {
                tracing::info!(app = unit.name(), "is not in chat.toml any more");
                unit.leaving = true;
                unit.step(Event::Stop);
            }
        }
        for app in config.enabled() {
            let found = self.units.iter_mut().find(|unit| unit.name() == app.name && !unit.leaving);
            let outcome = match found {
                None => Unit::new(&config, app, &self.place).map(|mut unit| {
                    unit.step(Event::Start);
                    self.units.push(unit);
                }),
                Some(unit) if unit.agrees(&config, app) || unit.is(State::Stopped) => Ok(()),
                Some(unit) if app.watch == Watch::Off && !forced => {
                    let name = unit.name();
                    tracing::info!(
                        app = name,
                        "chat.toml changed; it does not watch, `chatctl reload` takes it over"
                    );
                    Ok(())
                }
                Some(unit) => unit.reload(&config, "chat.toml changed"),
            };
            if let Err(error) = outcome {
                self.refuse(format!("{}: {error:#}", app.name));
            }
        }
        self.watch();
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
        Ok(())
    }

    /// Reloads an app whose files changed, or every app.
    pub(super) fn reload(&mut self, why: &str, concerned: impl Fn(&Unit, &Config) -> bool) {
        if self.stopping {
            return;
        }
        let mut refused = Vec::new();
        for unit in
            self.units.iter_mut().filter(|unit| concerned(unit, &self.config) && !unit.is(State::Stopped))
        {
            if let Err(error) = unit.reload(&self.config, why) {
                refused.push(format!("{}: {error:#}", unit.name()));
            }
        }
        refused.into_iter().for_each(|problem| self.refuse(problem));
    }

    fn refuse(&mut self, problem: String) {
        tracing::error!("not reloaded: {problem}");
        self.problems.push(problem);
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

    fn reload(&mut self, config: &Config, why: &str) -> anyhow::Result<()> {
        let app = config.enabled().find(|app| app.name == self.name());
        let Some(app) = app else { return Ok(()) };
        let version = self.prepare(config, app)?;
        self.step(Event::Reload(why.to_owned(), version));
        Ok(())
    }
}
