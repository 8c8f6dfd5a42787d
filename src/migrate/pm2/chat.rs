//! The replaced chat servers: chatctl is each of them itself.

use super::{
    super::{Value, What, keys::Toml},
    App, Variable, named, owner,
};
use crate::config::Profile;

/// The replaced servers, by the name of their script: what they spoke and where.
const CHATS: [(&str, Profile, u16); 3] = [
    ("worker.js", Profile::Local, 3000),
    ("web_worker.js", Profile::Web, 4000),
    ("react_worker.js", Profile::React, 4001),
];

/// What the server of this script spoke, and on which port; `None`: it is no chat server.
pub(super) fn of_script(file: &str) -> Option<(Profile, u16)> {
    CHATS.iter().find(|(worker, ..)| *worker == file).map(|(_, profile, port)| (*profile, *port))
}

/// Variables that only Node reads.
const NODES_OWN: [&str; 2] = ["NODE_ENV", "NODE_OPTIONS"];

/// One of the replaced chat servers: chatctl is that itself.
pub(super) fn chat(app: &mut App, keys: &[(String, Value)], profile: Profile, port: u16) {
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
