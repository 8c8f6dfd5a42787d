//! The driver: the one place where everything that happens meets. It waits for the next thing, lets it happen to the
//! apps it concerns, and goes on until all have stopped. It decides nothing: the machines do.

mod files;

use super::{
    Counter,
    machine::{Class, Event, Reason, State},
    memory::Sampler,
    quiet::Quiet,
    signals::{Signals, Wish},
    tree,
    unit::Unit,
    upward::{self, Upward, Watchdog},
    words::FailedStart,
    workplace::{Report, Workplace},
};
use crate::{
    config::Config,
    control::{
        server::Ask,
        types::{Action, Outcome},
    },
    error::Failure,
};
use files::Changes;
use futures_util::future::join_all;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, sleep_until},
};

/// Between two samples of the children's memory.
const SAMPLE_EVERY: Duration = Duration::from_millis(200);

/// Everything that can happen, but for changes of files, by where it comes from.
pub(super) struct Incoming {
    pub(super) signals: Signals,
    pub(super) reported: mpsc::Receiver<Report>,
    pub(super) asked: mpsc::Receiver<Ask>,
}

/// See the module.
pub(super) struct Driver {
    pub(super) config: Config,
    pub(super) place: Arc<Workplace>,
    pub(super) units: Vec<Unit>,
    /// Why the configuration that is there now is not the one in force.
    pub(super) problems: Vec<String>,
    /// Why changes of files are not seen.
    pub(super) blind: Option<String>,
    /// Changes of chat.toml.
    config_changes: Quiet,
    changes: Arc<Changes>,
    counter: Counter,
    /// Why the state directory is not there and cannot be made anew.
    homeless: Option<String>,
    watcher: Option<Box<dyn Send>>,
    sampler: Sampler,
    pub(super) started: Instant,
    background: bool,
    upward: Upward,
    pub(super) stopping: bool,
    failure: Option<FailedStart>,
}

impl Driver {
    /// # Errors
    /// This machine does not say what its processes use.
    pub(super) fn new(
        config: Config,
        place: Arc<Workplace>,
        units: Vec<Unit>,
        counter: Counter,
        background: bool,
    ) -> Result<Self, Failure> {
        let sampler = Sampler::new()
            .map_err(|error| Failure::failed(format_args!("cannot measure processes: {error}")))?;
        Ok(Self {
            config,
            place,
            units,
            problems: Vec::new(),
            blind: None,
            config_changes: Quiet::default(),
            changes: Arc::default(),
            counter,
            homeless: None,
            watcher: None,
            sampler,
            started: Instant::now(),
            background,
            upward: Upward::default(),
            stopping: false,
            failure: None,
        })
    }

    /// Starts every app, and returns when all have stopped.
    ///
    /// # Errors
    /// In the background: which app did not come up.
    pub(super) async fn run(mut self, incoming: Incoming) -> Result<(), FailedStart> {
        let Incoming { mut signals, mut reported, mut asked } = incoming;
        let changes = self.changes.clone();
        tracing::info!(pid = std::process::id(), config = ?self.config.path, "supervising {} apps", self.units.len());
        self.watch();
        self.all(|| Event::Start);
        let outdated = Reason::new(Class::Config, "what was taken over is not what is there now");
        self.reload(&outdated, Unit::is_outdated);
        let mut watchdog = Watchdog::new();
        let mut sampling = interval(SAMPLE_EVERY);
        sampling.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.is_done() {
            let wake = self.wake_at();
            tokio::select! {
                Some(report) = reported.recv() => self.told(report),
                some = changes.next() => some.into_iter().for_each(|change| self.file(change)),
                Some(ask) = asked.recv() => self.asked(ask),
                wish = signals.next() => self.wish(wish),
                _ = sampling.tick() => {
                    self.settle_in();
                    self.sample();
                }
                () = watchdog.due() => upward::alive(),
                () = sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => self.tick(),
            }
            self.announce();
        }
        tracing::info!("all apps have stopped");
        self.failure.map_or(Ok(()), Err)
    }

    fn all(&mut self, event: impl Fn() -> Event) {
        self.units.iter_mut().for_each(|unit| unit.step(event()));
    }

    fn is_done(&mut self) -> bool {
        let before = self.units.len();
        self.units.retain(|unit| !(unit.leaving && unit.is(State::Stopped)));
        if self.units.len() < before && !self.stopping {
            self.come_and_go();
            self.watch();
        }
        self.stopping && self.units.iter().all(|unit| unit.is(State::Stopped))
    }

    fn wake_at(&self) -> Option<Instant> {
        self.units.iter().filter_map(Unit::wake_at).chain(self.config_changes.wake_at()).min()
    }

    /// Makes the state directory anew if somebody has removed it: the apps take their sockets there, and who comes next
    /// is to find its lock taken.
    fn settle_in(&mut self) {
        if self.stopping || (self.place.state.is_there() && self.counter.path.exists()) {
            return;
        }
        let made = self.place.state.renew().map_err(anyhow::Error::from);
        match made.and_then(|()| self.counter.open()) {
            Ok(()) => {
                self.homeless = None;
                tracing::warn!("the state directory was removed; it is made anew");
                self.reload(&Reason::new(Class::Config, "the state directory was removed"), |_, _| true);
            }
            Err(error) => {
                let why = Some(format!("{error:#}"));
                // It is tried again and again, and said once.
                if self.homeless != why {
                    tracing::error!("the state directory was removed, and cannot be made anew: {error:#}");
                    self.homeless = why;
                }
            }
        }
    }

    fn told(&mut self, mut report: Report) {
        self.settle_in();
        for unit in &mut self.units {
            match unit.told(report) {
                Ok(()) => return,
                Err(other) => report = other,
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
                self.stop(signal);
            }
            Wish::Reload if self.stopping => {}
            Wish::Reload => {
                self.upward.reloading();
                self.chat_toml_changed(true);
                if self.problems.is_empty() {
                    self.reload(&Reason::new(Class::Asked, "SIGHUP"), |_, _| true);
                }
            }
            Wish::Reopen => {
                tracing::info!("SIGUSR1: logs that were moved away are made anew with their next line")
            }
            Wish::Reap => {
                let children = self.units.iter().flat_map(|unit| unit.children.values());
                let own = children.map(|child| child.pid).chain(self.place.hooks.children());
                tree::reap(&own.collect::<Vec<_>>());
            }
        }
    }

    fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::Status(reply) => drop(reply.send(self.status())),
            Ask::Shutdown if self.stopping => {}
            Ask::Shutdown => {
                tracing::info!("asked to shut down: stopping");
                self.stop("asked to shut down");
            }
            Ask::Act(action, apps, reply) => {
                let outcomes = self.act(action, &apps);
                // Who asked may be gone when the last effect is there.
                tokio::spawn(
                    async move { reply.send(join_all(outcomes).await.into_iter().flatten().collect()) },
                );
            }
        }
    }

    /// Gives the order to each of these apps, or to all.
    fn act(&mut self, action: Action, apps: &[String]) -> Vec<oneshot::Receiver<Outcome>> {
        let problems = match action {
            _ if self.stopping => Some("the supervisor is stopping".to_owned()),
            Action::Stop => None,
            _ => self.read().err().map(|lines| format!("nothing was changed:\n{}", lines.join("\n"))),
        };
        let news = problems.is_none() && action != Action::Stop;
        let came = if news { self.come_and_go() } else { Vec::new() };
        let here = self.units.iter().filter(|unit| !unit.leaving);
        let known: Vec<String> = here.map(|unit| unit.name().to_owned()).collect();
        let names = if apps.is_empty() { known.clone() } else { apps.to_vec() };
        let give = |name: String| {
            let (reply, outcome) = oneshot::channel();
            match (self.units.iter_mut().find(|unit| unit.name() == name), &problems) {
                (None, _) => drop(
                    reply
                        .send(Outcome::new(&name, Err(absence(&name, &known, &self.config, &self.problems)))),
                ),
                (_, Some(problem)) => drop(reply.send(Outcome::new(&name, Err(problem.clone())))),
                // It has only just been started, as everything is now.
                (Some(unit), None) if came.contains(&name) => unit.order(Action::Start, &self.config, reply),
                (Some(unit), None) => unit.order(action, &self.config, reply),
            }
            outcome
        };
        let outcomes = names.into_iter().map(give).collect();
        if news {
            // What came just now has been seen to by the order, and is to be watched from now on.
            self.watch();
        }
        outcomes
    }

    fn stop(&mut self, why: &str) {
        self.stopping = true;
        self.upward.stopping();
        self.units.iter_mut().for_each(|unit| unit.stop(why));
    }

    fn sample(&mut self) {
        let children = self.units.iter().flat_map(|unit| unit.children.values());
        let pids: Vec<u32> = children.map(|child| child.pid).collect();
        let usages = self.sampler.sample(&pids);
        for (pid, usage) in pids.into_iter().zip(usages) {
            if let Some(usage) = usage {
                self.units.iter_mut().for_each(|unit| unit.sampled(pid, usage));
            }
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.config_changes.take(now).is_some() && !self.stopping {
            self.chat_toml_changed(false);
        }
        let changed = |unit: &mut Unit| Some((unit.name().to_owned(), unit.changes.take(now)?));
        let changed: Vec<_> = self.units.iter_mut().filter_map(changed).collect();
        let mut reread = false;
        for unit in &mut self.units {
            if let Some(what) = unit.rereads.take(now) {
                unit.reread(what);
                reread = true;
            }
        }
        if reread || !changed.is_empty() {
            // What is watched may be there only now, or be another.
            self.watch();
        }
        for (app, what) in changed {
            let why = Reason::new(Class::File, format!("{what} changed"));
            self.reload(&why, |unit, _| unit.name() == app);
        }
        for unit in self.units.iter_mut().filter(|unit| unit.wake_at().is_some_and(|at| at <= now)) {
            unit.tick(&self.config);
        }
    }

    /// Says upwards how it stands, and when every app is ready; in the background, gives up when one did not come up.
    fn announce(&mut self) {
        self.upward.follow(&self.units, self.stopping);
        if self.upward.was_ready() || self.stopping {
            return;
        }
        if self.units.iter().all(|unit| unit.is(State::Online) || unit.machine.has_finished()) {
            self.upward.ready();
        } else if self.background
            && let Some(failure) = self.units.iter().find_map(Unit::failed_start)
        {
            self.failure = Some(failure);
            self.stop("not every app came up");
        }
    }
}

/// Why there is no app of this name.
fn absence(name: &str, known: &[String], config: &Config, problems: &[String]) -> String {
    if config.app(name).is_some_and(|app| !app.enabled) {
        return "chat.toml has it with `enabled = false`".to_owned();
    }
    let its = |problem: &String| Some(problem.strip_prefix(name)?.strip_prefix(": ")?.to_owned());
    let unknown = || format!("there is no app of this name; there are {}", known.join(", "));
    problems.iter().find_map(its).unwrap_or_else(unknown)
}
