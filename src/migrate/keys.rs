//! pm2's keys, by their one name, and what becomes of those that say the same in chat.toml or nothing at all.
//!
//! Source: pm2's own schema of its ecosystem file, and its documentation.

use super::{Value, What};

/// Other names pm2 takes for the same.
const ALIASES: [(&str, &str); 18] = [
    ("exec", "script"),
    ("cmd", "script"),
    ("interpreter", "exec_interpreter"),
    ("interpreter_args", "node_args"),
    ("out", "out_file"),
    ("output", "out_file"),
    ("out_log", "out_file"),
    ("error", "error_file"),
    ("err", "error_file"),
    ("err_file", "error_file"),
    ("err_log", "error_file"),
    ("log", "log_file"),
    ("combine_logs", "merge_logs"),
    ("cron", "cron_restart"),
    ("pid", "pid_file"),
    ("user", "uid"),
    ("group", "gid"),
    ("username", "uid"),
];

/// The name under which a key is known here: pm2 takes `maxMemoryRestart` as well.
pub(super) fn canonical(key: &str) -> String {
    let mut snake = String::new();
    // Names of variables' blocks are people's own: env_productionEU. And one in capitals is no key of pm2's.
    if key.starts_with("env_") || !key.contains(|c: char| c.is_ascii_lowercase()) {
        return key.to_owned();
    }
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    ALIASES.iter().find(|(alias, _)| *alias == snake).map_or(snake, |(_, name)| (*name).to_owned())
}

/// A value as chat.toml writes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Toml {
    Flag(bool),
    Whole(u64),
    Text(String),
    Texts(Vec<String>),
    Wholes(Vec<u64>),
}

/// What becomes of a key that stands for itself.
#[derive(Debug, PartialEq)]
pub(super) enum Fate {
    /// It is carried over under this name.
    Key(&'static str, Toml),
    /// It says what is so anyway.
    Nothing,
    /// It is not carried over, and why.
    Lost(String),
}

/// What becomes of a key; `None`: this is no key of pm2's, or one that is more than itself.
pub(super) fn fate(key: &str, value: &Value, is_chat: bool) -> Option<Fate> {
    let lost = |why: &str| Some(Fate::Lost(why.to_owned()));
    let off = value.is_true() == Some(false);
    match key {
        "max_memory_restart" => Some(size(value)),
        "min_uptime" => Some(duration("min_uptime", value)),
        "kill_timeout" => Some(duration("kill_timeout", value)),
        "listen_timeout" => Some(duration("listen_timeout", value)),
        "watch_delay" if !off => Some(duration("watch_delay", value)),
        "restart_delay" if !off => Some(duration("restart_delay", value)),
        "exp_backoff_restart_delay" if !off => Some(duration("exp_backoff_restart_delay", value)),
        "watch_delay" | "restart_delay" | "exp_backoff_restart_delay" => Some(Fate::Nothing),
        "max_restarts" => Some(match value.as_whole() {
            Some(0) => {
                Fate::Lost("a failing app is always tried again; autorestart = false never does".to_owned())
            }
            Some(n) => Fate::Key("max_restarts", Toml::Whole(n)),
            None => wrong(value, "a number"),
        }),
        "autorestart" => Some(flag("autorestart", value)),
        "autostart" => Some(match value.what {
            What::Flag(false) => Fate::Key("enabled", Toml::Flag(false)),
            _ => Fate::Nothing,
        }),
        "stop_exit_codes" => Some(codes(value)),
        "cron_restart" => Some(match &value.what {
            What::Text(text) if text != "0" => Fate::Key("cron_restart", Toml::Text(text.clone())),
            _ if off || value.as_whole() == Some(0) => Fate::Nothing,
            _ => wrong(value, "a schedule"),
        }),
        "wait_ready" if off || is_chat => Some(Fate::Nothing),
        "wait_ready" => lost(
            "pm2 waits for process.send('ready'), chatctl for READY=1 as sd_notify(3) says it; until the program does \
             that, it counts as ready when it has run for a second. Under chatctl there is no process.send: guard the call",
        ),
        "exec_mode" if value.as_text().is_some_and(|mode| mode.starts_with("fork")) => Some(Fate::Nothing),
        "exec_mode" if is_chat => lost("one process serves all cores"),
        "exec_mode" => lost(
            "it runs as one process, as in fork mode; a reload is without a gap only if the program can be started twice",
        ),
        "instances" if value.as_whole() == Some(1) => Some(Fate::Nothing),
        "instances" if is_chat => lost("one process serves all cores"),
        "instances" => {
            lost("chatctl runs one process of a program: write an [[app]] for each, with a port of its own")
        }
        "out_file" | "error_file" | "log_file" => {
            lost("both streams are in <state_dir>/logs/<app>.log; log_max_size bounds it")
        }
        "disable_logs" if off => Some(Fate::Nothing),
        "disable_logs" => lost("logs are always kept; log_max_size and log_retain bound them"),
        "merge_logs" | "time" | "log_date_format" | "log_type" => {
            lost("not needed: each line has its time and stream; `chatctl logs --json` is for machines")
        }
        "pid_file" => lost("`chatctl status --json` tells the pid"),
        "source_map_support" | "disable_source_map_support" => {
            lost("write --enable-source-maps into `command` where it is wanted")
        }
        "instance_var" | "increment_var" => lost("there is one process of an app, and no number of it"),
        "namespace" | "name_prefix" | "append_env_to_name" => {
            lost("apps have a name only: `chatctl restart a b` takes several")
        }
        "filter_env" => lost("a program gets the supervisor's variables and those of `env`"),
        "shutdown_with_message" => lost("a program is asked to go by a signal"),
        "watch_options" => lost("ignore_watch and watch_delay are what there is"),
        "treekill" if off => lost("what an app started ends with it"),
        "post_update" | "install_url" => lost("chatctl does not deploy"),
        "windows_hide"
        | "vizion"
        | "pmx"
        | "automation"
        | "trace"
        | "disable_trace"
        | "deep_monitoring"
        | "io"
        | "v8"
        | "event_loop_inspector"
        | "force"
        | "treekill"
        | "kill_retry_time"
        | "execute_command"
        | "write" => lost("not needed"),
        _ => None,
    }
}

fn wrong(value: &Value, wanted: &str) -> Fate {
    Fate::Lost(match &value.what {
        What::Unread(why) => why.clone(),
        _ => format!("{} is not {wanted}", value.shown()),
    })
}

fn flag(key: &'static str, value: &Value) -> Fate {
    match &value.what {
        What::Flag(flag) => Fate::Key(key, Toml::Flag(*flag)),
        What::Text(text) if text == "true" || text == "false" => Fate::Key(key, Toml::Flag(text == "true")),
        _ => wrong(value, "true or false"),
    }
}

fn size(value: &Value) -> Fate {
    match (&value.what, value.as_whole()) {
        (_, Some(bytes)) => Fate::Key("max_memory_restart", Toml::Whole(bytes)),
        (What::Text(text), _) => Fate::Key("max_memory_restart", Toml::Text(text.clone())),
        _ => wrong(value, "a size"),
    }
}

/// Milliseconds, or a text as `10s`: both read so by chat.toml as well.
fn duration(key: &'static str, value: &Value) -> Fate {
    match (&value.what, value.as_whole()) {
        (_, Some(ms)) => Fate::Key(key, Toml::Whole(ms)),
        (What::Text(text), _) => Fate::Key(key, Toml::Text(text.clone())),
        _ => wrong(value, "a duration"),
    }
}

fn codes(value: &Value) -> Fate {
    let list = match &value.what {
        What::List(list) => list.iter().map(Value::as_whole).collect::<Option<Vec<u64>>>(),
        _ => value.as_whole().map(|code| vec![code]),
    };
    list.map_or_else(
        || wrong(value, "a list of exit codes"),
        |codes| Fate::Key("stop_exit_codes", Toml::Wholes(codes)),
    )
}

/// The texts of a list, or the one that stands in its place.
pub(super) fn texts(value: &Value) -> Option<Vec<String>> {
    match &value.what {
        What::List(list) => list.iter().map(Value::as_text).collect(),
        _ => value.as_text().map(|text| vec![text]),
    }
}

/// What pm2 ignores by this name, as globs: a plain one is a file, or a folder with all below.
pub(super) fn below(name: &str) -> impl Iterator<Item = String> {
    let name = name.trim_start_matches("./").trim_end_matches('/');
    let below = (!name.contains(['*', '?', '[', '\\'])).then(|| format!("{name}/**"));
    std::iter::once(name.to_owned()).chain(below)
}
