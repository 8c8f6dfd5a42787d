//! The JSON schema of chat.toml, for editors. It is not written down anywhere: the reader is asked which keys it knows
//! and which kinds of values it takes, and chat.toml what they mean. So it cannot be wrong when either changes.

use super::{
    Profile,
    documented::{self, Key, Shown},
    read::{Examined, examine},
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, path::Path};

/// Where install.sh puts the schema, seen from the folder of the program.
const INSTALLED: &str = "../share/chatctl/chat.schema.json";

/// What each kind of value may look like; a key takes a kind when it takes one of these.
const SAMPLES: [(&str, &[&str]); 6] = [
    ("boolean", &["true", "false"]),
    ("integer", &["0", "1", "16", "3000", "100000", "1048576"]),
    (
        "string",
        &[
            "\"a\"",
            "\"1s\"",
            "\"300M\"",
            "\"127.0.0.1:3000\"",
            "\"http://127.0.0.1:8080/\"",
            "\"https://a.example\"",
            "\"Asia/Seoul\"",
            "\"0 4 * * *\"",
            "\"web\"",
            "\"info\"",
            "\"json\"",
            "\"crash\"",
            "\"SIGINT\"",
            "\"10.0.0.0/8\"",
        ],
    ),
    ("array", &["[]", "[\"a\"]", "[1]", "[\"https://a.example\"]", "[\"10.0.0.0/8\"]", "[\"crash\"]"]),
    ("object", &["{}", "{ a = \"b\" }", "{ cert = \"a\", key = \"b\" }"]),
    ("number", &["0.5"]),
];

/// The schema (JSON Schema draft 7).
pub(crate) fn schema() -> Value {
    let (known, tables) = keys();
    let documented = documented::keys();
    let mut top = Map::new();
    let sections: BTreeSet<&str> = known.iter().map(|(section, _)| section.as_str()).collect();
    for section in sections.iter().filter(|section| !section.is_empty()) {
        let names = known.iter().filter(|(of, _)| of == section);
        let is_list = tables.iter().any(|table| table == section);
        let properties: Map<String, Value> =
            names.map(|(_, name)| (name.clone(), property(section, is_list, name, &documented))).collect();
        let table = json!({ "type": "object", "additionalProperties": false, "properties": properties });
        top.insert(
            (*section).to_owned(),
            if is_list { json!({ "type": "array", "items": table }) } else { table },
        );
    }
    for (_, name) in
        known.iter().filter(|(section, name)| section.is_empty() && !sections.contains(name.as_str()))
    {
        top.insert(name.clone(), property("", false, name, &documented));
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "chat.toml",
        "description": "What chatctl runs, and how its chat servers behave.",
        "type": "object",
        "additionalProperties": false,
        "properties": top,
        "required": ["app"],
    })
}

/// The line with which a new chat.toml tells editors of the schema, where one is installed.
pub(crate) fn hint() -> String {
    let beside = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join(INSTALLED)));
    beside.and_then(|path| path.canonicalize().ok()).map_or_else(String::new, |path| named(&path))
}

fn named(path: &Path) -> String {
    format!("#:schema file://{}\n", path.display())
}

/// Every key the reader knows, by section; and the sections that are written `[[section]]`.
pub(super) fn keys() -> (BTreeSet<(String, String)>, Vec<String>) {
    let known = |text: &str| examine(text).known;
    let plain = known(&text("", ("", ""), "", ""));
    let is_list = |name: &str| {
        let Examined { problems, .. } = examine(&format!("{}[[{name}]]\n", text("", ("", ""), "", "")));
        name == "app" || !problems.iter().any(|problem| problem.key == name)
    };
    let tops: BTreeSet<&str> =
        plain.iter().filter(|(section, _)| section.is_empty()).map(|(_, name)| *name).collect();
    let tables: Vec<String> =
        tops.iter().filter(|name| is_list(name)).map(|name| (*name).to_owned()).collect();
    let elements: String =
        tables.iter().filter(|name| *name != "app").map(|name| format!("[[{name}]]\n")).collect();
    let all = [known(&(text("", ("", ""), "", "") + &elements)), known(&program(""))].concat();
    let keys = all.into_iter().map(|(section, key)| (section_of(&section, &tables), key.to_owned()));
    (keys.collect(), tables)
}

/// `app.chatting` is of the section `app`.
fn section_of(name: &str, tables: &[String]) -> String {
    match name.split_once('.') {
        Some((first, _)) if tables.iter().any(|table| table == first) => first.to_owned(),
        _ => name.to_owned(),
    }
}

/// A file in which this key has this value, and all else is as it must be.
fn text(section: &str, (open, close): (&str, &str), key: &str, value: &str) -> String {
    let line = if key.is_empty() { String::new() } else { format!("{key} = {value}\n") };
    let (top, app, other) = match section {
        "" => (line, String::new(), String::new()),
        "app" => (String::new(), line, String::new()),
        _ => (String::new(), String::new(), format!("{open}{section}{close}\n{line}")),
    };
    let name = if section == "app" && key == "name" { "" } else { "name = \"a\"\n" };
    let listen = if section == "app" && key == "listen" { "" } else { "listen = 3000\n" };
    format!("{top}[[app]]\n{name}{listen}{app}{other}")
}

/// The same, of an app that is a program of its own.
fn program(line: &str) -> String {
    let command = if line.starts_with("command = ") { "" } else { "command = \"a\"\n" };
    format!("[[app]]\nname = \"a\"\n{command}{line}")
}

fn property(section: &str, is_list: bool, name: &str, documented: &[Key]) -> Value {
    let takes = |value: &str| {
        let fits = |text: &str| {
            // Without a key: it is no TOML.
            let about = |key: &str| key.is_empty() || key.rsplit('.').next() == Some(name);
            !examine(text).problems.iter().any(|problem| about(&problem.key))
        };
        let brackets = if is_list { ("[[", "]]") } else { ("[", "]") };
        let as_program = section == "app" && fits(&program(&format!("{name} = {value}\n")));
        fits(&text(section, brackets, name, value)) || as_program
    };
    let kinds: Vec<&str> = SAMPLES
        .iter()
        .filter(|(_, samples)| samples.iter().any(|sample| takes(sample)))
        .map(|(kind, _)| *kind)
        .collect();
    let mut property = Map::new();
    property.insert("type".to_owned(), json!(kinds));
    let profiles = Profile::NAMES.iter().all(|profile| takes(&format!("{profile:?}")));
    if profiles && !takes("\"a\"") {
        property.insert("enum".to_owned(), json!(Profile::NAMES));
    }
    if let Some(key) = documented.iter().find(|key| key.section == section && key.name == name) {
        let example = if key.shown == Shown::Default { "Default" } else { "As" };
        property
            .insert("description".to_owned(), format!("{} {example}: {}", key.says, key.value).trim().into());
    }
    property.into()
}

#[cfg(test)]
mod tests;
