//! One app under supervision: its machine, its versions, its children, and what is known of them.
//!
//! Here a machine's effects become deeds, and every event with its outcome is logged.

use super::{
    backoff::Policy,
    ceiling::Ceiling,
    child::{self, Child, News},
    cron::Schedule,
    events::Events,
    keeper::{Bounds, Held, Place},
    logs,
    machine::{Effect, Event, Exit, Id, Machine, Number, Rules, State, Which},
    memory::Usage,
    orders::Order,
    probe::Answer,
    quiet::Quiet,
    sockets::{Doors, Sockets},
    state_dir, tree,
    unix::Notice,
    version::Version,
};
use crate::{
    config::{App, Config},
    control::client,
    error::Failure,
};
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};
use tokio::sync::mpsc;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// What all units have in common.
pub(super) struct Workplace {
    /// The program the children run, resolved once: a replaced binary keeps its path.
    pub(super) program: PathBuf,
    /// Folder of the Unix sockets and pid files.
    pub(super) run: PathBuf,
    /// Where the children's news go.
    pub(super) reports: mpsc::Sender<Report>,
    /// What happened, for people to read later.
    pub(super) events: Events,
    /// Where clients connect.
    pub(super) doors: Doors,
    /// Watches over the keepers; done when the last one is.
    pub(super) keepers: TaskTracker,
}

impl Workplace {
    /// # Errors
    /// The program's own path is not to be found out, or the history not to be written.
    pub(super) fn new(run: PathBuf, events: Events, reports: mpsc::Sender<Report>) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::failed(format_args!("cannot find the chatctl program: {error}")))?;
        Ok(Self { program, run, reports, events, doors: Doors::default(), keepers: TaskTracker::new() })
    }
}

/// What became known of one child of one unit.
pub(super) struct Report {
    pub(super) unit: u64,
    pub(super) child: Id,
    pub(super) what: Told,
}

/// See [`Report`].
pub(super) enum Told {
    News(News),
    Probe(Answer),
}

/// See the module.
pub(super) struct Unit {
    /// To be taken off the list when it has stopped.
    pub(super) leaving: bool,
    pub(super) machine: Machine,
    /// The version that is known to work.
    pub(super) good: Arc<Version>,
    /// The newest one, as long as it has not proved itself.
    pub(super) new: Option<Arc<Version>>,
    pub(super) children: BTreeMap<Id, Running>,
    pub(super) log_file: PathBuf,
    /// What somebody asked for and waits for.
    pub(super) order: Option<Order>,
    /// Why the last reload was refused, until one is not.
    pub(super) refusal: Option<String>,
    /// The ceiling is lower than what it needs.
    pub(super) ceiling_too_low: bool,
    /// Why it is to be stopped, until that is written down.
    ending: Option<String>,
    /// Changes of its files.
    pub(super) changes: Quiet,
    /// Changes of files that its server reads by itself.
    pub(super) rereads: Quiet,
    /// When it is restarted by the clock.
    schedule: Option<Schedule>,
    pub(super) key: u64,
    pub(super) ceiling: Ceiling,
    pub(super) place: Arc<Workplace>,
}

/// A child that runs.
pub(super) struct Running {
    pub(super) pid: u32,
    pub(super) version: Arc<Version>,
    /// How long the log was before it.
    log_began: u64,
    pub(super) usage: Usage,
    pub(super) probed: Option<Answer>,
    pub(super) failures: u32,
    pub(super) ready: Option<Instant>,
    /// A file that it has read has changed before it was ready.
    pub(super) outdated: bool,
    /// Where it is told to go to work; an adopted one is at work.
    go: Option<UnixStream>,
    pub(super) probing: Option<AbortOnDropHandle<()>>,
}

impl Unit {
    /// Binds its sockets and starts its keeper, or takes over from an earlier supervisor's keeper.
    ///
    /// # Errors
    /// Says what could not be had and what to do.
    pub(super) fn new(config: &Config, app: &App, place: &Arc<Workplace>) -> anyhow::Result<Self> {
        static UNITS: AtomicU64 = AtomicU64::new(1);
        let log_file = config.log_file(&app.name);
        let keeps = keeps(&log_file, app, place);
        let (held, orphan) = match Held::adopt(keeps.clone(), &place.doors, &place.keepers) {
            Some(held) => (held, state_dir::left_behind(&place.run, &app.name)),
            None => {
                state_dir::clear_orphan(&place.run, &app.name, app.kill_timeout);
                let sockets = Sockets::bind(&app.name, app.listen, &place.run, &place.doors)?;
                (Held::new(sockets, keeps.clone(), &place.keepers)?, None)
            }
        };
        let orphan = orphan.and_then(|pid| Child::adopt(pid).ok());
        let in_use: Vec<&Path> =
            orphan.as_ref().map(Child::notify_path).into_iter().chain([held.at()]).collect();
        state_dir::clear_sockets(&place.run, &app.name, &in_use);
        let good = match &orphan {
            Some(orphan) => Version::adopted(config, app, &place.program, held, orphan.pid)?,
            None if held.sockets.is_at(app.listen) => Version::new(config, app, &place.program, held)?,
            None => {
                let sockets = held.sockets.moved(app.listen, &place.doors)?;
                let held = Held::new(sockets, keeps, &place.keepers)?;
                Version::new(config, app, &place.program, held)?
            }
        };
        let mut unit = Self {
            leaving: false,
            machine: Machine::new(rules(&good.app), Instant::now()),
            schedule: good.app.cron_restart.as_deref().and_then(Schedule::new),
            good: Arc::new(good),
            new: None,
            children: BTreeMap::new(),
            log_file,
            order: None,
            refusal: None,
            ceiling_too_low: false,
            ending: None,
            changes: Quiet::default(),
            rereads: Quiet::default(),
            key: UNITS.fetch_add(1, Relaxed),
            ceiling: Ceiling::default(),
            place: place.clone(),
        };
        if let Some(orphan) = orphan {
            unit.take_over(orphan);
        }
        Ok(unit)
    }

    /// A child that an earlier supervisor left behind goes on as it is.
    fn take_over(&mut self, child: Child) {
        self.step(Event::Adopted);
        let Some((id, _)) = self.machine.duty() else { return };
        self.attend(id, child, self.good.clone(), None);
        self.tell("taken over", Some("an earlier supervisor left it behind".to_owned()));
        self.is_ready(id);
    }

    pub(super) fn name(&self) -> &str {
        &self.good.app.name
    }

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
        let latest = self.latest().held();
        let fits = |held: &Arc<Held>| held.sockets.is_at(app.listen) && held.bounds() == keeps.bounds;
        let held = match latest.iter().chain(&self.good.held()).find(|held| fits(held)) {
            Some(held) => held.clone(),
            None => {
                let doors = &self.place.doors;
                let sockets = match &latest {
                    Some(held) if held.sockets.is_at(app.listen) => held.sockets.again()?,
                    Some(held) => held.sockets.moved(app.listen, doors)?,
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
            (self.good, self.new) = (version, None);
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
    fn obey(&mut self) {
        let app = &self.latest().app;
        let (rules, schedule) = (rules(app), app.cron_restart.as_deref().and_then(Schedule::new));
        self.machine.set_rules(rules);
        self.schedule = schedule;
    }

    /// It is not to run any more.
    pub(super) fn stop(&mut self, why: &str) {
        self.ending = Some(why.to_owned());
        self.step(Event::Stop);
    }

    /// Lets an event happen to it.
    pub(super) fn step(&mut self, event: Event) {
        let (before, restarts) = (self.machine.word(), self.machine.restarts());
        tracing::debug!(app = self.name(), ?event);
        for effect in self.machine.step(event, Instant::now(), chance()) {
            self.perform(effect);
        }
        let after = self.machine.word();
        if before != after || restarts != self.machine.restarts() {
            let why = match (before, after) {
                (_, "online") | ("stopping", "stopped") => None,
                (_, "stopping" | "stopped") if self.ending.is_some() => self.ending.take(),
                _ => self.machine.reason().map(str::to_owned),
            };
            self.tell(after, why);
        }
        if self.is(State::Stopped) {
            self.good.let_go();
            self.new = None;
        }
        self.settle_order();
    }

    fn perform(&mut self, effect: Effect) {
        let pid = |id| self.children.get(&id).map(|child| child.pid);
        match effect {
            Effect::Spawn { id, which, go } => self.spawn(id, which, go),
            Effect::Go(id) => self.put_to_work(id),
            Effect::Terminate(id) => pid(id).into_iter().for_each(child::terminate),
            Effect::Kill(id) => pid(id).into_iter().for_each(tree::kill),
            Effect::Kept(number) => self.keep(number),
            Effect::Refused(number, why) => self.refuse(number, why),
            Effect::NotReplaced(why) => {
                self.tell("not replaced", Some(format!("its successor {why}")));
            }
        }
    }

    fn keep(&mut self, number: Number) {
        let its = |version: &&Arc<Version>| version.number == number;
        let running = self.children.values().map(|child| &child.version);
        if let Some(version) = running.chain(&self.new).find(its).cloned() {
            self.good = version;
        }
        self.new.take_if(|new| new.number == number);
        self.refusal = None;
        self.tell("kept", None);
        self.tried(number, &Ok("the new version is in force".to_owned()));
    }

    fn refuse(&mut self, number: Number, why: String) {
        if self.new.take_if(|new| new.number == number).is_some() {
            self.obey();
        }
        self.tell("refused", Some(why.clone()));
        self.tried(number, &Err(format!("the new version {why}; the last good one serves")));
        self.refusal =
            Some(why).filter(|_| !matches!(self.machine.state(), State::Stopping(None) | State::Stopped));
    }

    /// Of a version that is not known to work, the last line that was written since it was started says more than its
    /// exit code.
    fn last_words(&self, id: Id) -> Option<String> {
        let child = self.children.get(&id).filter(|child| child.version.number != self.good.number)?;
        if self.log_length() <= child.log_began {
            return None;
        }
        let line = logs::tail(&self.log_file, 1).ok()?.pop()?;
        line.split_once(" err | ").map(|(_, words)| words.trim().to_owned())
    }

    fn log_length(&self) -> u64 {
        std::fs::metadata(&self.log_file).map_or(0, |file| file.len())
    }

    /// The one place where what happens to an app is written down.
    pub(super) fn tell(&self, what: &str, why: Option<String>) {
        let pid = self.on_duty().map(|child| child.pid);
        tracing::info!(app = self.name(), pid, why, "{what}");
        self.place.events.record(self.name(), what, why, pid);
    }

    fn spawn(&mut self, id: Id, which: Which, go: bool) {
        let tried = self.new.as_ref().filter(|new| which == Which::New(new.number));
        let version = tried.unwrap_or(&self.good).clone();
        // Its supervisor is in the name: a child that was taken over has its own.
        let notify = format!("{}.{}-{id}.notify", self.name(), std::process::id());
        match Child::spawn(&version, self.place.run.join(notify)) {
            Ok((child, stream)) => {
                self.attend(id, child, version.clone(), Some(stream));
                if version.app.command.as_ref().is_some_and(|command| !command.wait_ready) {
                    self.report(id, News::Said(Notice::Ready));
                }
                if go {
                    self.put_to_work(id);
                }
            }
            Err(error) => {
                let exit = Exit { code: None, how: format!("could not be started: {error:#}") };
                self.report(id, News::Exited(exit, None));
            }
        }
    }

    /// Tells itself of a child, in its turn.
    fn report(&self, id: Id, news: News) {
        let report = Report { unit: self.key, child: id, what: Told::News(news) };
        let reports = self.place.reports.clone();
        tokio::spawn(async move { reports.send(report).await });
    }

    /// Listens to a child until its end.
    fn attend(&mut self, id: Id, mut child: Child, version: Arc<Version>, go: Option<UnixStream>) {
        let (pid, unit, reports) = (child.pid, self.key, self.place.reports.clone());
        tokio::spawn(async move {
            loop {
                let news = child.news().await;
                let last = matches!(news, News::Exited(..));
                let report = Report { unit, child: id, what: Told::News(news) };
                if reports.send(report).await.is_err() || last {
                    break;
                }
            }
        });
        let usage = Usage::default();
        let log_began = self.log_length();
        let running = Running {
            pid,
            version,
            log_began,
            usage,
            probed: None,
            failures: 0,
            ready: None,
            outdated: false,
            go,
            probing: None,
        };
        self.children.insert(id, running);
    }

    fn put_to_work(&mut self, id: Id) {
        if let Some(running) = self.children.get(&id) {
            // In this order: were the supervisor killed in between, the child would end by itself.
            if let Some(Err(error)) = running.version.held().map(|held| held.lead()) {
                tracing::warn!(app = self.name(), "the next supervisor will not find its keeper: {error}");
            }
            state_dir::record(&self.place.run, self.name(), running.pid);
            running.go.iter().for_each(child::go);
        }
    }

    /// Takes what became known of one of its children; what is about another unit's comes back.
    pub(super) fn told(&mut self, report: Report) -> Result<(), Report> {
        if report.unit != self.key {
            return Err(report);
        }
        let id = report.child;
        match report.what {
            Told::News(News::Said(Notice::StandsBy)) => self.step(Event::StandsBy(id)),
            Told::News(News::Said(Notice::Ready)) => self.is_ready(id),
            Told::News(News::Said(Notice::Released)) => {
                self.leave_alone(id);
                self.step(Event::Released(id));
            }
            Told::News(News::Exited(mut exit, status)) => {
                if let Some(words) = status.or_else(|| self.last_words(id)) {
                    exit.how = format!("{} ({words})", exit.how);
                }
                let pid = self.children.get(&id).map(|child| child.pid);
                state_dir::forget(&self.place.run, self.name(), pid);
                self.step(Event::Exited(id, exit));
                self.children.remove(&id);
            }
            Told::Probe(answer) => self.probed(id, answer),
        }
        Ok(())
    }

    /// The child on duty.
    pub(super) fn on_duty(&self) -> Option<&Running> {
        self.children.get(&self.machine.duty()?.0)
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        let schedule = self.schedule.as_ref().map(Schedule::wake_at);
        self.machine
            .wake_at()
            .into_iter()
            .chain(self.changes.wake_at())
            .chain(self.rereads.wake_at())
            .chain(schedule)
            .min()
    }

    /// Time has passed.
    pub(super) fn tick(&mut self) {
        let looked = self.schedule.as_mut().filter(|schedule| schedule.wake_at() <= Instant::now());
        if let Some(schedule) = looked
            && schedule.is_due()
        {
            let why = format!("cron_restart {}", schedule.text());
            self.step(Event::Reload(why, Which::Good));
        }
        self.step(Event::Tick);
    }

    pub(super) fn is(&self, state: State) -> bool {
        self.machine.state() == state
    }

    /// Why its first start did not succeed, once it is known that it did not.
    pub(super) fn failed_start(&self) -> Option<String> {
        let gone = self.machine.restarts() > 0 || self.is(State::Stopped) || self.is(State::Backoff);
        gone.then(|| format!("{}: {}", self.name(), self.machine.reason().unwrap_or("stopped")))
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(client::stats_socket(&self.place.run, self.name()));
    }
}

fn keeps(log: &Path, app: &App, place: &Workplace) -> Place {
    let bounds = Bounds { size: app.log_max_size, retain: app.log_retain };
    Place { path: place.run.join(format!("{}.keep", app.name)), log: log.to_owned(), bounds }
}

fn rules(app: &App) -> Rules {
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

/// A number from 0 to 1, for the backoff's jitter.
fn chance() -> f64 {
    let random = RandomState::new().build_hasher().finish() >> 32;
    f64::from(u32::try_from(random).unwrap_or(0)) / f64::from(u32::MAX)
}
