//! The driver: the one place where everything that happens meets. It waits for the next thing, lets it happen to the
//! apps it concerns, and goes on until all have stopped. It decides nothing: the machines do.

use super::{
    machine::{Event, State},
    memory::Sampler,
    signals::{Signals, Wish},
    unit::{Report, Unit, Workplace},
    watch::{self, Watched},
};
use crate::{
    config::{Config, Watch},
    control::types::{Status, Supervisor},
    error::Failure,
};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, sleep_until},
};

/// Between two samples of the children's memory.
const SAMPLE_EVERY: Duration = Duration::from_millis(200);
/// Quiet time after the last change of chat.toml: editors write in several steps.
const CONFIG_QUIET: Duration = Duration::from_millis(300);

/// A changed file.
pub(super) enum Change {
    /// chat.toml itself.
    Config,
    /// Something an app is made of; as people would name it.
    Of { app: String, what: String },
}

/// Everything that can happen, by where it comes from.
pub(super) struct Incoming {
    pub(super) signals: Signals,
    pub(super) reported: mpsc::Receiver<Report>,
    pub(super) changed: mpsc::Receiver<Change>,
    pub(super) asked: mpsc::Receiver<oneshot::Sender<Status>>,
}

/// See the module.
pub(super) struct Driver {
    pub(super) config: Config,
    pub(super) place: Workplace,
    pub(super) units: Vec<Unit>,
    /// Why the configuration that is there now is not the one in force.
    pub(super) problems: Vec<String>,
    /// When chat.toml has been quiet for long enough to be read.
    config_due: Option<Instant>,
    changes: mpsc::Sender<Change>,
    watcher: Option<Box<dyn Send>>,
    sampler: Sampler,
    started: Instant,
    background: bool,
    announced: bool,
    stopping: bool,
    failure: Option<String>,
}

impl Driver {
    /// # Errors
    /// This machine does not say what its processes use.
    pub(super) fn new(
        config: Config,
        place: Workplace,
        units: Vec<Unit>,
        changes: mpsc::Sender<Change>,
        background: bool,
    ) -> Result<Self, Failure> {
        let sampler = Sampler::new()
            .map_err(|error| Failure::failed(format_args!("cannot measure processes: {error}")))?;
        Ok(Self {
            config,
            place,
            units,
            problems: Vec::new(),
            config_due: None,
            changes,
            watcher: None,
            sampler,
            started: Instant::now(),
            background,
            announced: false,
            stopping: false,
            failure: None,
        })
    }

    /// Starts every app, and returns when all have stopped.
    pub(super) async fn run(mut self, incoming: Incoming) -> Result<(), Failure> {
        let Incoming { mut signals, mut reported, mut changed, mut asked } = incoming;
        tracing::info!(pid = std::process::id(), config = ?self.config.path, "supervising {} apps", self.units.len());
        self.watch();
        self.all(|| Event::Start);
        let mut sampling = interval(SAMPLE_EVERY);
        sampling.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.is_done() {
            let wake = self.wake_at();
            tokio::select! {
                Some(report) = reported.recv() => self.told(report),
                Some(change) = changed.recv() => self.file(change),
                Some(reply) = asked.recv() => drop(reply.send(self.status())),
                wish = signals.next() => self.wish(wish),
                _ = sampling.tick() => self.sample(),
                () = sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => self.tick(),
            }
            self.announce();
        }
        tracing::info!("all apps have stopped");
        self.failure.map_or(Ok(()), |failure| Err(Failure::failed(failure)))
    }

    fn all(&mut self, event: impl Fn() -> Event) {
        self.units.iter_mut().for_each(|unit| unit.step(event()));
    }

    fn is_done(&mut self) -> bool {
        self.units.retain(|unit| !(unit.leaving && unit.is(State::Stopped)));
        self.stopping && self.units.iter().all(|unit| unit.is(State::Stopped))
    }

    fn wake_at(&self) -> Option<Instant> {
        self.units.iter().filter_map(Unit::wake_at).chain(self.config_due).min()
    }

    fn told(&mut self, mut report: Report) {
        for unit in &mut self.units {
            match unit.told(report) {
                Ok(()) => return,
                Err(other) => report = other,
            }
        }
    }

    fn file(&mut self, change: Change) {
        match change {
            Change::Config => self.config_due = Some(Instant::now() + CONFIG_QUIET),
            Change::Of { app, what } => {
                if let Some(unit) = self.units.iter_mut().find(|unit| unit.app.name == app) {
                    unit.step(Event::Changed(what));
                }
            }
        }
    }

    fn wish(&mut self, wish: Wish) {
        match wish {
            Wish::Stop(signal) if self.stopping => {
                tracing::info!("{signal} again: stopping at once");
                self.all(|| Event::StopNow);
            }
            Wish::Stop(signal) => {
                tracing::info!("{signal}: stopping");
                self.stop();
            }
            Wish::Restart if self.stopping => {}
            Wish::Restart => {
                self.reload(true);
                self.all(|| Event::Restart("SIGHUP".to_owned()));
            }
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        self.all(|| Event::Stop);
    }

    fn sample(&mut self) {
        let pids: Vec<u32> = self.units.iter().filter_map(Unit::pid).collect();
        let usages = self.sampler.sample(&pids);
        for (pid, usage) in pids.into_iter().zip(usages) {
            let unit = self.units.iter_mut().find(|unit| unit.pid() == Some(pid));
            if let (Some(unit), Some(usage)) = (unit, usage) {
                unit.sampled(usage);
            }
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.config_due.take_if(|due| *due <= now).is_some() && !self.stopping {
            self.reload(false);
        }
        for unit in self.units.iter_mut().filter(|unit| unit.wake_at().is_some_and(|at| at <= now)) {
            unit.step(Event::Tick);
        }
    }

    /// Says upwards when every app is ready; in the background, gives up when one did not come up.
    fn announce(&mut self) {
        if self.announced || self.stopping {
            return;
        }
        if self.units.iter().all(|unit| unit.is(State::Online)) {
            self.announced = true;
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        } else if self.background
            && let Some(failure) = self.units.iter().find_map(Unit::failed_start)
        {
            self.failure = Some(failure);
            self.stop();
        }
    }

    /// Watches what the apps are made of now.
    pub(super) fn watch(&mut self) {
        let config =
            self.config.path.as_ref().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone()));
        let watched = |unit: &Unit| Watched::new(&self.config, &unit.app, &self.place.program);
        let on_duty = self.units.iter().filter(|unit| unit.app.watch != Watch::Off);
        let watched: Vec<Watched> = on_duty.map(watched).collect();
        let started =
            watch::start(&watched, config.as_deref(), reporter(&watched, config.clone(), &self.changes));
        match started {
            Ok(watcher) => self.watcher = Some(Box::new(watcher)),
            Err(error) => {
                self.problems.push(format!("changes of files are not seen: {error}"));
                tracing::error!("changes of files are not seen: {error}");
            }
        }
    }

    fn status(&self) -> Status {
        Status {
            supervisor: Supervisor {
                pid: std::process::id(),
                uptime_s: self.started.elapsed().as_secs(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                config: self.config.path.clone(),
                config_problems: self.problems.clone(),
            },
            apps: self.units.iter().map(Unit::status).collect(),
        }
    }
}

/// Hands on the changes that count for somebody.
fn reporter(
    watched: &[Watched],
    config: Option<PathBuf>,
    changes: &mpsc::Sender<Change>,
) -> impl Fn(&std::path::Path) + Send + 'static {
    let (watched, changes) = (watched.to_vec(), changes.clone());
    move |path| {
        if config.as_deref() == Some(path) {
            // An error here: the supervisor is gone.
            let _ = changes.blocking_send(Change::Config);
        }
        for watched in &watched {
            if let Some(what) = watched.counts(path) {
                let _ = changes.blocking_send(Change::Of { app: watched.app.clone(), what });
            }
        }
    }
}
