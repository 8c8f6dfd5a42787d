//! One app under supervision: its machine, its sockets, its child if there is one, and what is known of it.
//!
//! Here a machine's effects become deeds, and every event with its outcome is logged.

use super::{
    backoff::Policy,
    child::{Child, Launch, News, Sockets},
    logs::Log,
    machine::{Effect, Event, Machine, Rules, State},
    memory::Usage,
    state_dir,
};
use crate::{
    config::{App, Config},
    control::{
        client,
        types::{AppStatus, Health, Stats, size},
    },
    error::Failure,
};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Between two questions after the child's health.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A child that does not answer within this is not healthy.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// What all units have in common.
pub(super) struct Workplace {
    /// The program the children run, resolved once: a replaced binary keeps its path.
    pub(super) program: PathBuf,
    /// Folder of the Unix sockets and pid files.
    pub(super) run: PathBuf,
    /// Where the children's news go.
    pub(super) reports: mpsc::Sender<Report>,
}

impl Workplace {
    /// # Errors
    /// The program's own path is not to be found out.
    pub(super) fn new(run: PathBuf, reports: mpsc::Sender<Report>) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::failed(format_args!("cannot find the chatctl program: {error}")))?;
        Ok(Self { program, run, reports })
    }
}

/// What became known of a child; `life` tells which one of all that were started.
pub(super) struct Report {
    pub(super) life: u64,
    pub(super) what: Told,
}

/// See [`Report`].
pub(super) enum Told {
    /// By itself.
    News(News),
    /// When asked for its health: its counters and how long it took, or why not.
    Probe(Result<(Stats, Duration), String>),
}

/// See the module.
pub(super) struct Unit {
    pub(super) app: App,
    /// To be taken off the list when it has stopped.
    pub(super) leaving: bool,
    machine: Machine,
    launch: Launch,
    sockets: Sockets,
    log: Log,
    log_file: PathBuf,
    run: PathBuf,
    reports: mpsc::Sender<Report>,
    life: u64,
    child: Option<Running>,
}

struct Running {
    pid: u32,
    usage: Usage,
    probe: Option<Result<(Stats, Duration), String>>,
    /// Asks it until it is gone.
    _asking: AbortOnDropHandle<()>,
}

impl Unit {
    /// Binds its sockets and opens its log.
    ///
    /// # Errors
    /// Says what could not be had and what to do.
    pub(super) fn new(config: &Config, app: &App, place: &Workplace) -> anyhow::Result<Self> {
        let log_file = config.log_file(&app.name);
        let log = Log::open(log_file.clone())
            .map_err(|error| anyhow::anyhow!("cannot write {}: {error}", log_file.display()))?;
        Ok(Self {
            sockets: Sockets::bind(&app.name, app.listen, &place.run)?,
            machine: Machine::new(rules(app), Instant::now()),
            launch: launch(config, app, place),
            app: app.clone(),
            leaving: false,
            log,
            log_file,
            run: place.run.clone(),
            reports: place.reports.clone(),
            life: 0,
            child: None,
        })
    }

    /// Takes over what chat.toml now says of it; it holds from the next start on.
    ///
    /// # Errors
    /// The new address cannot be had; everything stays as it was.
    pub(super) fn change(&mut self, config: &Config, app: &App, place: &Workplace) -> anyhow::Result<()> {
        if app.listen != self.app.listen {
            self.sockets = Sockets::bind(&app.name, app.listen, &place.run)?;
        }
        self.machine.set_rules(rules(app));
        self.launch = launch(config, app, place);
        self.app = app.clone();
        Ok(())
    }

    /// Lets an event happen to it.
    pub(super) fn step(&mut self, event: Event) {
        let before = self.machine.word();
        tracing::debug!(app = self.app.name, ?event);
        for effect in self.machine.step(event, Instant::now(), chance()) {
            match (effect, &self.child) {
                (Effect::Spawn, _) => self.spawn(),
                (Effect::Terminate, Some(child)) => Child::terminate(child.pid),
                (Effect::Kill, Some(child)) => Child::kill(child.pid),
                (Effect::Terminate | Effect::Kill, None) => {}
            }
        }
        let (app, after) = (self.app.name.as_str(), self.machine.word());
        let pid = self.child.as_ref().map(|child| child.pid);
        let reason = self.machine.reason();
        match (before, after) {
            (_, "starting") => tracing::info!(app, pid, reason, "starting"),
            (before, after) if before != after => tracing::info!(app, pid, reason, "{after}"),
            _ => {}
        }
    }

    fn spawn(&mut self) {
        static LIVES: AtomicU64 = AtomicU64::new(1);
        self.life = LIVES.fetch_add(1, Relaxed);
        let (life, reports) = (self.life, self.reports.clone());
        let mut child = match Child::spawn(&self.launch, &self.sockets, &self.log) {
            Ok(child) => child,
            Err(error) => {
                let what = Told::News(News::Exited(format!("{error:#}")));
                tokio::spawn(async move { reports.send(Report { life, what }).await });
                return;
            }
        };
        let pid = child.pid;
        state_dir::record(&self.run, &self.app.name, pid);
        tokio::spawn(async move {
            loop {
                let news = child.news().await;
                let last = matches!(news, News::Exited(_));
                if reports.send(Report { life, what: Told::News(news) }).await.is_err() || last {
                    break;
                }
            }
        });
        let asking =
            tokio::spawn(ask(client::stats_socket(&self.run, &self.app.name), life, self.reports.clone()));
        self.child = Some(Running {
            pid,
            usage: Usage::default(),
            probe: None,
            _asking: AbortOnDropHandle::new(asking),
        });
    }

    /// Takes what became known of its child; one that is about another comes back.
    pub(super) fn told(&mut self, report: Report) -> Result<(), Report> {
        if report.life != self.life {
            return Err(report);
        }
        match report.what {
            Told::News(News::Ready) => self.step(Event::Ready),
            Told::News(News::Exited(how)) => {
                self.child = None;
                state_dir::forget(&self.run, &self.app.name);
                self.step(Event::Exited(how));
            }
            Told::Probe(probe) => {
                if let Some(child) = &mut self.child {
                    child.probe = Some(probe);
                }
            }
        }
        Ok(())
    }

    /// The running child.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(|child| child.pid)
    }

    /// Takes a sample of what the child uses; over the ceiling it is restarted.
    pub(super) fn sampled(&mut self, usage: Usage) {
        let Some(child) = &mut self.child else { return };
        child.usage = usage;
        let on_duty = matches!(self.machine.state(), State::Starting | State::Online);
        if let Some(ceiling) =
            self.app.max_memory_restart.filter(|ceiling| usage.memory > *ceiling && on_duty)
        {
            self.step(Event::Restart(format!("memory {} over {}", size(usage.memory), size(ceiling))));
        }
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.machine.wake_at()
    }

    pub(super) fn is(&self, state: State) -> bool {
        self.machine.state() == state
    }

    /// Why its first start did not succeed, once it is known that it did not.
    pub(super) fn failed_start(&self) -> Option<String> {
        let gone = self.machine.restarts() > 0 || self.is(State::Stopped);
        gone.then(|| format!("{}: {}", self.app.name, self.machine.reason().unwrap_or("stopped")))
    }

    /// What `status` shows.
    pub(super) fn status(&self) -> AppStatus {
        let child = self.child.as_ref();
        let probe = child.and_then(|child| child.probe.as_ref());
        let known = probe.and_then(|probe| probe.as_ref().ok());
        let health = match self.machine.state() {
            State::Online if probe.is_some_and(Result::is_err) => Health::Unhealthy,
            State::Online => Health::Ok,
            State::Stopped => Health::Stopped,
            _ if self.machine.is_crash_looping() => Health::Unhealthy,
            _ => Health::Starting,
        };
        AppStatus {
            name: self.app.name.clone(),
            state: self.machine.word().to_owned(),
            pid: self.pid(),
            uptime_s: child.map_or(0, |_| self.machine.since().elapsed().as_secs()),
            restarts: self.machine.restarts(),
            last_reason: self.machine.reason().map(str::to_owned),
            memory_bytes: child.map_or(0, |child| child.usage.memory),
            memory_limit_bytes: self.app.max_memory_restart,
            cpu_percent: child.map_or(0.0, |child| (child.usage.cpu * 10.0).round() / 10.0),
            listen: self.app.listen.to_string(),
            profile: self.app.profile.as_str().to_owned(),
            health,
            health_reason: probe.and_then(|probe| probe.as_ref().err().cloned()),
            health_latency_ms: known.map(|(_, latency)| client::millis(*latency)),
            connections: known.map_or(0, |(stats, _)| stats.connections),
            rooms: known.map_or(0, |(stats, _)| stats.rooms),
            log_file: self.log_file.clone(),
        }
    }
}

/// Asks a child after its health, again and again.
async fn ask(socket: PathBuf, life: u64, reports: mpsc::Sender<Report>) {
    loop {
        tokio::time::sleep(PROBE_EVERY).await;
        let probe = client::stats(&socket, PROBE_TIMEOUT).await.map_err(|error| format!("{error:#}"));
        if reports.send(Report { life, what: Told::Probe(probe) }).await.is_err() {
            return;
        }
    }
}

fn rules(app: &App) -> Rules {
    Rules {
        policy: Policy {
            initial: app.exp_backoff_restart_delay,
            fixed: app.restart_delay,
            max_restarts: app.max_restarts,
        },
        autorestart: app.autorestart,
        min_uptime: app.min_uptime,
        listen_timeout: app.listen_timeout,
        kill_timeout: app.kill_timeout,
        watch_delay: app.watch_delay,
    }
}

fn launch(config: &Config, app: &App, place: &Workplace) -> Launch {
    let mut arguments = vec!["serve".to_owned(), app.name.clone()];
    if let Some(path) = &config.path {
        arguments.extend(["--config".to_owned(), path.display().to_string()]);
    }
    Launch { program: place.program.clone(), arguments, env: app.env.clone() }
}

/// A number from 0 to 1, for the backoff's jitter.
fn chance() -> f64 {
    let random = RandomState::new().build_hasher().finish() >> 32;
    f64::from(u32::try_from(random).unwrap_or(0)) / f64::from(u32::MAX)
}
