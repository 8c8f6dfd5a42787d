//! Any other script: a program with its arguments.

use super::{
    super::{
        Found, Place, Value, What,
        keys::{Toml, texts},
        short,
    },
    App, named, owner,
};
use std::path::Path;

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

/// Any other script: a program of its own.
pub(super) fn program(app: &mut App, keys: &[(String, Value)], script: &str, place: &Place<'_>) {
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
    // What pm2 sends, to all it started.
    app.keys.push(("kill_signal", Toml::Text("SIGINT".to_owned())));
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
