//! The variables of an app.

use super::{
    super::{Place, Value, What, value::put},
    App,
};

/// A variable of a program.
#[derive(Debug)]
pub(in crate::migrate) struct Variable {
    pub(in crate::migrate) name: String,
    pub(in crate::migrate) text: String,
    pub(super) line: usize,
}

/// `env`, with the block that was asked for over it, and pm2's `port`.
pub(super) fn variables(app: &mut App, keys: &[(String, Value)], is_chat: bool, place: &Place<'_>) {
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
