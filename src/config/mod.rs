//! The configuration: chat.toml, read, checked as a whole, and handed on as plain typed values.
//!
//! Promises: every problem of a file is reported at once, each with line and key; nothing outside this module
//! sees an unchecked value; the default configuration *is* the `chat.toml` at the top of the repository.
//! Keys keep the names of pm2's ecosystem file where pm2 has the thing.

mod apps;
mod documented;
mod limits;
mod operations;
mod origin;
mod parse;
mod places;
mod read;
pub(crate) mod schema;
mod section;

use crate::chat::Rate;
use ipnet::IpNet;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub(crate) use limits::RefusedBy;
pub(crate) use operations::{Deed, Hook, Log, LogFormat, Occasion};
pub(crate) use origin::Origin;
pub(crate) use parse::address_of;
pub(crate) use read::{ConfigError, Problem};

/// The text of the shipped `chat.toml`.
pub(crate) const DEFAULT: &str = include_str!("../../chat.toml");

/// A text as chat.toml writes it.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A whole, valid configuration. Paths are absolute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    /// The file it came from; `None`: the built-in one.
    pub(crate) path: Option<PathBuf>,
    /// Its text.
    pub(crate) text: String,
    /// Where logs, sockets and databases live.
    pub(crate) state_dir: PathBuf,
    /// All apps, the disabled ones too; names and ports are unique among the enabled.
    pub(crate) apps: Vec<App>,
    /// What every chat server shares.
    pub(crate) server: Server,
    /// `[metrics]`: where the supervisor serves them; `None`: nowhere.
    pub(crate) metrics: Option<SocketAddr>,
    /// Who is told when something happens.
    pub(crate) hooks: Vec<Hook>,
}

/// Settings of the chat servers (`[page]`, `[cors]`, `[chat]`, `[limits]`, `[recovery]`, `[history]`, `[log]`).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Server {
    /// The chat page.
    pub(crate) page: Page,
    /// Which pages may connect.
    pub(crate) cors: Cors,
    /// By what people prove who they are.
    pub(crate) auth: Auth,
    /// Zone of the `time` of messages; `None`: the server's own.
    pub(crate) timezone: Option<jiff::tz::TimeZone>,
    /// Bounds.
    pub(crate) limits: Limits,
    /// Addresses whose connections are not counted one by one.
    pub(crate) exempt: Vec<IpNet>,
    /// How sessions survive a lost connection.
    pub(crate) recovery: Recovery,
    /// What newcomers are told of what was said before.
    pub(crate) history: History,
    /// What is written of what is done; the supervisor does as well.
    pub(crate) log: Log,
}

/// `[recovery]`: how sessions survive a lost connection and a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recovery {
    /// Whether there is a journal at all.
    pub(crate) enabled: bool,
    /// How long a session whose connection is lost may come back, and messages are kept for it.
    pub(crate) window: Duration,
    /// Time a lost member has to come back before its room is told that it has gone (`local`).
    pub(crate) leave_grace: Duration,
    /// Messages that are kept at most.
    pub(crate) max_messages: u64,
    /// Bytes they may take.
    pub(crate) max_bytes: u64,
    /// The folder of the journals, one for each app.
    pub(crate) path: PathBuf,
}

/// `[history]`: what newcomers are told of what was said before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct History {
    /// Messages of a room that a newcomer gets; 0: none are kept.
    pub(crate) messages: usize,
    /// How long they are kept.
    pub(crate) keep: Duration,
}

/// `[page]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// Whether `/` and `/room` are served.
    pub(crate) enabled: bool,
    /// The operator's own files instead of the built-in page.
    pub(crate) dir: Option<PathBuf>,
}

/// `[cors]`: which pages may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cors {
    /// Those of these origins, and this server's own.
    pub(crate) origins: Vec<Origin>,
    /// Whether pages of named origins may send cookies.
    pub(crate) credentials: bool,
}

impl Cors {
    /// Whether pages of any origin may connect.
    pub(crate) fn is_open(&self) -> bool {
        self.origins.contains(&Origin::Any)
    }

    /// Whether pages of this one may.
    pub(crate) fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed.covers(origin))
    }
}

/// `[auth]`: who people are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Auth {
    /// The file with the keys that tokens are signed with; `None`: nobody has to prove anything.
    pub(crate) keys: Option<PathBuf>,
    /// Who has to have issued them.
    pub(crate) issuer: Option<String>,
    /// For whom they have to be.
    pub(crate) audience: Option<String>,
    /// By how much clocks may differ.
    pub(crate) leeway: Duration,
    /// Roles that may take others out of a room.
    pub(crate) exit_roles: Vec<String>,
}

/// `[limits]`: what clients may ask of the server; 0 connections, or messages a second: as many as they want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Clients at once.
    pub(crate) max_connections: usize,
    /// Clients at once from one address; IPv6: from one /64.
    pub(crate) max_connections_per_address: usize,
    /// Clients at once under one name, as the handshake or the token says it.
    pub(crate) max_connections_per_name: usize,
    /// Events of one client.
    pub(crate) messages: Rate,
    /// Messages of one room.
    pub(crate) room_messages: Rate,
    /// Longest time from connecting to the whole head of a request, and to being connected to the chat.
    pub(crate) handshake_timeout: Duration,
    /// Longest time for the body of a request to arrive.
    pub(crate) body_timeout: Duration,
    /// Longest time a client may take nothing of what is sent to it.
    pub(crate) stall_timeout: Duration,
    /// Bytes of one packet or one POST.
    pub(crate) max_payload: u64,
    /// Packets that may wait for one client before it is closed as too slow.
    pub(crate) max_queue: usize,
    /// Bytes that may wait for one client before it is closed as too slow.
    pub(crate) max_queue_bytes: usize,
    /// Bytes of a nickname.
    pub(crate) max_name: usize,
    /// Bytes of a room id.
    pub(crate) max_room: usize,
    /// Rooms one socket may be in (`react`).
    pub(crate) max_rooms_per_socket: usize,
}

/// One `[[app]]`: a child process of the supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct App {
    /// Its name in `status`, logs and the state directory: letters, digits, `-`, `_`.
    pub(crate) name: String,
    /// Whether `supervise` starts it.
    pub(crate) enabled: bool,
    /// What its server speaks.
    pub(crate) profile: Profile,
    /// Where it listens; `None`: it has a command, and that listens where it wants to.
    pub(crate) listen: Option<SocketAddr>,
    /// Its certificate; `None`: no TLS.
    pub(crate) tls: Option<Tls>,
    /// Who may say where a connection really comes from: proxies before it.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// The program it is, when it is not a chat server.
    pub(crate) command: Option<Command>,
    /// Memory ceiling in bytes, of the resident set; above it the app is restarted gracefully.
    pub(crate) max_memory_restart: Option<u64>,
    /// Above so many bytes the app is killed at once; twice the ceiling unless said otherwise.
    pub(crate) max_memory_kill: Option<u64>,
    /// What is watched for changes.
    pub(crate) watch: Watch,
    /// Globs of paths whose changes do not count.
    pub(crate) ignore_watch: Vec<String>,
    /// Quiet time after the last change before the restart.
    pub(crate) watch_delay: Duration,
    /// Restart after an exit at all.
    pub(crate) autorestart: bool,
    /// Exit codes that mean: do not start it again.
    pub(crate) stop_exit_codes: Vec<i32>,
    /// When it is restarted by the clock: a crontab(5) schedule, in the time of this machine.
    pub(crate) cron_restart: Option<String>,
    /// How it is asked whether it lives.
    pub(crate) probe: Probe,
    /// Shortest life that counts as stable: it resets the backoff.
    pub(crate) min_uptime: Duration,
    /// Unstable restarts in a row after which the app counts as crash-looping.
    pub(crate) max_restarts: u32,
    /// Fixed delay before each restart, instead of the backoff.
    pub(crate) restart_delay: Option<Duration>,
    /// First delay of the backoff.
    pub(crate) exp_backoff_restart_delay: Duration,
    /// Time to become ready.
    pub(crate) listen_timeout: Duration,
    /// Time between SIGTERM and SIGKILL.
    pub(crate) kill_timeout: Duration,
    /// Bytes of a log file, before it is put aside.
    pub(crate) log_max_size: u64,
    /// Log files that are kept aside.
    pub(crate) log_retain: u32,
    /// Files it may have open; `None`: as the supervisor.
    pub(crate) nofile: Option<u64>,
    /// Its niceness; `None`: as the supervisor.
    pub(crate) nice: Option<i32>,
    /// The user it runs as; `None`: the supervisor's.
    pub(crate) user: Option<String>,
    /// The group it runs as; `None`: the user's.
    pub(crate) group: Option<String>,
    /// Extra environment of the child.
    pub(crate) env: BTreeMap<String, String>,
}

/// `tls`: two PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    /// The certificate, and the chain to those that vouch for it.
    pub(crate) cert: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
}

/// How a running app is asked whether it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    /// What it is asked.
    pub(crate) ask: Ask,
    /// Pause between two probes.
    pub(crate) interval: Duration,
    /// Longest answer.
    pub(crate) timeout: Duration,
    /// Failures in a row after which it counts as hung, and is replaced.
    pub(crate) failures: u32,
}

/// What a running app is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Nothing.
    Nothing,
    /// What a client of a chat asks, and then how the server is.
    Chat,
    /// This URL, for any answer that is no server error.
    Url(http::Uri),
}

/// A program that is no chat server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// Its name or path, and its arguments; never empty.
    pub(crate) argv: Vec<String>,
    /// The folder it runs in.
    pub(crate) cwd: PathBuf,
    /// It says `READY=1` by sd_notify(3) when it is ready; otherwise when it has run for a second.
    pub(crate) wait_ready: bool,
    /// How it is asked to go.
    pub(crate) kill_signal: KillSignal,
}

/// The signal by which a program is asked to go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum KillSignal {
    #[default]
    Term,
    Int,
    Quit,
    Hup,
    Usr1,
    Usr2,
}

impl KillSignal {
    const ALL: [(&'static str, Self); 6] = [
        ("SIGTERM", Self::Term),
        ("SIGINT", Self::Int),
        ("SIGQUIT", Self::Quit),
        ("SIGHUP", Self::Hup),
        ("SIGUSR1", Self::Usr1),
        ("SIGUSR2", Self::Usr2),
    ];

    /// Its name, as kill(1) takes it.
    pub(crate) fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, signal)| *signal == self).map_or("", |(name, _)| *name)
    }
}

/// What `watch` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Nothing.
    Off,
    /// What the app is made of: the binary, chat.toml, the page's directory.
    On,
    /// That, and these paths.
    Also(Vec<PathBuf>),
}

/// Which of the replaced servers a chat server speaks like; see the README for what differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// PHP pages in development: notices always, also when the socket goes away
    Local,
    /// PHP pages in production: notices on first entry; member counts come from the page
    Web,
    /// React pages: room and nickname come in each payload
    React,
}

impl Profile {
    /// Every profile's name, in the order of the documentation.
    pub(crate) const NAMES: [&'static str; 3] = ["local", "web", "react"];

    /// Its name in the configuration and on the command line.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Web => "web",
            Self::React => "react",
        }
    }
}

impl std::str::FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "local" => Ok(Self::Local),
            "web" => Ok(Self::Web),
            "react" => Ok(Self::React),
            _ => Err(format!("no such profile; there are {}", Self::NAMES.join(", "))),
        }
    }
}

impl Config {
    /// Reads and checks `file`, or else the first of the usual places, or else the built-in configuration.
    ///
    /// # Errors
    /// The file cannot be read, or has problems: all of them, each with line and key.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        read::load(file)
    }

    /// Checks a text that was read before; `file` is where it came from. For a child, whose supervisor holds the
    /// configuration it is to have, whatever the file says by now.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn from_text(text: &str, file: Option<&Path>) -> Result<Self, ConfigError> {
        read::from_text(text, file)
    }

    /// The apps `supervise` starts, in order.
    pub(crate) fn enabled(&self) -> impl Iterator<Item = &App> {
        self.apps.iter().filter(|app| app.enabled)
    }

    /// The app of this name.
    pub(crate) fn app(&self, name: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.name == name)
    }

    /// Whether a key stands in the file.
    pub(crate) fn sets(&self, key: &str) -> bool {
        section::line_of(&self.text, key).is_some()
    }

    /// Where a key stands, as `chat.toml:12: app.web.listen`; without the line when it does not stand there.
    pub(crate) fn place(&self, key: &str) -> String {
        let file = self
            .path
            .as_ref()
            .map_or_else(|| "the built-in chat.toml".into(), |path| path.display().to_string());
        let line = section::line_of(&self.text, key).map_or_else(String::new, |line| format!(":{line}"));
        format!("{file}{line}: {key}")
    }

    /// `<state_dir>/logs/<app>.log`.
    pub(crate) fn log_file(&self, app: &str) -> PathBuf {
        self.state_dir.join("logs").join(format!("{app}.log"))
    }

    /// `<recovery.path>/<app>.sqlite`; of an app that runs as somebody else, in a folder that can be given to it.
    pub(crate) fn journal_file(&self, app: &str) -> PathBuf {
        let given = self.app(app).is_some_and(|app| app.user.is_some() || app.group.is_some());
        let folder = &self.server.recovery.path;
        let file = format!("{app}.sqlite");
        if given { folder.join(app).join(file) } else { folder.join(file) }
    }
}
