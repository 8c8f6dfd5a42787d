//! Moving in from pm2: its ecosystem file becomes a chat.toml. Nothing of it is executed: what stands there, and in JSON
//! files that it names, is read as far as it can be known without running it, and of the rest it is said in which line
//! it stands.
//!
//! ```text
//! .js .cjs .mjs .json -> js --+
//!                             +--> value -> pm2 (what each key becomes) -> write -> chat.toml, and what is missing
//! .yaml .yml ----------> yaml-+
//! ```
//!
//! Promises: what is written is a configuration without a problem; whatever stands in the pm2 file comes out, either as
//! a key or in the list of what was not carried over; no file makes it panic or run away.

mod js;
mod keys;
mod pm2;
mod value;
mod write;
mod yaml;

use crate::error::Failure;
use std::path::{Path, PathBuf};
use value::{Value, What};

/// Longer than any ecosystem file that people wrote.
pub(crate) const LONGEST: u64 = 1 << 20;

/// What is said of what only Node could find out.
const BY_NODE_ONLY: [&str; 2] = ["without running the file", "is another file or module"];

/// One thing that was not carried over, or not as it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// Line of the pm2 file, from 1; 0 when it is about no line.
    pub(crate) line: usize,
    /// The app and key, or what stands there.
    pub(crate) what: String,
    /// Why, and what to do.
    pub(crate) why: String,
}

impl Note {
    fn new(line: usize, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { line, what: what.into(), why: why.into() }
    }
}

/// What a pm2 file says, before anything is made of it.
struct Read {
    value: Value,
    notes: Vec<Note>,
}

/// A new chat.toml.
#[derive(Debug)]
pub(crate) struct Migrated {
    /// The text of the file.
    pub(crate) text: String,
    /// What each app became, in words, by its name.
    pub(crate) apps: Vec<(String, String)>,
    /// What was not carried over, in the order of the pm2 file.
    pub(crate) notes: Vec<Note>,
    /// How Node finds out the rest, where it can: a line for the shell.
    pub(crate) by_node: Option<String>,
}

/// What the migration depends on besides the file.
pub(crate) struct Place<'a> {
    /// The pm2 file; its folder is `__dirname`. Absolute.
    pub(crate) from: &'a Path,
    /// Where the chat.toml is to be. Absolute.
    pub(crate) to: &'a Path,
    /// The `env_NAME` to lie over `env`.
    pub(crate) env: Option<&'a str>,
    /// What lies at a path.
    pub(crate) look: &'a dyn Fn(&Path) -> Found,
    /// The text of another file, such as package.json.
    pub(crate) read: &'a dyn Fn(&Path) -> Option<String>,
}

impl Place<'_> {
    fn folder(&self) -> &Path {
        self.from.parent().unwrap_or(Path::new("/"))
    }

    /// A path of the pm2 file as chat.toml is to name it: from its own folder where that is possible.
    fn path(&self, text: &str, base: &Path) -> String {
        let (path, here) = (flat(&base.join(text)), flat(self.to.parent().unwrap_or(Path::new("/"))));
        match path.strip_prefix(&here) {
            Ok(inside) if inside.as_os_str().is_empty() => ".".to_owned(),
            Ok(inside) => inside.display().to_string(),
            Err(_) => path.display().to_string(),
        }
    }
}

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing, or no file.
    Nothing,
    /// A text.
    Text,
    /// A program in machine code.
    Binary,
}

/// Reads a pm2 file, and makes a chat.toml of it.
///
/// # Errors
/// It cannot be read, or nothing in it is an app.
pub(crate) fn migrate(place: &Place<'_>) -> Result<Migrated, Failure> {
    let name = place.from.display();
    let cannot = |error: std::io::Error| Failure::usage(format_args!("cannot read {name}: {error}"));
    if std::fs::metadata(place.from).map_err(cannot)?.len() > LONGEST {
        return Err(Failure::usage(format_args!("{name} is over {LONGEST} bytes: it is no ecosystem file")));
    }
    let text = std::fs::read_to_string(place.from).map_err(cannot)?;
    made_of(&text, place)
}

/// The same, of a text that was read.
pub(crate) fn made_of(text: &str, place: &Place<'_>) -> Result<Migrated, Failure> {
    let name = place.from.display();
    let extension = place.from.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let read = match extension {
        "js" | "cjs" | "mjs" => js::script(text, place),
        "json" => js::json(text, place),
        "yaml" | "yml" => yaml::read(text),
        _ => {
            return Err(Failure::usage(format_args!("{name} is no pm2 file"))
                .hint("one ends in .js, .cjs, .mjs, .json, .yaml or .yml"));
        }
    };
    let read = read.map_err(|why| {
        let failure = Failure::usage(format_args!("{name}: {why}"));
        match by_node(place, &why, "") {
            Some(command) => failure.hint(format_args!("Node can run it: {command}")),
            None => failure,
        }
    })?;
    let plan = pm2::plan(read, place);
    if plan.apps.is_empty() {
        let why: String = plan
            .notes
            .iter()
            .map(|note| format!("\n  line {}: {}: {}", note.line, note.what, note.why))
            .collect();
        let hint = match by_node(place, &why, "") {
            Some(command) => format!("Node can run it: {command}"),
            None => "`chatctl init` without --from writes a chat.toml to begin with".to_owned(),
        };
        return Err(
            Failure::usage(format_args!("{name}: there is no app that could be read{why}")).hint(hint)
        );
    }
    let mut migrated = write::write(plan, place).map_err(Failure::failed)?;
    migrated.by_node = migrated.notes.iter().find_map(|note| by_node(place, &note.why, "--force "));
    Ok(migrated)
}

/// How Node tells what is known only when the file is run, should `why` say that this is so: as JSON beside the file, so
/// that paths mean the same.
fn by_node(place: &Place<'_>, why: &str, force: &str) -> Option<String> {
    let is_script = place.from.extension().is_some_and(|is| is == "js" || is == "cjs");
    if !is_script || !BY_NODE_ONLY.iter().any(|words| why.contains(words)) {
        return None;
    }
    let [from, json, to] = [place.from, &place.from.with_extension("json"), place.to].map(|path| {
        let path = path.display().to_string();
        shlex::try_quote(&path).map(std::borrow::Cow::into_owned).ok()
    });
    let (from, json, to) = (from?, json?, to?);
    let script = "'JSON.stringify(require(process.argv[1]))'";
    Some(format!("node -p {script} {from} > {json} && chatctl init {force}--from {json} {to}"))
}

/// Without `.` and `..`, by the words alone.
fn flat(path: &Path) -> PathBuf {
    use std::path::Component::{CurDir, ParentDir};
    path.components().fold(PathBuf::new(), |mut flat, part| {
        match part {
            CurDir => {}
            ParentDir => drop(flat.pop()),
            part => flat.push(part),
        }
        flat
    })
}

/// For people: one line, and not a long one.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 60 { line } else { line.chars().take(57).chain("...".chars()).collect() }
}

#[cfg(test)]
mod tests;
