//! chat.toml documents every key the reader takes, each with its true default, and no other; the schema says the same.

use super::*;
use crate::config::{Config, DEFAULT};

/// The shipped file read with one of its lines uncommented; in the `[[app]]` it belongs to.
fn uncommented(key: &Key) -> Config {
    let programs = ["command", "cwd", "user", "group", "wait_ready", "kill_signal"];
    if key.section == "app" && (programs.contains(&key.name.as_str()) || key.value.contains("http:")) {
        let with = |line: &str| Config::from_text(&program(line), None).unwrap();
        return with(&format!("{} = {}\n", key.name, key.value));
    }
    let mut lines: Vec<String> = DEFAULT.lines().map(str::to_owned).collect();
    lines[key.line - 1] = format!("{} = {}", key.name, key.value);
    let config = Config::from_text(&lines.join("\n"), None).unwrap();
    Config { text: String::new(), ..config }
}

#[test]
fn every_key_is_documented_and_no_other() {
    let documented: BTreeSet<(String, String)> =
        documented::keys().into_iter().map(|key| (key.section, key.name)).collect();
    let (mut known, _) = keys();
    // Sections are documented by what is in them.
    let sections: BTreeSet<String> = known.iter().map(|(section, _)| section.clone()).collect();
    known.retain(|(section, name)| !(section.is_empty() && sections.contains(name)));
    assert_eq!(
        known.difference(&documented).collect::<Vec<_>>(),
        [] as [&(String, String); 0],
        "not in chat.toml"
    );
    assert_eq!(documented.difference(&known).collect::<Vec<_>>(), [] as [&(String, String); 0], "not read");
    for key in documented::keys() {
        assert!(!key.says.is_empty(), "chat.toml:{}: {} has no sentence beside it", key.line, key.name);
    }
}

/// `#key = value` is the default, `# key = value` is not. (That the former change nothing when they are all uncommented
/// is held beside the reader.)
#[test]
fn what_is_shown_as_an_example_is_not_the_default() {
    let plain = Config { text: String::new(), ..Config::from_text(DEFAULT, None).unwrap() };
    let as_program = Config::from_text(&program(""), None).unwrap();
    let examples: Vec<Key> = documented::keys()
        .into_iter()
        .filter(|key| key.shown == Shown::Example && key.section != "hook")
        .collect();
    assert!(examples.len() > 8, "{examples:?}");
    for key in examples {
        let with = uncommented(&key);
        let same = with.metrics == plain.metrics
            && with.apps == plain.apps
            && with.server == plain.server
            && with.state_dir == plain.state_dir;
        let same = same || (with.apps == as_program.apps && key.name != "command");
        assert!(!same, "chat.toml:{}: {name} is the default: write it as #{name}", key.line, name = key.name);
    }
}

/// A whole `[[hook]]` is an example; what stands beside `on` and `command` in it are the defaults.
#[test]
fn the_example_of_a_hook_shows_the_defaults() {
    let keys: Vec<Key> = documented::keys().into_iter().filter(|key| key.section == "hook").collect();
    let hook = |keep: &dyn Fn(&str) -> bool| {
        let lines = keys.iter().filter(|key| keep(&key.name));
        let lines: String = lines.map(|key| format!("{} = {}\n", key.name, key.value)).collect();
        Config::from_text(&format!("{}[[hook]]\n{lines}", text("", ("", ""), "", "")), None).unwrap().hooks
    };
    let plain = hook(&|name| ["on", "command"].contains(&name));
    assert_eq!(hook(&|name| name != "url"), plain);
    assert_ne!(hook(&|name| name != "command"), plain);
    assert_eq!(keys.len(), 7, "{keys:?}");
}

#[test]
fn the_schema_says_what_the_reader_takes() {
    let schema = schema();
    let app = |key: &str| schema["properties"]["app"]["items"]["properties"][key].clone();
    assert_eq!(app("listen")["type"], json!(["integer", "string"]));
    assert_eq!(app("watch")["type"], json!(["boolean", "string", "array"]));
    assert_eq!(app("name")["type"], json!(["string"]));
    assert_eq!(app("env")["type"], json!(["object"]));
    assert_eq!(app("profile")["enum"], json!(["local", "web", "react"]));
    assert_eq!(app("wait_ready")["type"], json!(["boolean"]));
    assert_eq!(schema["properties"]["page"]["properties"]["enabled"]["type"], json!(["boolean"]));
    assert_eq!(schema["properties"]["cors"]["properties"]["origins"]["type"], json!(["string", "array"]));
    // Every property has a kind, and a sentence.
    fn properties(table: &Value) -> impl Iterator<Item = (&String, &Value)> {
        let table = table.get("items").unwrap_or(table);
        table.get("properties").and_then(Value::as_object).into_iter().flatten()
    }
    let mut count = 0;
    for (section, table) in properties(&schema).filter(|(_, table)| table["type"].is_string()) {
        for (key, property) in properties(table) {
            count += 1;
            assert_ne!(
                property["type"],
                json!([]),
                "{section}.{key}: no sample of this kind: add one to SAMPLES"
            );
            assert!(property["description"].is_string(), "{section}.{key}");
        }
    }
    assert!(count > 40, "{count}");
}
