//! Reading and checking chat.toml: all problems at once, each with line and key.

use super::{
    Config, DEFAULT, History, Page, Recovery, Server,
    apps::apps,
    limits::{self, bytes, count},
    operations, parse,
    places::{Places, Surroundings},
    section::{File, Section},
};
use crate::error::Failure;
use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};
use toml::de::DeTable;

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
