//! The JSON that the control API speaks; fields are only ever added.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// What a chat server says of itself: `GET /stats` on its control socket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stats {
    /// Socket.IO sockets connected now.
    pub(crate) connections: u64,
    /// Rooms with at least one member.
    pub(crate) rooms: u64,
    /// Events accepted since the start.
    pub(crate) accepted: u64,
    /// Events refused since the start.
    pub(crate) refused: u64,
    /// Packets sent to clients since the start.
    pub(crate) delivered: u64,
    /// Clients closed because they did not keep up.
    pub(crate) slow_closed: u64,
    /// Events that wait to be dealt with now.
    #[serde(default)]
    pub(crate) queued: u64,
    /// Packets that wait for clients now; `null`: not asked for with `?backlog=true`.
    #[serde(default)]
    pub(crate) backlog: Option<u64>,
    /// From a client's event to the hand-over of all that follows from it to the sockets.
    #[serde(default)]
    pub(crate) latency: Histogram,
    /// Bytes from clients since the start: HTTP and WebSocket, without TLS's own.
    #[serde(default)]
    pub(crate) received_bytes: u64,
    /// Bytes to clients, in the same way.
    #[serde(default)]
    pub(crate) sent_bytes: u64,
    /// How often clients were refused something, by the key of chat.toml that says so.
    #[serde(default)]
    pub(crate) turned_away: BTreeMap<String, u64>,
    /// Seconds since the start.
    pub(crate) uptime_s: u64,
    /// The largest rooms, largest first: as many as `?rooms=` asks for, and none without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) largest_rooms: Vec<RoomSize>,
    /// By what it proves who it is; `null`: no TLS.
    #[serde(default)]
    pub(crate) certificate: Option<Certificate>,
    /// New files that could not be used, and why; it goes on with what it had.
    #[serde(default)]
    pub(crate) not_used: Vec<String>,
    /// How sessions survive.
    #[serde(default)]
    pub(crate) recovery: Recovery,
    /// What it took over from the server before it; `null`: nothing, it began by itself.
    #[serde(default)]
    pub(crate) handover: Option<Handover>,
}

/// How many took how long: part of [`Stats`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Histogram {
    /// Bounds in microseconds, rising.
    pub(crate) up_to_us: Vec<u64>,
    /// How many are within each, and not within the one before; one more for what took longer than all.
    pub(crate) counts: Vec<u64>,
    /// All of them together, in microseconds.
    pub(crate) sum_us: u64,
}

/// How a live handover went: part of [`Stats`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handover {
    /// Connections that came over, and noticed nothing.
    pub(crate) connections: u64,
    /// Clients that could not (polling, say): sent away without loss, to come back.
    pub(crate) goodbyes: u64,
    /// Clients whose connection was cut, to come back.
    pub(crate) cut: u64,
    /// Milliseconds in which nobody was served.
    pub(crate) pause_ms: u64,
}

impl std::fmt::Display for Handover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { connections, goodbyes, cut, pause_ms } = self;
        write!(
            f,
            "{connections} connections handed over, {goodbyes} sent away, {cut} cut, pause {pause_ms} ms"
        )
    }
}

/// One room, and how many are in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoomSize {
    /// Its id.
    pub(crate) room: String,
    /// Members.
    pub(crate) members: u64,
}

impl Stats {
    /// How a server is that says this of itself.
    pub(crate) fn health(&self) -> Health {
        if self.recovery.trouble.is_some() { Health::Degraded } else { Health::Ok }
    }
}

/// How sessions survive: part of [`Stats`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recovery {
    /// Whether it is wanted.
    pub(crate) enabled: bool,
    /// Why it does not work just now.
    pub(crate) trouble: Option<String>,
    /// Sessions, connected and lost.
    pub(crate) sessions: u64,
    /// Sessions of clients that came back, since the start.
    pub(crate) recovered: u64,
    /// Clients that wanted to and could not, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Events they were told that they had missed.
    pub(crate) replayed: u64,
    /// Events in the journal.
    pub(crate) journal_messages: u64,
    /// Their bytes.
    pub(crate) journal_bytes: u64,
    /// Microseconds the last commit took: so much later came what it made safe.
    pub(crate) commit_us: u64,
    /// The slowest one since the start.
    pub(crate) slowest_commit_us: u64,
}

/// The certificate that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Certificate {
    /// When it expires (RFC 3339, UTC).
    pub(crate) expires: String,
    /// Seconds until then; negative: since then.
    pub(crate) expires_in_s: i64,
}

/// What a supervisor says: `GET /status`, and `chatctl status --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The supervisor itself.
    pub(crate) supervisor: Supervisor,
    /// Every app, in the order of chat.toml.
    pub(crate) apps: Vec<AppStatus>,
}

/// The supervisor itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Supervisor {
    /// Its process.
    pub(crate) pid: u32,
    /// Seconds since its start.
    pub(crate) uptime_s: u64,
    /// Its version.
    pub(crate) version: String,
    /// Its chat.toml; `null`: the built-in one.
    pub(crate) config: Option<PathBuf>,
    /// Why the chat.toml that is there now is not in force; empty: it is.
    pub(crate) config_problems: Vec<String>,
    /// What else is not as it should be.
    #[serde(default)]
    pub(crate) problems: Vec<String>,
}

/// One app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct AppStatus {
    /// Its name.
    pub(crate) name: String,
    /// `stopped`, `starting`, `online`, `reloading`, `restarting`, `stopping`, `waiting` (for the backoff) or `crash-looping`.
    pub(crate) state: String,
    /// Its process, if there is one.
    pub(crate) pid: Option<u32>,
    /// Seconds it has been in this state with a process; 0 without one.
    pub(crate) uptime_s: u64,
    /// How often it was started again.
    pub(crate) restarts: u32,
    /// Why it was started again last.
    pub(crate) last_reason: Option<String>,
    /// Of which kind that was: `crash`, `hang`, `not-ready`, `memory`, `rolled-back`, `file`, `config`, `asked` or `cron`.
    #[serde(default)]
    pub(crate) last_reason_class: Option<String>,
    /// How often it was started again, by that kind.
    #[serde(default)]
    pub(crate) restarts_by_class: BTreeMap<String, u64>,
    /// Lives in a row that were not stable; 0 once it has been up for `min_uptime`.
    #[serde(default)]
    pub(crate) unstable_restarts: u32,
    /// So many of them in a row, and it is `crash-looping` with the next.
    #[serde(default)]
    pub(crate) max_restarts: u32,
    /// Seconds until it is started again; `null`: it does not wait for that.
    #[serde(default)]
    pub(crate) next_start_in_s: Option<f64>,
    /// Seconds until the new version that is at work has proved itself; `null`: none is on trial.
    #[serde(default)]
    pub(crate) on_trial_for_s: Option<f64>,
    /// Resident set.
    pub(crate) memory_bytes: u64,
    /// Its ceiling.
    pub(crate) memory_limit_bytes: Option<u64>,
    /// Percent of one core.
    pub(crate) cpu_percent: f32,
    /// Where it listens.
    pub(crate) listen: String,
    /// What it speaks.
    pub(crate) profile: String,
    /// Whether it does what it is there for.
    pub(crate) health: Health,
    /// Why not.
    pub(crate) health_reason: Option<String>,
    /// How long its last answer took.
    pub(crate) health_latency_ms: Option<f64>,
    /// Socket.IO sockets connected now.
    pub(crate) connections: u64,
    /// Rooms with at least one member.
    pub(crate) rooms: u64,
    /// Why its last reload was refused; `null`: none was since one worked.
    #[serde(default)]
    pub(crate) refused: Option<String>,
    /// Clients closed because they did not keep up, since its start.
    #[serde(default)]
    pub(crate) slow_closed: u64,
    /// How often clients were refused something since its start, by the key of chat.toml that says so.
    #[serde(default)]
    pub(crate) turned_away: BTreeMap<String, u64>,
    /// The certificate in force; `null`: no TLS.
    #[serde(default)]
    pub(crate) certificate: Option<Certificate>,
    /// New files (a certificate, keys of tokens) that it could not use, and why: it goes on with what it had.
    #[serde(default)]
    pub(crate) not_used: Vec<String>,
    /// How its sessions survive.
    #[serde(default)]
    pub(crate) recovery: Recovery,
    /// What it took over from the server before it.
    #[serde(default)]
    pub(crate) handover: Option<Handover>,
    /// Its ceiling is lower than what it needs: no restart would help.
    #[serde(default)]
    pub(crate) memory_limit_too_low: bool,
    /// The last lines of its log, when it is not well.
    #[serde(default)]
    pub(crate) last_lines: Vec<String>,
    /// Where its output is kept.
    pub(crate) log_file: PathBuf,
}

/// See [`AppStatus::health`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    /// It is ready and answers; or it did its work, ended with 0, and may.
    Ok,
    /// It does what it is there for, and could not make good a crash now: recovery does not work.
    Degraded,
    /// It is on its way.
    Starting,
    /// It does not answer, waits to be started again because it failed, or fails over and over.
    Unhealthy,
    /// It does not run, and is not to.
    Stopped,
}

impl Status {
    /// Whether everything is as it should be.
    pub(crate) fn is_healthy(&self) -> bool {
        let Supervisor { config_problems, problems, .. } = &self.supervisor;
        config_problems.is_empty()
            && problems.is_empty()
            && self.apps.iter().all(|app| app.health == Health::Ok)
    }
}

/// What an app can be told to do: `POST /apps/<action>`, with the names as a JSON list; none: all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// Run.
    Start,
    /// Do not run.
    Stop,
    /// Stop, then run as program and configuration are now.
    Restart,
    /// Run as program and configuration are now, without a gap.
    Reload,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
        })
    }
}

/// What came of it, for one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Its name.
    pub(crate) app: String,
    /// Whether it is as it was asked to be.
    pub(crate) ok: bool,
    /// How it is, or why not.
    pub(crate) message: String,
}

impl Outcome {
    /// Of an app of this name.
    pub(crate) fn new(app: &str, outcome: Result<String, String>) -> Self {
        let ok = outcome.is_ok();
        let message = outcome.unwrap_or_else(|problem| problem);
        Self { app: app.to_owned(), ok, message }
    }
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Happened {
    /// When (RFC 3339, UTC).
    pub(crate) time: String,
    /// To which app.
    pub(crate) app: String,
    /// The state it came to, or what else happened.
    pub(crate) what: String,
    /// Why.
    pub(crate) why: Option<String>,
    /// Of which kind that is; as `last_reason_class`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) class: Option<String>,
    /// Its child on duty then.
    pub(crate) pid: Option<u32>,
}

impl Happened {
    /// It has just happened.
    pub(crate) fn now(
        app: &str,
        what: &str,
        why: Option<String>,
        class: Option<&str>,
        pid: Option<u32>,
    ) -> Self {
        let (app, what, class) = (app.to_owned(), what.to_owned(), class.map(str::to_owned));
        Self { time: jiff::Timestamp::now().to_string(), app, what, why, class, pid }
    }
}

/// As people read it, without time and app.
impl std::fmt::Display for Happened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        self.pid.iter().try_for_each(|pid| write!(f, " (pid {pid})"))?;
        self.why.iter().try_for_each(|why| write!(f, ": {why}"))
    }
}

/// Bytes for people, 1024-based as in chat.toml: `312M`, `9.5M`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    let Some((unit, name)) = UNITS.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{bytes}B");
    };
    let tenths = bytes * 10 / unit;
    if tenths < 100 && !tenths.is_multiple_of(10) {
        format!("{}.{}{name}", tenths / 10, tenths % 10)
    } else {
        format!("{}{name}", tenths / 10)
    }
}
