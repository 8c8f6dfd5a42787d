//! One app under supervision: its machine, its versions, its children, and what is known of them.
//!
//! Here a machine's effects become deeds, and every event with its outcome is logged.

use super::{
    ceiling::Ceiling,
    child::{self, Child, News},
    cron::Schedule,
    keeper::Held,
    machine::{Class, Effect, Event, Exit, Id, Machine, Reason, State, Which},
    memory::Usage,
    occasions::Look,
    orders::Order,
    probe::Answer,
    quiet::Quiet,
    sockets::Sockets,
    state_dir, tree, trial,
    unix::{self, Notice},
    version::Version,
    words::{self, FailedStart},
    workplace::{Report, Told, Workplace},
};
use crate::{
    config::{App, Config},
    control::client,
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
    time::{Duration, Instant},
};
use tokio_util::task::AbortOnDropHandle;

/// A stopped app is often started again soon. For so long who connects waits for that; then nobody is to wait in vain.
const OPEN: Duration = Duration::from_secs(5);
/// A program that does not say when it is ready counts as ready when it has run for so long: one that cannot work at
/// all (a missing module, a wrong argument) has ended by then.
const SETTLED: Duration = Duration::from_secs(1);

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
    /// How long that was when this supervisor began.
    log_began: u64,
    /// What somebody asked for and waits for.
    pub(super) order: Option<Order>,
    /// Its restarts, by the kind of reason.
    pub(super) restarts_by: BTreeMap<Class, u64>,
    /// Why the last reload was refused, until one is not.
    pub(super) refusal: Option<String>,
    /// It failed, or was degraded, and has not recovered.
    pub(super) ailing: bool,
    pub(super) degraded: bool,
    /// The ceiling is lower than what it needs.
    pub(super) ceiling_too_low: bool,
    /// When it lets go of its sockets, once it is stopped.
    pub(super) closes: Option<Instant>,
    /// Why it is to be stopped, until that is written down.
    ending: Option<String>,
    /// Changes of its files.
    pub(super) changes: Quiet,
    /// Changes of files that its server reads by itself.
    pub(super) rereads: Quiet,
    /// When it is restarted by the clock.
    pub(super) schedule: Option<Schedule>,
    pub(super) key: u64,
    pub(super) ceiling: Ceiling,
    pub(super) place: Arc<Workplace>,
}

/// A child that runs.
pub(super) struct Running {
    pub(super) pid: u32,
    pub(super) version: Arc<Version>,
    /// How long it had lived before it came here.
    pub(super) age: Duration,
    /// How long the log was before it.
    pub(super) log_began: u64,
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
        let keeps = trial::keeps(&log_file, app, place);
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
            None if held.sockets.is_at(app.listen, &place.doors) => {
                Version::new(config, app, &place.program, held)?
            }
            None => {
                let sockets = held.sockets.renewed(&app.name, app.listen, &place.run, &place.doors)?;
                let held = Held::new(sockets, keeps, &place.keepers)?;
                Version::new(config, app, &place.program, held)?
            }
        };
        let mut unit = Self {
            leaving: false,
            machine: Machine::new(trial::rules(&good.app), Instant::now()),
            schedule: good.app.cron_restart.as_deref().and_then(Schedule::new),
            good: Arc::new(good),
            new: None,
            children: BTreeMap::new(),
            log_began: words::length(&log_file),
            log_file,
            order: None,
            restarts_by: BTreeMap::new(),
            refusal: None,
            ailing: false,
            degraded: false,
            ceiling_too_low: false,
            ending: None,
            closes: None,
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
        let age = state_dir::age(child.pid).unwrap_or_default();
        self.attend(id, child, self.good.clone(), None);
        self.children.get_mut(&id).into_iter().for_each(|child| child.age = age);
        self.tell("taken over", Some("an earlier supervisor left it behind".to_owned()), None);
        self.is_ready(id);
    }

    pub(super) fn name(&self) -> &str {
        &self.good.app.name
    }

    /// It is not to run any more.
    pub(super) fn stop(&mut self, why: &str) {
        self.ending = Some(why.to_owned());
        self.step(Event::Stop);
    }

    /// Lets an event happen to it.
    pub(super) fn step(&mut self, event: Event) {
        let (before, restarts) = (self.machine.word(), self.machine.restarts());
        let (look, in_time) = (Look::at(&self.machine), event != Event::Tick);
        tracing::debug!(app = self.name(), ?event);
        for effect in self.machine.step(event, Instant::now(), chance()) {
            if !in_time && matches!(effect, Effect::Kill(_)) {
                self.tell_of_outstaying();
            }
            self.perform(effect);
        }
        let after = self.machine.word();
        let restarted = self.machine.restarts() - restarts;
        let class = self.machine.reason_class();
        if restarted > 0 {
            *self.restarts_by.entry(class.unwrap_or(Class::Crash)).or_default() += u64::from(restarted);
        }
        if before != after || restarted > 0 {
            let why = match (before, after) {
                (_, "online") | ("stopping", "stopped") => None,
                // What it was before is over.
                ("stopped", _) if restarted == 0 => self.order.as_ref().map(Order::reason),
                (_, "stopping" | "stopped") if self.ending.is_some() => {
                    self.ending.take().map(|why| Reason::new(Class::Asked, why))
                }
                _ => self.machine.cause().cloned(),
            };
            let (why, class) = why.map_or((None, None), |why| (Some(why.text), Some(why.class)));
            self.tell(after, why.or_else(|| self.trial()), class);
        }
        self.call_hooks(look);
        if self.is(State::Stopped) {
            self.closes.get_or_insert(Instant::now() + OPEN);
            (self.new, self.refusal) = (None, None);
        }
        self.settle_order();
    }

    fn perform(&mut self, effect: Effect) {
        let pid = |id| self.children.get(&id).map(|child| child.pid);
        match effect {
            Effect::Spawn { id, which, go } => self.spawn(id, which, go),
            Effect::Go(id) => self.put_to_work(id),
            Effect::HandOver(id) => self.hand_over(id),
            Effect::Terminate(id) => {
                let child = self.children.get(&id);
                child.into_iter().for_each(|child| child::terminate(child.pid, child.version.kill_signal()));
            }
            Effect::Kill(id) => pid(id).into_iter().for_each(tree::kill),
            Effect::Kept(number) => self.keep(number),
            Effect::Refused(number, why) => self.refuse(number, why),
            Effect::NotReplaced(why) => {
                self.tell("not replaced", Some(format!("its successor {why}")), None);
            }
        }
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
                    let app = &version.app;
                    let after = SETTLED.min(app.min_uptime).min(app.listen_timeout / 2);
                    self.report(id, News::Said(Notice::Ready, None), after);
                }
                if go {
                    self.put_to_work(id);
                }
            }
            Err(error) => {
                let exit = Exit { code: None, how: format!("could not be started: {error:#}") };
                self.report(id, News::Exited(exit, None), Duration::ZERO);
            }
        }
    }

    /// Tells itself of a child, after so long, in its turn.
    fn report(&self, id: Id, news: News, after: Duration) {
        let report = Report { unit: self.key, child: id, what: Told::News(news) };
        let reports = self.place.reports.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            reports.send(report).await
        });
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
        let log_began = words::length(&self.log_file);
        let running = Running {
            pid,
            version,
            age: Duration::ZERO,
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
            state_dir::record(&self.place.run, self.name(), &[running.pid]);
            running.go.iter().for_each(child::go);
        }
    }

    /// Were the supervisor killed meanwhile, one of the two would be left: the next finds either.
    fn hand_over(&mut self, id: Id) {
        let (Some(standby), Some(duty)) = (self.children.get(&id), self.on_duty()) else { return };
        let from = if standby.version.can_reach(&duty.version) {
            unix::connect(&client::stats_socket(&self.place.run, self.name()))
        } else {
            Err(std::io::Error::other("the state directory with it was removed"))
        };
        let from = match from {
            Ok(from) => from,
            Err(error) => {
                let why = format!("cannot ask the server that is there on its control socket: {error}");
                return self.report(id, News::Said(Notice::StandsBy, Some(why)), Duration::ZERO);
            }
        };
        state_dir::record(&self.place.run, self.name(), &[duty.pid, standby.pid]);
        standby.go.iter().for_each(|go| child::hand_over(go, &from));
    }

    /// Takes what became known of one of its children; what is about another unit's comes back.
    pub(super) fn told(&mut self, report: Report) -> Result<(), Report> {
        if report.unit != self.key {
            return Err(report);
        }
        let id = report.child;
        match report.what {
            Told::News(News::Said(Notice::StandsBy, status)) => {
                if self.is(State::HandingOver) {
                    self.tell("connections not handed over", status, None);
                }
                self.step(Event::StandsBy(id));
            }
            Told::News(News::Said(Notice::Ready, status)) => {
                self.is_ready(id);
                if status.is_some() {
                    self.tell("connections handed over", status, None);
                }
            }
            Told::News(News::Said(Notice::Released, _)) => {
                self.leave_alone(id);
                self.step(Event::Released(id));
            }
            Told::News(News::Exited(mut exit, status)) => {
                // Who is killed has said nothing of it.
                let words = || exit.code.filter(|code| *code != 0).and_then(|_| self.last_words(id));
                if let Some(words) = status.or_else(words) {
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
            .chain(self.closes)
            .chain(schedule)
            .min()
    }

    /// Time has passed. What the clock starts anew it starts as `config` has it.
    pub(super) fn tick(&mut self, config: &Config) {
        let looked = self.schedule.as_mut().filter(|schedule| schedule.wake_at() <= Instant::now());
        if let Some(schedule) = looked
            && schedule.is_due()
        {
            let why = Reason::new(Class::Cron, format!("cron_restart {}", schedule.text()));
            self.clock_strikes(why, config);
        }
        if self.closes.take_if(|at| *at <= Instant::now()).is_some() && self.is(State::Stopped) {
            self.good.let_go();
            return;
        }
        self.step(Event::Tick);
    }

    pub(super) fn is(&self, state: State) -> bool {
        self.machine.state() == state
    }

    /// That its first start did not succeed, once it is known.
    pub(super) fn failed_start(&self) -> Option<FailedStart> {
        let gone = self.machine.restarts() > 0 || self.is(State::Stopped) || self.is(State::Backoff);
        (gone && !self.machine.has_finished()).then(|| FailedStart {
            app: self.name().to_owned(),
            why: self.machine.reason().unwrap_or("stopped").to_owned(),
            log: self.log_file.clone(),
            began: self.log_began,
        })
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        if self.place.state.is_there() {
            let _ = std::fs::remove_file(client::stats_socket(&self.place.run, self.name()));
        }
    }
}

/// A number from 0 to 1, for the backoff's jitter.
fn chance() -> f64 {
    let random = RandomState::new().build_hasher().finish() >> 32;
    f64::from(u32::try_from(random).unwrap_or(0)) / f64::from(u32::MAX)
}
