//! What chat.toml says of its own keys: the one place where they are documented, read for the schema and the tests.

use super::DEFAULT;

/// One key as it is documented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// `app`, `page`, ...; empty at the top.
    pub(super) section: String,
    pub(super) name: String,
    /// As it is written there.
    pub(super) value: String,
    /// The sentence beside it, or above it.
    pub(super) says: String,
    pub(super) shown: Shown,
    /// The line it stands in, from 1.
    pub(super) line: usize,
}

/// How a key stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// It is set.
    Set,
    /// `#key = value`: its default.
    Default,
    /// `# key = value`: something else than its default.
    Example,
}

/// Every key of the shipped file, in its order; one that stands there for several apps comes once.
pub(super) fn keys() -> Vec<Key> {
    let (mut keys, mut section, mut above): (Vec<Key>, _, _) = (Vec::new(), String::new(), String::new());
    for (line, text) in (1..).zip(DEFAULT.lines()) {
        let inner = text.trim_start_matches('#').trim();
        if let Some(name) = header(inner) {
            section = name.to_owned();
        } else if let Some((name, rest)) = assignment(text) {
            let (value, beside) = value_and_comment(rest);
            let says = beside.map_or_else(|| above.trim().to_owned(), |comment| comment.trim().to_owned());
            let shown = match text.as_bytes() {
                [b'#', b' ', ..] => Shown::Example,
                [b'#', ..] => Shown::Default,
                _ => Shown::Set,
            };
            let (section, name, value) = (section.clone(), name.to_owned(), value.to_owned());
            let key = Key { section, name, value, says, shown, line };
            match keys.iter_mut().find(|known| known.section == key.section && known.name == key.name) {
                Some(known) if known.says.is_empty() => known.says = key.says,
                Some(_) => {}
                None => keys.push(key),
            }
        } else if text.starts_with([' ', '\t']) && inner != text {
            // The sentence beside the last key goes on.
            if let Some(key) = keys.last_mut() {
                key.says.push(' ');
                key.says.push_str(inner);
            }
        }
        if text.starts_with("# ") && assignment(text).is_none() {
            above.push_str(inner);
            above.push(' ');
        } else if header(inner).is_none() {
            above.clear();
        }
    }
    keys
}

/// `[section]` or `[[section]]`, also one that is commented out.
fn header(text: &str) -> Option<&str> {
    let name = text.strip_prefix('[')?.split(']').next()?.trim_start_matches('[');
    (!name.is_empty() && name.chars().all(is_key)).then_some(name)
}

/// `key = ...`, also behind `#` or `# `.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.strip_prefix('#').unwrap_or(line);
    let (name, value) = line.strip_prefix(' ').unwrap_or(line).split_once(" = ")?;
    (!name.is_empty() && name.chars().all(is_key)).then_some((name, value))
}

fn is_key(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

/// A `#` within quotes begins no comment.
fn value_and_comment(text: &str) -> (&str, Option<&str>) {
    let mut quoted = false;
    let begins = text.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == '#' && !quoted
    });
    match begins {
        Some((at, _)) => (text[..at].trim(), Some(&text[at + 1..])),
        None => (text.trim(), None),
    }
}
