//! Tables of files and what is said about them.

use super::*;
use crate::config::Watch;
use proptest::prelude::*;
use std::time::Duration;

fn around() -> Surroundings {
    Surroundings {
        here: "/here".into(),
        home: Some("/home/kim".into()),
        config_home: None,
        state_home: None,
        state_directory: None,
        root: false,
    }
}

fn read_it(text: &str) -> Result<Config, ConfigError> {
    read(text, Some("/srv/chat.toml".into()), &around())
}

fn check(text: &str, expect: &[&str]) {
    let said = match read_it(text) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    assert_eq!(said.lines().collect::<Vec<_>>(), expect, "{text}");
}

const APP: &str = "[[app]]\nname = \"a\"\nlisten = 3000\n";

#[test]
fn what_is_nested_too_deeply_has_a_line_as_well() {
    let deep = format!("{APP}{} = 1\n[limits]\nmax_name = 3\n", ["a"; 100].join("."));
    check(&deep, &["/srv/chat.toml:4: recursion limit"]);
}

#[test]
fn what_stands_there_twice_is_named() {
    check(&format!("{APP}listen = 4000\n"), &["/srv/chat.toml:4: listen: duplicate key"]);
}

#[test]
fn the_shipped_file_is_the_default() {
    let config = read(DEFAULT, None, &around()).unwrap();
    let app = &config.apps[0];
    assert_eq!(
        (app.name.as_str(), app.profile, app.listen.unwrap().port()),
        ("chatting", super::super::Profile::Local, 3000)
    );
    assert_eq!(app.max_memory_restart, Some(314_572_800), "1024-based, as in pm2");
    assert_eq!(app.watch, Watch::On);
    assert_eq!(config.enabled().count(), 1);
    assert_eq!(
        config.apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(),
        ["chatting", "web", "react"]
    );
    assert_eq!(config.state_dir, Path::new("/home/kim/.local/state/chatctl"));
}

/// The commented lines of the shipped file say the defaults: uncommented, they must change nothing.
#[test]
fn what_the_shipped_file_shows_are_the_defaults() {
    let uncomment = |line: &str| match line.strip_prefix("#") {
        Some(rest) if rest.contains('=') && !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    let shown = DEFAULT.lines().filter(|line| *line != uncomment(line)).count();
    assert!(shown > 15, "only {shown} defaults are shown");
    let text: Vec<String> = DEFAULT.lines().map(uncomment).collect();
    let all = read(&text.join("\n"), None, &around()).unwrap();
    assert_eq!(Config { text: DEFAULT.to_owned(), ..all }, read(DEFAULT, None, &around()).unwrap());
}

#[test]
fn every_problem_is_told_at_once_with_line_and_key() {
    check(
        "state_dir = 3\n[[app]]\nname = \"a\"\nlisten = \"here\"\nmax_memory_restart = \"300X\"\nwach = true\n[[app]]\nname = \"a b\"\nlisten = 99999\n[pages]\n",
        &[
            "/srv/chat.toml:1: state_dir: 3 is not a text in quotes",
            "/srv/chat.toml:4: app.a.listen: \"here\" is not an address as \"0.0.0.0:3000\", \"127.0.0.1:3000\" or \"[::]:3000\", or a port",
            "/srv/chat.toml:5: app.a.max_memory_restart: \"300X\" is not a size: bytes, or a number with K, M or G (1024-based), as \"300M\"",
            "/srv/chat.toml:6: app.a.wach: unknown key; did you mean `watch`?",
            "/srv/chat.toml:8: app.a b.name: \"a b\" is not a name: letters, digits, - and _, at most 64",
            "/srv/chat.toml:9: app.a b.listen: 99999 is not an address as \"0.0.0.0:3000\", \"127.0.0.1:3000\" or \"[::]:3000\", or a port",
            "/srv/chat.toml:10: pages: unknown key; did you mean `page`?",
        ],
    );
}

#[test]
fn apps_do_not_share_names_or_ports() {
    let second = |listen: &str, name: &str| format!("{APP}[[app]]\nname = \"{name}\"\nlisten = {listen}\n");
    let taken = |a: &str| {
        format!(
            "/srv/chat.toml:6: app.b.listen: {a} is taken by app a (0.0.0.0:3000): two apps cannot share a port"
        )
    };
    check(&second("3000", "b"), &[&taken("0.0.0.0:3000")]);
    check(&second("\"127.0.0.1:3000\"", "b"), &[&taken("127.0.0.1:3000")]);
    check(&second("3001", "a"), &["/srv/chat.toml:5: app.a.name: another app has this name"]);
    check(&format!("{}enabled = false\n", second("3000", "b")), &[]);
    check("[[app]]\nname=\"a\"\nlisten=0\n[[app]]\nname=\"b\"\nlisten=0\n", &[]);
}

#[test]
fn what_is_too_much_to_be_reckoned_with_is_no_value() {
    for line in [
        "max_memory_restart = \"9223372036G\"",
        "log_max_size = 18446744073709551615",
        "kill_timeout = \"9223372036854775807s\"",
        "watch_delay = \"1000y\"",
    ] {
        let key = line.split(' ').next().unwrap();
        let error = read_it(&format!("{APP}{line}\n")).unwrap_err();
        assert_eq!(error.problems[0].key, format!("app.a.{key}"), "{line}: {error}");
    }
}

#[test]
fn pm2_habits_are_answered() {
    for (line, word) in [
        ("script = \"w.js\"", "profile"),
        ("instances = 4", "cores"),
        ("port = 1", "listen"),
        ("cwd = \".\"", "command"),
    ] {
        let error = read_it(&format!("{APP}{line}\n")).unwrap_err();
        assert!(error.problems[0].message.contains(word), "{line}: {error}");
    }
}

#[test]
fn values_are_read_as_people_write_them() {
    let app = |line: &str| read_it(&format!("{APP}{line}\n")).unwrap().apps.remove(0);
    for (text, ms) in
        [("1600", 1600), ("\"1.6s\"", 1600), ("\"500ms\"", 500), ("\"2m\"", 120_000), ("\"1h\"", 3_600_000)]
    {
        assert_eq!(app(&format!("kill_timeout = {text}")).kill_timeout, Duration::from_millis(ms));
    }
    for (text, bytes) in [("1", 1), ("\"1K\"", 1024), ("\"2 m\"", 2 << 20), ("\"1GB\"", 1 << 30)] {
        assert_eq!(app(&format!("max_memory_restart = {text}")).max_memory_restart, Some(bytes));
    }
    assert_eq!(
        app("watch = [\"x\", \"/y\", \"~/z\"]").watch,
        Watch::Also(vec!["/srv/x".into(), "/y".into(), "/home/kim/z".into()])
    );
    assert_eq!(
        app("env = { A = 1, B = true, C = \"c\" }").env.values().collect::<Vec<_>>(),
        ["1", "true", "c"]
    );
    assert_eq!(
        read_it(&format!("{APP}[chat]\ntimezone = \"Asia/Seoul\"\n"))
            .unwrap()
            .server
            .timezone
            .unwrap()
            .iana_name(),
        Some("Asia/Seoul")
    );
}

#[test]
fn empty_broken_and_missing_files_are_said() {
    check("", &["/srv/chat.toml: app: there is no [[app]]: write at least one"]);
    check("[app]\nname = \"a\"\n", &["/srv/chat.toml:1: app: must be written as [[app]], with two brackets"]);
    check(
        "[[app]]\n",
        &[
            "/srv/chat.toml:1: app.?.name: every app needs a name",
            "/srv/chat.toml:1: app.?.listen: say where it listens, as \"0.0.0.0:3000\"",
        ],
    );
    assert!(read_it("[[app]\nname = ").unwrap_err().problems.iter().all(|problem| problem.line > 0));
    let missing = load(Some(Path::new("/no/such/chat.toml"))).unwrap_err().to_string();
    assert!(missing.starts_with("/no/such/chat.toml: cannot be read: "), "{missing}");
}

#[test]
fn doors_are_read_as_people_write_them() {
    let app = |line: &str| read_it(&format!("{APP}{line}\n")).map(|mut config| config.apps.remove(0));
    let tls = app("tls = { cert = \"a.pem\", key = \"~/k.pem\" }").unwrap().tls.unwrap();
    assert_eq!((tls.cert, tls.key), ("/srv/a.pem".into(), "/home/kim/k.pem".into()));
    let networks = app("trusted_proxies = [\"10.0.0.0/8\", \"::1\"]").unwrap().trusted_proxies;
    assert_eq!(networks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "::1/128"]);
    for (line, word) in [
        ("tls = { cert = \"a.pem\" }", "key is missing"),
        ("tls = { cert = \"a\", key = \"b\", ca = \"c\" }", "no ca"),
        ("tls = \"a.pem\"", "no table"),
        ("trusted_proxies = [\"nginx\"]", "10.0.0.0/8"),
    ] {
        let error = app(line).unwrap_err();
        assert!(error.problems[0].message.contains(word), "{line}: {error}");
    }
    let cors = read_it(&format!("{APP}[cors]\norigins = \"example.com\"\n")).unwrap_err();
    assert!(cors.problems[0].message.contains("scheme"), "{cors}");
}

proptest! {
    /// No text makes it panic, and every line it names exists.
    #[test]
    fn any_text_is_answered(text in "(\\[\\[app\\]\\]|[a-z_]{1,8} ?= ?|\"[^\"]{0,6}\"|[0-9.\\[\\]{}=,\"'#é-]|\n|name|listen|watch|true){0,40}") {
        if let Err(error) = read_it(&text) {
            prop_assert!(!error.problems.is_empty());
            let lines = text.split('\n').count();
            prop_assert!(error.problems.iter().all(|problem| problem.line <= lines), "{error}");
        }
    }
}
