//! What `status` shows: of the supervisor, and of its apps.

use super::{driver::Driver, logs, machine::State, unit::Unit};
use crate::control::{
    client,
    types::{AppStatus, Health, Status, Supervisor},
};
use std::time::{Duration, Instant};

/// Lines of its log that are shown of an app that fails over and over.
const LAST_LINES: usize = 5;

impl Driver {
    /// How everything is.
    pub(super) fn status(&self) -> Status {
        Status {
            supervisor: Supervisor {
                pid: std::process::id(),
                uptime_s: self.started.elapsed().as_secs(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                config: self.config.path.clone(),
                config_problems: self.problems.clone(),
                problems: self.blind.iter().cloned().chain(self.shared()).collect(),
            },
            apps: self.units.iter().map(Unit::status).collect(),
        }
    }

    /// Apps that wait for clients at one address: one took over the other's, which went back to it.
    fn shared(&self) -> Vec<String> {
        let at = |unit: &Unit| {
            let child = unit.on_duty().filter(|_| !unit.leaving && unit.is(State::Online))?;
            Some((unit.name().to_owned(), child.version.address()?))
        };
        let there: Vec<_> = self.units.iter().filter_map(at).collect();
        let shares = |(n, (name, address)): (usize, &(String, std::net::SocketAddr))| {
            let (other, _) = there.iter().skip(n + 1).find(|(_, at)| at == address)?;
            Some(format!("{name} and {other} both listen on {address}: mend chat.toml, and reload both"))
        };
        there.iter().enumerate().filter_map(shares).collect()
    }
}

fn until(then: Instant) -> Duration {
    then.saturating_duration_since(Instant::now())
}

/// To the tenth of one.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

impl Unit {
    /// How it is.
    pub(super) fn status(&self) -> AppStatus {
        let child = self.on_duty();
        let version = child.map_or(self.latest(), |child| &child.version);
        let app = &version.app;
        let probe = child.and_then(|child| child.probed.as_ref());
        let known = probe.and_then(|probe| probe.as_ref().ok());
        let health = self.health();
        let age = child.map_or(Duration::ZERO, |child| child.age);
        let (unstable, max_restarts) = self.machine.unstable();
        let tail = || logs::last_words(&self.log_file, LAST_LINES).unwrap_or_default();
        AppStatus {
            name: app.name.clone(),
            state: self.machine.word().to_owned(),
            pid: child.map(|child| child.pid),
            uptime_s: self.machine.duty().map_or(0, |(_, since)| (since.elapsed() + age).as_secs()),
            restarts: self.machine.restarts(),
            last_reason: self.machine.reason().map(str::to_owned),
            last_reason_class: self.machine.reason_class().map(|class| class.as_str().to_owned()),
            restarts_by_class: self
                .restarts_by
                .iter()
                .map(|(class, n)| (class.as_str().to_owned(), *n))
                .collect(),
            unstable_restarts: unstable,
            max_restarts,
            next_start_in_s: self.next_start().map(seconds),
            on_trial_for_s: self.machine.on_trial_until().map(until).map(seconds),
            memory_bytes: child.map_or(0, |child| child.usage.memory),
            memory_limit_bytes: app.max_memory_restart,
            cpu_percent: child.map_or(0.0, |child| (child.usage.cpu * 10.0).round() / 10.0),
            listen: version.address().map_or("-".to_owned(), |address| address.to_string()),
            profile: app.command.as_ref().map_or(app.profile.as_str(), |_| "-").to_owned(),
            health,
            health_reason: probe.and_then(|probe| probe.as_ref().err().cloned()),
            health_latency_ms: known.map(|(_, latency)| client::millis(*latency)),
            connections: known.map_or(0, |(stats, _)| stats.connections),
            rooms: known.map_or(0, |(stats, _)| stats.rooms),
            slow_closed: known.map_or(0, |(stats, _)| stats.slow_closed),
            turned_away: known.map_or_else(Default::default, |(stats, _)| stats.turned_away.clone()),
            certificate: known.and_then(|(stats, _)| stats.certificate.clone()),
            not_used: known.map_or_else(Default::default, |(stats, _)| stats.not_used.clone()),
            refused: self.refusal.clone(),
            recovery: known.map_or_else(Default::default, |(stats, _)| stats.recovery.clone()),
            handover: known.and_then(|(stats, _)| stats.handover),
            memory_limit_too_low: self.ceiling_too_low,
            last_lines: if health == Health::Unhealthy { tail() } else { Vec::new() },
            log_file: self.log_file.clone(),
        }
    }

    /// How long it is until it is started again, by the backoff or by the clock.
    fn next_start(&self) -> Option<Duration> {
        let clock = self.schedule.as_ref().filter(|_| self.machine.has_ended());
        self.machine.next_start().map(until).or_else(|| clock?.left())
    }

    pub(super) fn health(&self) -> Health {
        let probed = self.on_duty().and_then(|child| child.probed.as_ref());
        match self.machine.state() {
            State::Online | State::Reloading => match probed {
                Some(Ok((stats, _))) => stats.health(),
                Some(Err(_)) => Health::Unhealthy,
                None => Health::Ok,
            },
            State::HandingOver | State::Switching => Health::Ok,
            State::Stopped if self.machine.has_finished() => Health::Ok,
            State::Stopped => Health::Stopped,
            State::Backoff => Health::Unhealthy,
            _ if self.machine.is_crash_looping() => Health::Unhealthy,
            _ => Health::Starting,
        }
    }
}
