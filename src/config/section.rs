//! The file table by table: its keys are taken one by one, each complaint has its line, and what nobody took was unknown.

use super::Problem;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// The text, and what is wrong with it.
pub(super) struct File<'t> {
    pub(super) text: &'t str,
    pub(super) problems: Vec<Problem>,
    pub(super) known: Vec<(String, &'static str)>,
}

impl<'t> File<'t> {
    /// Reads its syntax; what is wrong there is complained of.
    pub(super) fn parse(text: &'t str) -> (Self, toml::Spanned<DeTable<'t>>) {
        let mut file = File { text, problems: Vec::new(), known: Vec::new() };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let span = error.span().or_else(|| place(text, error.message()));
            let twice = error.message() == "duplicate key";
            let key = span.clone().filter(|_| twice).and_then(|span| text.get(span));
            file.complain(span, key.unwrap_or_default().to_owned(), error.message().to_owned());
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
