//! Reading `[[app]]`.

use super::{
    App, Ask, Command, KillSignal, Probe, Profile, Tls, Watch,
    limits::networks,
    parse,
    places::Places,
    section::{File, Section},
};
use std::{collections::BTreeMap, ops::Range, time::Duration};
use toml::de::{DeTable, DeValue};

/// Every `[[app]]`.
pub(super) fn apps(file: &mut File<'_>, top: &mut Section<'_>, places: &Places<'_>) -> Vec<App> {
    let Some(value) = top.value("app") else {
        file.complain(None, "app".to_owned(), "there is no [[app]]: write at least one".to_owned());
        return Vec::new();
    };
    let Some(array) = value.get_ref().as_array() else {
        file.complain(
            Some(value.span()),
            "app".to_owned(),
            "must be written as [[app]], with two brackets".to_owned(),
        );
        return Vec::new();
    };
    let mut apps: Vec<App> = Vec::new();
    for element in array.iter() {
        let Some(table) = element.get_ref().as_table() else {
            file.complain(Some(element.span()), "app".to_owned(), "must be a table".to_owned());
            continue;
        };
        if let Some(app) = app(file, table, element.span(), places) {
            clashes(file, &apps, &app, table);
            apps.push(app);
        }
    }
    if !apps.is_empty() && !apps.iter().any(|app| app.enabled) {
        file.complain(Some(value.span()), "app".to_owned(), "no app is enabled".to_owned());
    }
    apps
}

fn app(file: &mut File<'_>, table: &DeTable<'_>, span: Range<usize>, places: &Places<'_>) -> Option<App> {
    let name = table.get("name").and_then(|name| name.get_ref().as_str());
    let mut s = Section::new(&format!("app.{}", name.unwrap_or("?")), span, Some(table));
    let has_name = table.contains_key("name");
    if !has_name {
        file.complain(Some(s.span.clone()), s.key("name"), "every app needs a name".to_owned());
    }
    let name = s.take(file, "name", String::new(), parse::app_name);
    let trusted_proxies = s.take(file, "trusted_proxies", Vec::new(), networks);
    let tls = s.take(file, "tls", None, |value| tls(value, places).map(Some));
    let command = command(file, &mut s, places);
    let has_listen = table.contains_key("listen");
    let wrong = match (&command, has_listen) {
        (None, false) => Some("say where it listens, as \"0.0.0.0:3000\""),
        (Some(_), true) => Some("a program of its own listens where it wants to: leave it out"),
        _ => None,
    };
    if let Some(wrong) = wrong {
        file.complain(Some(s.span.clone()), s.key("listen"), wrong.to_owned());
    }
    let listen = s.take(file, "listen", None, |value| parse::address(value).map(Some));
    let bytes = |value: &DeValue<'_>| parse::size(value).map(Some);
    let count = |value: &DeValue<'_>, min, max| {
        parse::integer(value, min, max).map(|n| u32::try_from(n).unwrap_or(u32::MAX))
    };
    let max_memory_restart = s.take(file, "max_memory_restart", None, bytes);
    let app = App {
        name,
        listen,
        tls,
        trusted_proxies,
        enabled: s.take(file, "enabled", true, parse::boolean),
        profile: s.take(file, "profile", Profile::Local, parse::profile),
        max_memory_restart,
        max_memory_kill: s.take(file, "max_memory_kill", max_memory_restart.map(|bytes| bytes * 2), bytes),
        watch: s.take(file, "watch", Watch::Off, |value| {
            Ok(match parse::watch(value)? {
                Watch::Also(paths) => {
                    Watch::Also(paths.iter().map(|path| places.path(&path.to_string_lossy())).collect())
                }
                watch => watch,
            })
        }),
        ignore_watch: s.take(file, "ignore_watch", Vec::new(), parse::globs),
        watch_delay: s.take(file, "watch_delay", Duration::from_millis(500), parse::duration),
        autorestart: s.take(file, "autorestart", true, parse::boolean),
        stop_exit_codes: s.take(file, "stop_exit_codes", Vec::new(), parse::exit_codes),
        cron_restart: s.take(file, "cron_restart", None, |value| parse::schedule(value).map(Some)),
        probe: probe(file, &mut s, command.is_none()),
        min_uptime: s.take(file, "min_uptime", Duration::from_secs(5), parse::duration),
        max_restarts: s.take(file, "max_restarts", 16, |value| count(value, 1, 1 << 20)),
        restart_delay: s.take(file, "restart_delay", None, |value| parse::duration(value).map(Some)),
        exp_backoff_restart_delay: s.take(
            file,
            "exp_backoff_restart_delay",
            Duration::from_millis(100),
            parse::duration,
        ),
        listen_timeout: s.take(file, "listen_timeout", Duration::from_secs(10), parse::duration),
        kill_timeout: s.take(file, "kill_timeout", Duration::from_secs(5), parse::duration),
        log_max_size: s.take(file, "log_max_size", 10 << 20, parse::size),
        log_retain: s.take(file, "log_retain", 3, |value| count(value, 0, 1000)),
        nofile: s.take(file, "nofile", None, |value| parse::integer(value, 16, 1 << 30).map(Some)),
        nice: s.take(file, "nice", None, |value| parse::niceness(value).map(Some)),
        user: s.take(file, "user", None, |value| parse::text(value).map(Some)),
        group: s.take(file, "group", None, |value| parse::text(value).map(Some)),
        env: env(file, &mut s),
        command,
    };
    s.finish(file);
    (has_name && wrong.is_none()).then_some(app)
}

/// Both files.
fn tls(value: &DeValue<'_>, places: &Places<'_>) -> Result<Tls, String> {
    let wanted = "write { cert = \"fullchain.pem\", key = \"privkey.pem\" }";
    let table = value.as_table().ok_or_else(|| format!("this {} is no table: {wanted}", value.type_str()))?;
    if let Some((key, _)) = table.iter().find(|(key, _)| !["cert", "key"].contains(&key.get_ref().as_ref())) {
        return Err(format!("there is no {} in it: {wanted}", key.get_ref()));
    }
    let path = |key| {
        let value = table.get(key).ok_or_else(|| format!("{key} is missing: {wanted}"))?;
        parse::text(value.get_ref())
            .map(|path| places.path(&path))
            .map_err(|problem| format!("{key}: {problem}"))
    };
    Ok(Tls { cert: path("cert")?, key: path("key")? })
}

/// A program of its own, and how it is run.
fn command(file: &mut File<'_>, app: &mut Section<'_>, places: &Places<'_>) -> Option<Command> {
    let argv = app.take(file, "command", Vec::new(), parse::texts);
    let folder = |value: &DeValue<'_>| Ok(places.path(&parse::text(value)?));
    if argv.is_empty() {
        for key in ["cwd", "wait_ready", "kill_signal"] {
            if let Some(value) = app.value(key) {
                let message = "only for an app with a `command`".to_owned();
                file.complain(Some(value.span()), app.key(key), message);
            }
        }
        return None;
    }
    Some(Command {
        argv,
        cwd: app.take(file, "cwd", places.path("."), folder),
        wait_ready: app.take(file, "wait_ready", false, parse::boolean),
        kill_signal: app.take(file, "kill_signal", KillSignal::default(), parse::kill_signal),
    })
}

/// `chat`: the app is a chat server, and is asked as one unless it says otherwise.
fn probe(file: &mut File<'_>, app: &mut Section<'_>, chat: bool) -> Probe {
    let ask = app.take(file, "probe", if chat { Ask::Chat } else { Ask::Nothing }, parse::probe);
    Probe {
        ask: if ask == Ask::Chat && !chat { Ask::Nothing } else { ask },
        interval: app.take(file, "probe_interval", Duration::from_millis(500), parse::duration),
        timeout: app.take(file, "probe_timeout", Duration::from_secs(1), parse::duration),
        failures: app.take(file, "probe_failures", 3, |value| {
            parse::integer(value, 1, 1000).map(|n| u32::try_from(n).unwrap_or(u32::MAX))
        }),
    }
}

/// Variables of the child; numbers and flags become their text.
fn env(file: &mut File<'_>, app: &mut Section<'_>) -> BTreeMap<String, String> {
    let section = app.section(file, "env");
    let mut env = BTreeMap::new();
    for (key, value) in section.table.into_iter().flatten() {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(flag) => flag.to_string(),
            _ => {
                file.complain(Some(value.span()), section.key(key.get_ref()), "must be a text".to_owned());
                continue;
            }
        };
        env.insert(key.get_ref().to_string(), text);
    }
    env
}

/// Complains of a name or a port that an earlier app has.
fn clashes(file: &mut File<'_>, earlier: &[App], app: &App, table: &DeTable<'_>) {
    let span = |key| table.get(key).map(toml::Spanned::span);
    for other in earlier {
        if other.name == app.name {
            file.complain(
                span("name"),
                format!("app.{}.name", app.name),
                "another app has this name".to_owned(),
            );
        }
        let (Some(a), Some(b)) = (app.listen, other.listen) else { continue };
        let everywhere = |ip: std::net::IpAddr| ip.is_unspecified();
        let same = a.port() == b.port()
            && a.port() != 0
            && (a.ip() == b.ip() || everywhere(a.ip()) || everywhere(b.ip()));
        if same && app.enabled && other.enabled {
            let message = format!("{a} is taken by app {} ({b}): two apps cannot share a port", other.name);
            file.complain(span("listen"), format!("app.{}.listen", app.name), message);
        }
    }
}
