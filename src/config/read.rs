//! Reading and checking chat.toml: all problems at once, each with line and key.

use super::{
    Config, DEFAULT, History, Page, Recovery, Server,
    apps::apps,
    limits::{self, bytes, count},
    operations, parse,
};
use crate::error::Failure;
use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};
use toml::de::{DeTable, DeValue};

/// A configuration that cannot be used.
#[derive(Debug)]
pub(crate) struct ConfigError {
    /// The file, as it was named; the built-in one has a name too.
    pub(crate) file: String,
    /// What is wrong, all of it, in the order of the file.
    pub(crate) problems: Vec<Problem>,
    /// As far as the file can be understood: where a supervisor started with an earlier version of it would be.
    pub(crate) state_dir: PathBuf,
}

/// One thing wrong in the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Line, from 1; 0 when it is not about a line.
    pub(crate) line: usize,
    /// The key, as `app.chatting.listen`; empty when it is not about a key.
    pub(crate) key: String,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let Problem { line, key, message } = problem;
            f.write_str(if index == 0 { "" } else { "\n" })?;
            f.write_str(&self.file)?;
            if *line > 0 {
                write!(f, ":{line}")?;
            }
            f.write_str(": ")?;
            if !key.is_empty() {
                write!(f, "{key}: ")?;
            }
            f.write_str(message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let count = error.problems.len();
        let problems = if count == 1 { "a problem".to_owned() } else { format!("{count} problems") };
        Self::usage(format_args!("the configuration has {problems}; nothing was started\n{error}"))
    }
}

/// What of the process's surroundings the configuration depends on.
struct Surroundings {
    /// The current directory.
    here: PathBuf,
    /// `$HOME`.
    home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`.
    config_home: Option<PathBuf>,
    /// `$XDG_STATE_HOME`.
    state_home: Option<PathBuf>,
    /// `$STATE_DIRECTORY`, set by systemd.
    state_directory: Option<PathBuf>,
    root: bool,
}

impl Surroundings {
    fn real() -> Self {
        let dir = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            here: std::env::current_dir().unwrap_or_else(|_| "/".into()),
            home: dir("HOME"),
            config_home: dir("XDG_CONFIG_HOME"),
            state_home: dir("XDG_STATE_HOME"),
            state_directory: dir("STATE_DIRECTORY"),
            root: rustix::process::geteuid().is_root(),
        }
    }

    /// Where a configuration may lie when none is named.
    fn usual_places(&self) -> Vec<PathBuf> {
        let home = self.config_home.clone().or_else(|| Some(self.home.as_ref()?.join(".config")));
        let user = home.map(|home| home.join("chatctl/chat.toml"));
        [Some(self.here.join("chat.toml")), user, Some("/etc/chatctl/chat.toml".into())]
            .into_iter()
            .flatten()
            .collect()
    }

    fn state_dir(&self) -> PathBuf {
        let user = || {
            let home = self.state_home.clone().or_else(|| Some(self.home.as_ref()?.join(".local/state")));
            home.unwrap_or_else(|| self.here.clone()).join("chatctl")
        };
        let system = || self.root.then(|| "/var/lib/chatctl".into());
        self.state_directory.clone().or_else(system).unwrap_or_else(user)
    }
}

/// See [`Config::load`].
pub(super) fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
    let around = Surroundings::real();
    let found = match file {
        Some(file) => Some(around.here.join(file)),
        None => around.usual_places().into_iter().find(|place| place.is_file()),
    };
    let Some(path) = found else { return read(DEFAULT, None, &around) };
    match std::fs::read_to_string(&path) {
        Ok(text) => read(&text, Some(path), &around),
        Err(error) => {
            let message = format!("cannot be read: {error}");
            Err(ConfigError {
                file: path.display().to_string(),
                problems: vec![Problem { line: 0, key: String::new(), message }],
                state_dir: around.state_dir(),
            })
        }
    }
}

/// See [`Config::from_text`].
pub(super) fn from_text(text: &str, file: Option<&Path>) -> Result<Config, ConfigError> {
    let around = Surroundings::real();
    read(text, file.map(|file| around.here.join(file)), &around)
}

/// What reading a text shows of the reader itself: see [`super::schema`].
pub(super) struct Examined {
    pub(super) problems: Vec<Problem>,
    /// Every key that was looked for, as section and key, whether it was there or not.
    pub(super) known: Vec<(String, &'static str)>,
}

/// Reads a text for what the reader makes of it.
pub(super) fn examine(text: &str) -> Examined {
    let around = Surroundings::real();
    let (mut file, table) = File::parse(text);
    config(&mut file, table.get_ref(), None, &Places { base: around.here.clone(), around: &around });
    Examined { problems: file.problems, known: file.known }
}

fn read(text: &str, path: Option<PathBuf>, around: &Surroundings) -> Result<Config, ConfigError> {
    let (mut file, table) = File::parse(text);
    let base = path.as_deref().and_then(Path::parent).unwrap_or(&around.here).to_owned();
    let places = Places { base, around };
    // With broken syntax the rest is guesswork: what was meant is not to be second-guessed.
    let config = file.problems.is_empty().then(|| config(&mut file, table.get_ref(), path.clone(), &places));
    let name = path.map_or_else(|| "the built-in chat.toml".to_owned(), |path| path.display().to_string());
    file.problems.sort_by_key(|problem| problem.line);
    match config {
        Some(config) if file.problems.is_empty() => Ok(config),
        _ => {
            let named = table.get_ref().get("state_dir").and_then(|value| value.get_ref().as_str());
            let state_dir = named.map_or_else(|| around.state_dir(), |named| places.path(named));
            Err(ConfigError { file: name, problems: file.problems, state_dir })
        }
    }
}

/// The line of a key, as `cors.origins` or `app.chatting.listen`.
pub(super) fn line_of(text: &str, key: &str) -> Option<usize> {
    let (table, _) = DeTable::parse_recoverable(text);
    let table = table.get_ref();
    let value = match key.split('.').collect::<Vec<_>>()[..] {
        ["app", name, key] => {
            let named = |app: &&DeTable<'_>| {
                app.get("name").is_some_and(|value| value.get_ref().as_str() == Some(name))
            };
            let apps = table.get("app")?.get_ref().as_array()?.iter();
            apps.filter_map(|app| app.get_ref().as_table()).find(named)?.get(key)?
        }
        [section, key] => table.get(section)?.get_ref().as_table()?.get(key)?,
        [key] => table.get(key)?,
        _ => return None,
    };
    Some(line_at(text, value.span().start))
}

/// The line of a byte, from 1.
fn line_at(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

/// Where an error is of which the parser does not say it (keys that are nested too deeply): in the line with which it
/// first comes.
fn place(text: &str, message: &str) -> Option<Range<usize>> {
    let ends: Vec<usize> = text
        .split_inclusive('\n')
        .scan(0, |at, line| {
            Some({
                *at += line.len();
                *at
            })
        })
        .collect();
    let line = ends.partition_point(|end| {
        let (_, errors) = DeTable::parse_recoverable(&text[..*end]);
        errors.iter().all(|error| error.span().is_some() || error.message() != message)
    });
    let end = *ends.get(line)?;
    Some(end.saturating_sub(1)..end)
}

/// Where paths of the file start.
pub(super) struct Places<'a> {
    base: PathBuf,
    around: &'a Surroundings,
}

impl Places<'_> {
    pub(super) fn path(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), &self.around.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => self.base.join(text),
        }
    }
}

/// The text, and what is wrong with it.
pub(super) struct File<'t> {
    text: &'t str,
    problems: Vec<Problem>,
    known: Vec<(String, &'static str)>,
}

impl<'t> File<'t> {
    /// Reads its syntax; what is wrong there is complained of.
    fn parse(text: &'t str) -> (Self, toml::Spanned<DeTable<'t>>) {
        let mut file = File { text, problems: Vec::new(), known: Vec::new() };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let span = error.span().or_else(|| place(text, error.message()));
            file.complain(span, String::new(), error.message().to_owned());
        }
        (file, table)
    }

    pub(super) fn complain(&mut self, span: Option<Range<usize>>, key: String, message: String) {
        let line = span.map_or(0, |span| line_at(self.text, span.start));
        self.problems.push(Problem { line, key, message });
    }
}

/// One table of the file: its keys are taken one by one, and what is left was unknown.
pub(super) struct Section<'t> {
    name: String,
    pub(super) span: Range<usize>,
    pub(super) table: Option<&'t DeTable<'t>>,
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    pub(super) fn new(name: &str, span: Range<usize>, table: Option<&'t DeTable<'t>>) -> Self {
        Self { name: name.to_owned(), span, table, known: Vec::new() }
    }

    /// A table inside this one; a missing one is empty.
    pub(super) fn section(&mut self, file: &mut File<'_>, key: &'static str) -> Section<'t> {
        let value = self.value(key);
        let table = value.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (value, table) {
            file.complain(Some(value.span()), self.key(key), format!("must be a table: write [{key}]"));
        }
        Section::new(&self.key(key), value.map_or(0..0, toml::Spanned::span), table)
    }

    pub(super) fn value(&mut self, key: &'static str) -> Option<&'t toml::Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.table?.get(key)
    }

    /// The value of a key as `parse` reads it, or the default where it is missing or wrong.
    pub(super) fn take<T>(
        &mut self,
        file: &mut File<'_>,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&DeValue<'t>) -> Result<T, String>,
    ) -> T {
        let Some(value) = self.value(key) else { return default };
        parse(value.get_ref()).unwrap_or_else(|message| {
            file.complain(Some(value.span()), self.key(key), message);
            default
        })
    }

    pub(super) fn key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Complains of every key that nobody took, and notes those that were.
    pub(super) fn finish(self, file: &mut File<'_>) {
        for (key, _) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if !self.known.contains(&name) {
                file.complain(Some(key.span()), self.key(name), unknown(name, &self.known));
            }
        }
        file.known.extend(self.known.iter().map(|key| (self.name.clone(), *key)));
    }
}

/// What to do about a key that means nothing here.
fn unknown(key: &str, known: &[&'static str]) -> String {
    let advice = match key {
        "apps" => Some("write one [[app]] table for each app"),
        "script" | "interpreter" | "args" | "node_args" | "interpreter_args" => Some(
            "chatctl is the chat server itself: choose what it speaks by `profile`; another program goes to `command`",
        ),
        "instances" | "exec_mode" => Some("one process serves all cores: leave it out"),
        "port" => Some("write `listen`"),
        "out_file" | "error_file" | "log_file" | "output" | "error" => Some("logs are in <state_dir>/logs"),
        _ => None,
    };
    if let Some(advice) = advice {
        return format!("unknown key; {advice}");
    }
    let near = known
        .iter()
        .map(|known| (strsim::jaro_winkler(known, key), known))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((likeness, known)) if likeness > 0.8 => format!("unknown key; did you mean `{known}`?"),
        _ => format!("unknown key; there are {}", known.join(", ")),
    }
}

fn config(file: &mut File<'_>, table: &DeTable<'_>, path: Option<PathBuf>, places: &Places<'_>) -> Config {
    let mut top = Section::new("", 0..0, Some(table));
    let state_dir =
        top.take(file, "state_dir", places.around.state_dir(), |value| Ok(places.path(&parse::text(value)?)));
    let server = server(file, &mut top, places, &state_dir);
    let apps = apps(file, &mut top, places);
    let metrics = operations::metrics(file, &mut top);
    let names: Vec<String> = apps.iter().map(|app| app.name.clone()).collect();
    let hooks = operations::hooks(file, &mut top, &names);
    top.finish(file);
    Config { path, text: file.text.to_owned(), state_dir, apps, server, metrics, hooks }
}

fn server(file: &mut File<'_>, top: &mut Section<'_>, places: &Places<'_>, state_dir: &Path) -> Server {
    let mut section = top.section(file, "page");
    let page = Page {
        enabled: section.take(file, "enabled", true, parse::boolean),
        dir: section.take(file, "dir", None, |value| Ok(Some(places.path(&parse::text(value)?)))),
    };
    section.finish(file);
    let mut section = top.section(file, "cors");
    let cors = limits::cors(file, &mut section);
    section.finish(file);
    let mut section = top.section(file, "auth");
    let auth = limits::auth(file, &mut section, places);
    section.finish(file);
    let mut section = top.section(file, "chat");
    let timezone = section.take(file, "timezone", None, parse::timezone);
    section.finish(file);
    let mut section = top.section(file, "limits");
    let limits = limits::limits(file, &mut section);
    let exempt = limits::exempt(file, &mut section);
    section.finish(file);
    let mut section = top.section(file, "recovery");
    let recovery = recovery(file, &mut section, places, state_dir);
    section.finish(file);
    let mut section = top.section(file, "history");
    let history = History {
        messages: section.take(file, "messages", 0, |value| count(value, 0, 10_000)),
        keep: section.take(file, "keep", Duration::from_hours(24), parse::positive),
    };
    section.finish(file);
    let log = operations::log(file, top);
    Server { page, cors, auth, timezone, limits, exempt, recovery, history, log }
}

fn recovery(
    file: &mut File<'_>,
    section: &mut Section<'_>,
    places: &Places<'_>,
    state_dir: &Path,
) -> Recovery {
    Recovery {
        enabled: section.take(file, "enabled", true, parse::boolean),
        window: section.take(file, "window", Duration::from_mins(2), parse::positive),
        leave_grace: section.take(file, "leave_grace", Duration::from_secs(10), parse::duration),
        max_messages: section.take(file, "max_messages", 200_000, |value| parse::integer(value, 1, 1 << 40)),
        max_bytes: section.take(file, "max_bytes", 256 << 20, |value| bytes(value, 1 << 20, 1 << 40)),
        path: section
            .take(file, "path", state_dir.join("journal"), |value| Ok(places.path(&parse::text(value)?))),
    }
}

#[cfg(test)]
mod tests;
