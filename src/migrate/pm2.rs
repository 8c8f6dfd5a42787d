//! What an ecosystem file means: its apps, one by one. Each is one of the replaced chat servers ([`chat`]) or a program of
//! its own ([`program`]).

mod chat;
mod env;
mod program;

use super::{
    Note, Place, Read, Value, What,
    keys::{Fate, Toml, below, canonical, fate},
    value::put,
};
use env::Variable;
use std::path::Path;

/// Everything that is to be written.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) apps: Vec<App>,
    pub(super) notes: Vec<Note>,
}

/// One `[[app]]`.
#[derive(Debug)]
pub(super) struct App {
    pub(super) name: String,
    pub(super) line: usize,
    /// In words: what it became.
    pub(super) is: String,
    pub(super) keys: Vec<(&'static str, Toml)>,
    pub(super) env: Vec<Variable>,
    pub(super) notes: Vec<Note>,
    /// Where pm2's keys stand.
    lines: Vec<(String, usize)>,
}

impl App {
    /// Where a key stands in the pm2 file.
    pub(super) fn line_of(&self, key: &str) -> usize {
        self.lines.iter().find(|(name, _)| name == key).map_or(self.line, |(_, line)| *line)
    }

    /// Takes a variable out.
    fn take(&mut self, name: &str) -> Option<Variable> {
        let at = self.env.iter().position(|variable| variable.name == name)?;
        Some(self.env.remove(at))
    }

    pub(super) fn note(&mut self, line: usize, key: &str, why: impl Into<String>) {
        let what = if key.is_empty() { self.name.clone() } else { format!("{}: {key}", self.name) };
        self.notes.push(Note::new(line, what, why));
    }
}

/// Makes the apps of what was read.
pub(super) fn plan(read: Read, place: &Place<'_>) -> Plan {
    let mut plan = Plan { apps: Vec::new(), notes: read.notes };
    let mut lost = |line, what: &str, why: &str| plan.notes.push(Note::new(line, what, why));
    let apps = match &read.value.what {
        What::List(list) => list.as_slice(),
        // One app, by itself.
        What::Table(_) if read.value.get("apps").is_none() && read.value.get("script").is_some() => {
            std::slice::from_ref(&read.value)
        }
        What::Table(table) => {
            for (key, value) in table.iter().filter(|(key, _)| key != "apps") {
                let why = match key.as_str() {
                    "deploy" => {
                        "chatctl does not deploy: let what copies your files end with `chatctl reload`"
                    }
                    _ => "chatctl has no such section",
                };
                lost(value.line, key, why);
            }
            match read.value.get("apps").map(|apps| (&apps.what, apps)) {
                Some((What::List(list), _)) => list.as_slice(),
                Some((What::Table(_), one)) => std::slice::from_ref(one),
                Some((What::Unread(why), value)) => {
                    lost(value.line, "apps", why);
                    &[]
                }
                _ => &[],
            }
        }
        What::Unread(why) => {
            lost(read.value.line, "what is exported", why);
            &[]
        }
        _ => &[],
    };
    for value in apps {
        match app(value, place) {
            Ok(app) => plan.apps.push(app),
            Err(note) => plan.notes.push(note),
        }
    }
    apart(&mut plan.apps);
    if let Some(name) = place.env
        && !apps.iter().any(|app| app.get(&format!("env_{name}")).is_some())
    {
        plan.notes.push(Note::new(0, format!("--env {name}"), format!("no app has a block env_{name}")));
    }
    plan
}

fn app(value: &Value, place: &Place<'_>) -> Result<App, Note> {
    let What::Table(table) = &value.what else {
        return Err(Note::new(value.line, "an app", value.is_no("app")));
    };
    let mut keys: Vec<(String, Value)> = Vec::new();
    table.iter().for_each(|(key, value)| put(&mut keys, canonical(key), value.clone()));
    let get = |key: &str| keys.iter().find(|(name, _)| name == key).map(|(_, value)| value);
    let text = |key: &str| get(key).and_then(Value::as_text);
    let Some(script) = text("script") else {
        let named = text("name").unwrap_or_else(|| "an app".to_owned());
        let why = match get("script").map(|script| &script.what) {
            Some(What::Unread(why)) => format!("its script cannot be read: {why}"),
            _ => "it has no script".to_owned(),
        };
        return Err(Note::new(value.line, named, why));
    };
    let stem = Path::new(&script).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let wanted = text("name").or(stem).unwrap_or_default();
    let file = Path::new(&script).file_name().and_then(|file| file.to_str());
    let chat = file.and_then(chat::of_script);
    let mut app = App {
        name: name(&wanted),
        line: value.line,
        is: String::new(),
        keys: Vec::new(),
        env: Vec::new(),
        notes: Vec::new(),
        lines: keys.iter().map(|(key, value)| (key.clone(), value.line)).collect(),
    };
    if let Some(given) = get("name").filter(|given| given.as_text().is_none() && given.what != What::Nothing)
    {
        let why = format!("{}: it is named after its script", given.is_no("text"));
        app.note(given.line, "name", why);
    }
    if app.name != wanted {
        app.note(app.line_of("name"), "name", format!("{wanted:?} became {}", app.name));
    }
    env::variables(&mut app, &keys, chat.is_some(), place);
    match chat {
        Some((profile, port)) => chat::chat(&mut app, &keys, profile, port),
        None => program::program(&mut app, &keys, &script, place),
    }
    for (key, value) in &keys {
        plain(&mut app, key, value, chat.is_some());
    }
    let has = |app: &App, key| app.keys.iter().any(|(name, _)| *name == key);
    if has(&app, "restart_delay") && has(&app, "exp_backoff_restart_delay") {
        // In pm2 the second wins, in chatctl the first.
        app.keys.retain(|(key, _)| *key != "restart_delay");
        app.note(
            app.line_of("restart_delay"),
            "restart_delay",
            "exp_backoff_restart_delay stands beside it, and wins in pm2",
        );
    }
    Ok(app)
}

/// A key that stands for itself.
fn plain(app: &mut App, key: &str, value: &Value, is_chat: bool) {
    const MORE_THAN_THEMSELVES: [&str; 11] = [
        "name",
        "script",
        "args",
        "exec_interpreter",
        "node_args",
        "cwd",
        "env",
        "port",
        "watch",
        "uid",
        "gid",
    ];
    if MORE_THAN_THEMSELVES.contains(&key) || key.starts_with("env_") {
        return;
    }
    if let What::Unread(why) = &value.what {
        return app.note(value.line, key, why.clone());
    }
    if key == "ignore_watch" {
        return ignored(app, value);
    }
    match fate(key, value, is_chat) {
        Some(Fate::Key(name, toml)) => app.keys.push((name, toml)),
        Some(Fate::Nothing) => {}
        Some(Fate::Lost(why)) => app.note(value.line, &format!("{key} = {}", value.shown()), why),
        None => app.note(value.line, &format!("{key} = {}", value.shown()), "chatctl has no such key"),
    }
}

/// pm2 takes a plain name for a file or for a folder with all below; and patterns of JavaScript, which chatctl does not.
fn ignored(app: &mut App, value: &Value) {
    let one = std::slice::from_ref(value);
    let mut globs = Vec::new();
    for name in if let What::List(list) = &value.what { list } else { one } {
        match name.as_text() {
            Some(name) => globs.extend(below(&name)),
            None if name.what == What::Nothing => {}
            None => app.note(name.line, "ignore_watch", format!("one is missing: {}", name.is_no("glob"))),
        }
    }
    app.keys.push(("ignore_watch", Toml::Texts(globs)));
}

/// Who it runs as.
fn owner(app: &mut App, keys: &[(String, Value)]) {
    for (key, value) in keys {
        let name = match key.as_str() {
            "uid" => "user",
            "gid" => "group",
            _ => continue,
        };
        match named(app, key, value) {
            Some(owner) => app.keys.push((name, Toml::Text(owner))),
            None if matches!(value.what, What::Nothing | What::Text(_)) => {}
            None => {
                app.note(value.line, key, format!("it runs as the supervisor does, until `{name}` is set"))
            }
        }
    }
}

/// A text that names something: an empty one is for pm2 as none at all.
fn named(app: &mut App, key: &str, value: &Value) -> Option<String> {
    let text = value.as_text();
    if text.is_none() && value.what != What::Nothing {
        app.note(value.line, key, value.is_no("text"));
    }
    text.filter(|text| !text.trim().is_empty())
}

/// A name as chat.toml takes it.
fn name(wanted: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    let name: String = wanted.chars().map(fits).take(60).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "app".to_owned() } else { name.to_owned() }
}

/// No two apps with one name, and no two chat servers on one port.
fn apart(apps: &mut [App]) {
    let mut names: Vec<String> = Vec::new();
    let mut ports: Vec<Toml> = Vec::new();
    for app in apps {
        if names.contains(&app.name) {
            let other = (2..).map(|n| format!("{}-{n}", app.name)).find(|name| !names.contains(name));
            let old = std::mem::replace(&mut app.name, other.unwrap_or_default());
            app.note(app.line, "name", format!("another app is named {old} already"));
        }
        names.push(app.name.clone());
        let listen = app.keys.iter().find(|(key, _)| *key == "listen").map(|(_, value)| value.clone());
        let enabled = !app.keys.contains(&("enabled", Toml::Flag(false)));
        if let Some(listen) = listen.filter(|_| enabled) {
            if ports.contains(&listen) {
                app.keys.push(("enabled", Toml::Flag(false)));
                app.note(
                    app.line,
                    "listen",
                    "another chat server has this port: one serves all cores; this one is disabled",
                );
            }
            ports.push(listen);
        }
    }
}
