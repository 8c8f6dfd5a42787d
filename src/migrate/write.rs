//! Writing the new chat.toml, and reading it at once: what the configuration does not take becomes a note.

use super::{
    Migrated, Note, Place,
    keys::Toml,
    pm2::{App, Plan},
};
use crate::config::{Config, quoted, schema};

/// # Errors
/// What was written is no configuration, which is a mistake of this program.
pub(super) fn write(mut plan: Plan, place: &Place<'_>) -> Result<Migrated, String> {
    loop {
        let text = text(&plan, place);
        let problems = match Config::from_text(&text, Some(place.to)) {
            Ok(_) => return Ok(done(plan, text)),
            Err(error) => error.problems,
        };
        let mut mended = false;
        for problem in problems {
            mended |= take_out(&mut plan, &problem.key, &problem.message);
        }
        if !mended {
            return Err(format!(
                "this pm2 file leads to a chat.toml with problems, please report it:\n{text}"
            ));
        }
    }
}

/// Takes a key out that the configuration does not take; `key` is as `app.chatting.watch`.
fn take_out(plan: &mut Plan, key: &str, why: &str) -> bool {
    let mut parts = key.splitn(3, '.');
    let (Some("app"), Some(name), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        // None of them is to be started: then the first is, so that there is something.
        let first = plan.apps.first_mut().filter(|_| key == "app");
        let enabled = first.and_then(|app| {
            let at = app.keys.iter().position(|(key, _)| *key == "enabled")?;
            app.keys.remove(at);
            app.note(app.line, "autostart", "no app would start: this one is enabled");
            Some(())
        });
        return enabled.is_some();
    };
    let Some(app) = plan.apps.iter_mut().find(|app| app.name == name) else { return false };
    let before = app.keys.len();
    app.keys.retain(|(name, _)| *name != key);
    let gone = app.keys.len() < before;
    if gone {
        app.note(app.line_of(key), key, why);
    }
    gone
}

fn done(plan: Plan, text: String) -> Migrated {
    let mut notes = plan.notes;
    let mut apps = Vec::new();
    for app in plan.apps {
        notes.extend(app.notes);
        apps.push((app.name, app.is));
    }
    notes.sort_by_key(|note| note.line);
    Migrated { text, apps, notes, by_node: None }
}

fn text(plan: &Plan, place: &Place<'_>) -> String {
    let from = place.from.file_name().unwrap_or_default().display();
    let mut text = format!(
        "{}# Made of {from} by `chatctl init --from`. `chatctl check` says whether this machine has what it takes.\n\
         # Every key that there is, with its default: `chatctl init all.toml`. What could not be carried over, or not as it\n\
         # stood, is said in comments.\n",
        schema::hint()
    );
    for note in &plan.notes {
        comment(&mut text, note, &note.what);
    }
    plan.apps.iter().for_each(|app| self::app(&mut text, app));
    text
}

fn app(text: &mut String, app: &App) {
    text.push_str(&format!("\n[[app]]\nname = {}\n", quoted(&app.name)));
    for (key, value) in &app.keys {
        text.push_str(&format!("{key} = {}\n", value.written()));
    }
    if !app.env.is_empty() {
        let pairs =
            app.env.iter().map(|variable| format!("{} = {}", bare(&variable.name), quoted(&variable.text)));
        text.push_str(&format!("env = {{ {} }}\n", pairs.collect::<Vec<_>>().join(", ")));
    }
    for note in &app.notes {
        let what = note.what.strip_prefix(&format!("{}: ", app.name)).unwrap_or(&note.what);
        comment(text, note, what);
    }
}

/// A key as it may stand without quotes, else with them.
fn bare(key: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.chars().all(fits) { key.to_owned() } else { quoted(key) }
}

/// A comment is one line, whatever stood in the file.
fn comment(text: &mut String, note: &Note, what: &str) {
    let line = if note.line == 0 { String::new() } else { format!(", line {}", note.line) };
    let says = format!("pm2{line}: {what}: {}", note.why);
    text.push_str("# ");
    text.extend(says.chars().map(|c| if c.is_control() { ' ' } else { c }));
    text.push('\n');
}

impl Toml {
    fn written(&self) -> String {
        let list = |items: Vec<String>| format!("[{}]", items.join(", "));
        match self {
            Self::Flag(flag) => flag.to_string(),
            Self::Whole(number) => number.to_string(),
            Self::Text(text) => quoted(text),
            Self::Texts(texts) => list(texts.iter().map(|text| quoted(text)).collect()),
            Self::Wholes(numbers) => list(numbers.iter().map(u64::to_string).collect()),
        }
    }
}
