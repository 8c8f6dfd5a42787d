//! What an ecosystem file means: its apps, one by one.

use super::{
    Found, Note, Place, Read, Value, What,
    keys::{Fate, Toml, below, canonical, fate, texts},
    short,
    value::put,
};
use crate::config::Profile;
use std::path::Path;

/// The replaced servers, by the name of their script: what they spoke and where.
const CHATS: [(&str, Profile, u16); 3] = [
    ("worker.js", Profile::Local, 3000),
    ("web_worker.js", Profile::Web, 4000),
    ("react_worker.js", Profile::React, 4001),
];

/// What runs a script, by its ending, as pm2 has it.
const INTERPRETERS: [(&str, &str); 13] = [
    ("js", "node"),
    ("cjs", "node"),
    ("mjs", "node"),
    ("sh", "bash"),
    ("py", "python3"),
    ("rb", "ruby"),
    ("php", "php"),
    ("pl", "perl"),
    ("coffee", "coffee"),
    ("ls", "lsc"),
    ("ts", "bun"),
    ("tsx", "bun"),
    ("jsx", "bun"),
];

/// Variables that only Node reads.
const NODES_OWN: [&str; 2] = ["NODE_ENV", "NODE_OPTIONS"];

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

/// A variable of a program.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) text: String,
    line: usize,
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
    let chat = CHATS.iter().find(|(worker, ..)| Some(*worker) == file);
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
    variables(&mut app, &keys, chat.is_some(), place);
    match chat {
        Some((_, profile, port)) => self::chat(&mut app, &keys, *profile, *port),
        None => program(&mut app, &keys, &script, place),
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

/// One of the replaced chat servers: chatctl is that itself.
fn chat(app: &mut App, keys: &[(String, Value)], profile: Profile, port: u16) {
    let mut listen = port;
    if let Some(Variable { text, line, .. }) = app.take("PORT") {
        match text.trim().parse::<u16>() {
            Ok(own @ 1..) if own != listen => {
                listen = own;
                app.note(
                    line,
                    "env.PORT",
                    format!("became listen; the replaced server's own port was {port}"),
                );
            }
            Ok(1..) => {}
            Ok(0) | Err(_) => {
                app.note(line, "env.PORT", format!("{text:?} is no port; the server listens on {port}"))
            }
        }
    }
    for name in NODES_OWN {
        if let Some(variable) = app.take(name) {
            app.note(variable.line, &format!("env.{name}"), "only Node reads it");
        }
    }
    for (key, value) in keys {
        let why = match key.as_str() {
            "args" | "node_args" => "the server is chatctl itself, which takes neither",
            "exec_interpreter" if named(app, key, value).is_some_and(|own| own != "node") => {
                "the server is chatctl itself: there is no script to interpret"
            }
            "watch" if value.is_true().is_none() => {
                app.note(value.line, "watch", value.is_no("path"));
                continue;
            }
            "watch" if value.is_true() == Some(true) => {
                app.keys.push(("watch", Toml::Flag(true)));
                if value.what != What::Flag(true) {
                    app.note(
                        value.line,
                        "watch",
                        "watch = true: the binary, chat.toml and the page; add paths where more counts",
                    );
                }
                continue;
            }
            _ => continue,
        };
        app.note(value.line, &format!("{key} = {}", value.shown()), why);
    }
    app.is = format!("chat server, profile {}, port {listen}", profile.as_str());
    app.keys.insert(0, ("profile", Toml::Text(profile.as_str().to_owned())));
    app.keys.insert(1, ("listen", Toml::Text(format!("0.0.0.0:{listen}"))));
    owner(app, keys);
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

/// Any other script: a program of its own.
fn program(app: &mut App, keys: &[(String, Value)], script: &str, place: &Place<'_>) {
    let get = |key: &str| keys.iter().find(|(name, _)| name == key).map(|(_, value)| value);
    let base = get("cwd").and_then(|cwd| named(app, "cwd", cwd));
    let cwd = place.path(base.as_deref().unwrap_or("."), place.folder());
    let folder = place.folder().join(base.as_deref().unwrap_or("."));
    let mut argv = Vec::new();
    let interpreter = get("exec_interpreter").and_then(|own| named(app, "exec_interpreter", own));
    if interpreter.as_deref().is_some_and(|own| own.starts_with("node@")) {
        let why = "pm2 finds this version by nvm; write the path of its node into `command`";
        app.note(app.line_of("exec_interpreter"), "exec_interpreter", why);
    }
    let is_path = script.contains('/') || (place.look)(&folder.join(script)) != Found::Nothing;
    if script == "serve" && !is_path {
        let why = "pm2 serves files itself by this name; here it is a program of its own (npm i -g serve), or your web server";
        app.note(app.line_of("script"), "script", why);
    }
    if script.contains(char::is_whitespace) && !is_path {
        argv.extend(["sh", "-c", script].map(str::to_owned));
    } else {
        let runner = match interpreter.as_deref() {
            Some("none") => None,
            Some(own) => Some(own.to_owned()),
            None => by_itself(script, is_path, (place.look)(&folder.join(script))),
        };
        let own = words(app, get("node_args"), "node_args");
        match runner {
            Some(runner) => argv.extend(std::iter::once(runner).chain(own)),
            None if own.is_empty() => {}
            None => app.note(app.line_of("node_args"), "node_args", "there is no interpreter to take them"),
        }
        argv.push(script.to_owned());
    }
    argv.extend(words(app, get("args"), "args"));
    app.is = short(&argv.join(" "));
    app.keys.insert(0, ("command", Toml::Texts(argv)));
    if cwd != "." {
        app.keys.insert(1, ("cwd", Toml::Text(cwd.clone())));
    }
    owner(app, keys);
    match get("watch").map(|watch| (watch, texts(watch))) {
        // pm2 watches the folder it runs in.
        Some((Value { what: What::Flag(true), .. }, _)) => app.keys.push(("watch", Toml::Texts(vec![cwd]))),
        Some((Value { what: What::Flag(false) | What::Nothing, .. }, _)) | None => {}
        Some((_, Some(paths))) => {
            let paths = paths.iter().map(|path| place.path(path, &folder)).collect();
            app.keys.push(("watch", Toml::Texts(paths)));
        }
        Some((watch, None)) => app.note(watch.line, "watch", watch.is_no("list of paths")),
    }
}

/// What pm2 runs a script with when nobody says.
fn by_itself(script: &str, is_path: bool, found: Found) -> Option<String> {
    let ending = Path::new(script).extension().and_then(|ending| ending.to_str());
    let known = INTERPRETERS.iter().find(|(known, _)| Some(*known) == ending).map(|(_, runner)| *runner);
    match known {
        Some(runner) => Some(runner.to_owned()),
        None if !is_path || found == Found::Binary => None,
        None => Some("node".to_owned()),
    }
}

/// Arguments: a list, or a text that is cut as a shell does.
fn words(app: &mut App, value: Option<&Value>, key: &str) -> Vec<String> {
    let Some(value) = value else { return Vec::new() };
    let words = match &value.what {
        What::Nothing => Some(Vec::new()),
        What::List(list) => {
            for unread in list.iter().filter(|word| word.as_text().is_none()) {
                app.note(unread.line, key, format!("one is missing: {}", unread.is_no("text")));
            }
            Some(list.iter().filter_map(Value::as_text).collect())
        }
        What::Unread(why) => {
            app.note(value.line, key, why.clone());
            return Vec::new();
        }
        _ => value.as_text().and_then(|text| shlex::split(&text)),
    };
    words.unwrap_or_else(|| {
        app.note(value.line, key, format!("{} is no list of arguments", value.shown()));
        Vec::new()
    })
}

/// `env`, with the block that was asked for over it, and pm2's `port`.
fn variables(app: &mut App, keys: &[(String, Value)], is_chat: bool, place: &Place<'_>) {
    let over = place.env.map(|name| format!("env_{name}"));
    let mut env: Vec<(String, Value)> = Vec::new();
    let chosen = |key: &str| key == "env" || Some(key) == over.as_deref();
    let mut blocks: Vec<&(String, Value)> = keys.iter().filter(|(key, _)| chosen(key)).collect();
    blocks.sort_by_key(|(key, _)| key != "env");
    for (key, block) in blocks {
        match &block.what {
            What::Table(table) => {
                table.iter().for_each(|(name, value)| put(&mut env, name.clone(), value.clone()))
            }
            What::Nothing => {}
            _ => app.note(block.line, key, block.is_no("table of variables")),
        }
    }
    if let Some((_, port)) = keys.iter().find(|(key, _)| key == "port") {
        put(&mut env, "PORT".to_owned(), port.clone());
    }
    for (name, value) in env {
        match (value.as_text(), &value.what) {
            (Some(text), _) => app.env.push(Variable { name, text, line: value.line }),
            (None, What::Nothing) => {}
            (None, What::Unread(why)) => {
                let there = if is_chat && name == "PORT" { "listen" } else { "env" };
                app.note(value.line, &format!("env.{name}"), format!("{why}: set it in `{there}`"))
            }
            (None, _) => app.note(value.line, &format!("env.{name}"), value.is_no("text")),
        }
    }
    for (key, block) in keys.iter().filter(|(key, _)| key.starts_with("env_") && !chosen(key)) {
        let name = key.trim_start_matches("env_");
        app.note(block.line, key, format!("is laid over env with: chatctl init --from ... --env {name}"));
    }
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
