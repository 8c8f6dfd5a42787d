//! Reading what operators add: `[log]`, `[metrics]`, `[[hook]]`.

use super::{
    parse,
    section::{File, Section},
};
use std::{net::SocketAddr, time::Duration};
use toml::de::{DeTable, DeValue};

/// `[log]`: what supervisor and servers write of what they do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    /// How a line looks.
    pub(crate) format: LogFormat,
    /// From which level on; `RUST_LOG`, where it is set, says it instead.
    pub(crate) level: tracing::Level,
    /// Whether what people say may be in it.
    pub(crate) messages: bool,
}

/// See [`Log::format`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines: a JSON object a line.
    Json,
}

/// `[[hook]]`: what is to be done when something happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hook {
    /// When; never empty.
    pub(crate) on: Vec<Occasion>,
    /// To which apps; empty: to any.
    pub(crate) apps: Vec<String>,
    /// What is to be done.
    pub(crate) deed: Deed,
    /// Longest time it may take.
    pub(crate) timeout: Duration,
    /// How often it is tried again when it fails.
    pub(crate) retries: u32,
    /// Before the first of these; it doubles.
    pub(crate) retry_delay: Duration,
}

/// What a hook does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Runs this program with these arguments; never empty. What happened comes on standard input.
    Run(Vec<String>),
    /// Posts what happened to this URL.
    Post(http::Uri),
}

/// What people may want to be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Occasion {
    /// An app ended by itself, or could not be started.
    Crash,
    /// It did not answer, and was killed.
    Hang,
    /// It was not ready in time, and was killed.
    NotReady,
    /// It used more memory than it may, and is replaced.
    Memory,
    /// Its ceiling is below what it needs: no restart would help.
    MemoryLimit,
    /// It fails over and over.
    CrashLoop,
    /// What was to be put into force is not: a version failed, or chat.toml has problems.
    ReloadFailed,
    /// It could not make good a crash just now: its recovery does not work.
    Degraded,
    /// After any of these it is well again, for `min_uptime`.
    Recovered,
    /// It was started again, for whatever reason.
    Restart,
}

impl Occasion {
    /// All of them.
    pub(crate) const ALL: [Self; 10] = [
        Self::Crash,
        Self::Hang,
        Self::NotReady,
        Self::Memory,
        Self::MemoryLimit,
        Self::CrashLoop,
        Self::ReloadFailed,
        Self::Degraded,
        Self::Recovered,
        Self::Restart,
    ];

    /// Its name in chat.toml and in what a hook is given.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Hang => "hang",
            Self::NotReady => "not-ready",
            Self::Memory => "memory",
            Self::MemoryLimit => "memory-limit",
            Self::CrashLoop => "crash-loop",
            Self::ReloadFailed => "reload-failed",
            Self::Degraded => "degraded",
            Self::Recovered => "recovered",
            Self::Restart => "restart",
        }
    }
}

/// `[log]`.
pub(super) fn log(file: &mut File<'_>, top: &mut Section<'_>) -> Log {
    let mut section = top.section(file, "log");
    let log = Log {
        format: section.take(file, "format", LogFormat::Text, |value| match value.as_str() {
            Some("text") => Ok(LogFormat::Text),
            Some("json") => Ok(LogFormat::Json),
            _ => Err(parse::wanted(value, "a format: \"text\" or \"json\"")),
        }),
        level: section.take(file, "level", tracing::Level::INFO, |value| {
            let level = value.as_str().and_then(|level| level.parse().ok());
            level.ok_or_else(|| {
                parse::wanted(value, "a level: \"error\", \"warn\", \"info\", \"debug\" or \"trace\"")
            })
        }),
        messages: section.take(file, "messages", false, parse::boolean),
    };
    section.finish(file);
    log
}

/// `[metrics]`: where they are served.
pub(super) fn metrics(file: &mut File<'_>, top: &mut Section<'_>) -> Option<SocketAddr> {
    let mut section = top.section(file, "metrics");
    let listen = section.take(file, "listen", None, |value| match value.as_bool() {
        Some(false) => Ok(None),
        _ => parse::address(value).map(Some),
    });
    section.finish(file);
    listen
}

/// Every `[[hook]]`; `apps` are the names there are.
pub(super) fn hooks(file: &mut File<'_>, top: &mut Section<'_>, apps: &[String]) -> Vec<Hook> {
    let Some(value) = top.value("hook") else { return Vec::new() };
    let Some(array) = value.get_ref().as_array() else {
        let message = "must be written as [[hook]], with two brackets".to_owned();
        file.complain(Some(value.span()), "hook".to_owned(), message);
        return Vec::new();
    };
    let mut hooks = Vec::new();
    for (index, element) in array.iter().enumerate() {
        let name = format!("hook.{}", index + 1);
        match element.get_ref().as_table() {
            Some(table) => {
                hooks.extend(hook(file, Section::new(&name, element.span(), Some(table)), table, apps));
            }
            None => file.complain(Some(element.span()), name, "must be a table".to_owned()),
        }
    }
    hooks
}

fn hook(
    file: &mut File<'_>,
    mut section: Section<'_>,
    table: &DeTable<'_>,
    known: &[String],
) -> Option<Hook> {
    let span = Some(section.span.clone());
    if !table.contains_key("on") {
        let message = format!("say when, as on = [\"crash\"]; there are {}", names());
        file.complain(span.clone(), section.key("on"), message);
    }
    let on = section.take(file, "on", Vec::new(), occasions);
    let command = section.take(file, "command", None, |value| match parse::texts(value)? {
        argv if argv.is_empty() => Err("must not be empty".to_owned()),
        argv => Ok(Some(argv)),
    });
    let url = section.take(file, "url", None, |value| {
        parse::url(value, "a URL as \"https://hooks.example.com/chat\"").map(Some)
    });
    let deed = match (command, url) {
        (Some(argv), None) => Some(Deed::Run(argv)),
        (None, Some(url)) => Some(Deed::Post(url)),
        _ => {
            if table.contains_key("command") == table.contains_key("url") {
                let message = "say what to do: either `command` or `url`".to_owned();
                file.complain(span, section.key("command"), message);
            }
            None
        }
    };
    let apps = section.take(file, "apps", Vec::new(), |value| {
        let names = parse::texts(value)?;
        match names.iter().find(|name| !known.contains(name)) {
            Some(stranger) => {
                Err(format!("there is no app named {stranger:?}; there are {}", known.join(", ")))
            }
            None => Ok(names),
        }
    });
    let timeout = section.take(file, "timeout", Duration::from_secs(10), parse::positive);
    let retries = section.take(file, "retries", 3, |value| parse::integer(value, 0, 100));
    let retry_delay = section.take(file, "retry_delay", Duration::from_secs(1), parse::positive);
    section.finish(file);
    let retries = u32::try_from(retries).unwrap_or(0);
    deed.map(|deed| Hook { on, apps, deed, timeout, retries, retry_delay })
}

fn occasions(value: &DeValue<'_>) -> Result<Vec<Occasion>, String> {
    let occasions = parse::texts(value)?.into_iter().map(|name| {
        let found = Occasion::ALL.into_iter().find(|occasion| occasion.as_str() == name);
        found.ok_or_else(|| format!("{name:?} does not happen; there are {}", names()))
    });
    let occasions = occasions.collect::<Result<Vec<_>, _>>()?;
    if occasions.is_empty() {
        Err(format!("must not be empty; there are {}", names()))
    } else {
        Ok(occasions)
    }
}

fn names() -> String {
    Occasion::ALL.map(Occasion::as_str).join(", ")
}
