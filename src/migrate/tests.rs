//! Tables of what is read of JavaScript and YAML, and that nothing makes it panic. Whole files are in tests/pm2.

use super::*;
use proptest::prelude::*;

fn place(from: &str) -> Place<'_> {
    Place {
        from: Path::new(from),
        to: Path::new("/srv/chat/chat.toml"),
        env: None,
        look: &|_| Found::Nothing,
        read: &|path| {
            let package = r#"{ "name": "@acme/chat", "config": { "port": 3100 } }"#;
            path.ends_with("srv/chat/package.json").then(|| package.to_owned())
        },
    }
}

/// What an expression comes to, as it is shown.
fn comes_to(expression: &str) -> String {
    let text = format!("const port = 3000, base = {{ a: 1, b: [2] }};\nmodule.exports = {expression}");
    let read = js::script(&text, &place("/srv/chat/e.js")).unwrap();
    match read.value.what {
        What::Table(table) => table
            .iter()
            .map(|(key, value)| format!("{key}: {}", value.shown()))
            .collect::<Vec<_>>()
            .join(", "),
        _ => read.value.shown(),
    }
}

#[test]
fn expressions_whose_result_is_known_are_read() {
    for (expression, result) in [
        ("'it\\'s'", "\"it's\""),
        ("\"\\u00e9\\x41\\u{1F600}\\n\"", "\"éA😀\\n\""),
        ("`a${port + 1}b`", "\"a3001b\""),
        ("0x10", "16"),
        ("1_000 * 60", "60000"),
        ("-5", "-5"),
        ("!0", "true"),
        ("(1, 'x') || 2", "2"),
        ("null ?? 'd'", "\"d\""),
        ("process.env.X || 'd'", "\"d\""),
        ("process.env.X", "?"),
        ("port === 3000 ? 'yes' : 'no'", "\"yes\""),
        ("process.env.X ? 1 : 2", "?"),
        ("'a' + 1 + 2", "\"a12\""),
        ("base.b", "[2]"),
        ("{ ...base, a: 3, 'c-d': 4, ['e' + 1]: 5, port }", "a: 3, b: [2], c-d: 4, e1: 5, port: 3000"),
        ("Object.assign({}, base, { a: 9 })", "a: 9, b: [2]"),
        ("[1, ...base.b, , 3,]", "[1, 2, 3]"),
        ("path.join(__dirname, '..', 'x')", "\"/srv/x\""),
        ("require('path').resolve('x', '/y')", "\"/y\""),
        ("path.basename(__filename)", "\"e.js\""),
        ("['--a', '--b'].join(' ')", "\"--a --b\""),
        ("parseInt('12', 10)", "12"),
        ("() => 1", "?"),
        ("require('./other')", "?"),
        ("unknown.thing[0]", "?"),
        ("require('./package.json').config.port + 1", "3101"),
        ("require('./package.json').nothing", "?"),
        ("require('./missing.json')", "?"),
        ("require('package.json')", "?"),
        ("parseInt('12.9')", "12"),
        ("parseInt('12', 8)", "?"),
        ("'1' == 1", "?"),
        ("'1' === 1", "false"),
        ("'1' !== '1'", "false"),
        ("base === base", "?"),
        ("null == undefined", "true"),
    ] {
        assert_eq!(comes_to(expression), result, "{expression}");
    }
}

#[test]
fn what_cannot_be_read_is_said_with_its_line_and_the_rest_is_carried_over() {
    let file = "module.exports = {\n  apps: [\n    { name: 'a', script: 'a.js', cwd: where() },\n    { name: 'b' script: 'b.js' },\n    { name: 'c', script: 'c.js' }\n  ]\n}";
    let migrated = made_of(file, &place("/srv/chat/e.js")).unwrap();
    let names: Vec<&str> = migrated.apps.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"a") && names.contains(&"c"), "{names:?}");
    assert!(
        migrated.notes.iter().any(|note| note.line == 3 && note.what == "a: cwd"),
        "{:?}",
        migrated.notes
    );
    assert!(migrated.notes.iter().any(|note| note.line == 4), "{:?}", migrated.notes);
}

/// What is made of the file, and its notes as `line what: why`.
fn outcome(name: &str, file: &str) -> (String, Vec<String>) {
    let migrated = made_of(file, &place(&format!("/srv/chat/{name}"))).unwrap();
    let note = |note: &Note| format!("{} {}: {}", note.line, note.what, note.why);
    (migrated.text, migrated.notes.iter().map(note).collect())
}

#[test]
fn what_is_exported_is_found_however_it_is_exported() {
    let apps = "[{ script: 'npm', args: 'start' }]";
    for (name, file) in [
        ("e.mjs", format!("export const apps = {apps};")),
        ("e.mjs", format!("const apps = {apps};\nexport {{ apps }};")),
        ("e.mjs", format!("const config = {{ apps: {apps} }};\nexport {{ config as default }};")),
        ("e.mjs", format!("export const apps = {apps};\nexport default {{ apps }};")),
        ("e.js", format!("const config = module.exports = {{ apps: {apps} }};")),
        ("e.js", format!("exports = module.exports = {{ apps: {apps} }};")),
        ("e.js", format!("module.exports = exports = {{ apps: {apps} }};")),
        ("e.js", format!("const {{ apps }} = {{ apps: {apps} }};\nmodule.exports = {{ apps }};")),
    ] {
        let (text, notes) = outcome(name, &file);
        assert!(text.contains("command = [\"npm\", \"start\"]"), "{file}\n{text}");
        assert_eq!(notes, [""; 0], "{file}");
    }
}

#[test]
fn what_another_json_file_says_counts() {
    for (name, begin) in [
        ("e.js", "const pkg = require('./package.json'), { name } = pkg;\nmodule.exports ="),
        (
            "e.mjs",
            "import pkg from './package.json' with { type: 'json' };\nconst { name } = pkg;\nexport default",
        ),
    ] {
        let file = format!(
            "{begin} {{ apps: [{{ name, script: 'x.js', env: {{ PORT: process.env.PORT || pkg.config.port, V: pkg.version }} }}] }}"
        );
        let (text, notes) = outcome(name, &file);
        assert!(text.contains("name = \"acme-chat\"") && text.contains("PORT = \"3100\""), "{text}");
        assert!(notes.iter().any(|note| note.contains("env.V: `pkg.version` is not known")), "{notes:?}");
    }
}

#[test]
fn nothing_falls_in_silence() {
    for (app, said) in [
        (
            "name: x(), script: 'a.js'",
            "2 a: name: `x()` is not known without running the file: it is named after its script",
        ),
        ("name: ['a'], script: 'a.js'", "2 a: name: [\"a\"] is no text: it is named after its script"),
        (
            "script: 'a.js', uid: process.env.RUN_AS",
            "2 a: uid: it runs as the supervisor does, until `user` is set",
        ),
        (
            "script: 'worker.js', gid: x()",
            "2 worker: gid: it runs as the supervisor does, until `group` is set",
        ),
        (
            "script: 'a.js', interpreter: x()",
            "2 a: exec_interpreter: `x()` is not known without running the file",
        ),
        (
            "script: 'a.js', interpreter: 'node@18'",
            "2 a: exec_interpreter: pm2 finds this version by nvm; write the path of its node into `command`",
        ),
        ("script: 'worker.js', watch: x()", "2 worker: watch: `x()` is not known without running the file"),
        ("script: 'a.js', cwd: 5 > 4", "2 a: cwd: `5 > 4` is not known without running the file"),
        (
            "script: 'a.js', ignore_watch: ['b', /\\.log$/]",
            "2 a: ignore_watch: one is missing: `/\\.log$/` is not known without running the file",
        ),
        (
            "script: 'worker.js', env: { PORT: x() }",
            "2 worker: env.PORT: `x()` is not known without running the file: set it in `listen`",
        ),
        (
            "script: 'worker.js', port: 70000",
            "2 worker: env.PORT: \"70000\" is no port; the server listens on 3000",
        ),
        (
            "script: 'worker.js', env: { PORT: 0 }",
            "2 worker: env.PORT: \"0\" is no port; the server listens on 3000",
        ),
        ("script: 'a.js', PORT: 5", "2 a: PORT = 5: chatctl has no such key"),
    ] {
        let (text, notes) = outcome("e.js", &format!("module.exports = {{ apps: [\n{{ {app} }}] }}"));
        assert!(notes.iter().any(|note| note == said), "{app}: {notes:?}");
        assert!(!app.contains("log") || text.contains("ignore_watch = [\"b\", \"b/**\"]"), "{text}");
    }
    let (_, notes) = outcome(
        "e.js",
        "const { PORT = 3000 } = process.env;\nmodule.exports = [{ script: 'a.js', env: { PORT } }]",
    );
    assert_eq!(notes, ["1 `PORT`: is taken to be unset: 3000 stands"]);
    let file = "a: &a { max_restarts: 3 }\nb: &b { max_restarts: 5, min_uptime: 9 }\napps:\n- <<: [*a, *b]\n  script: a.js\n  ? [x]\n  : y\n---\napps: []\n";
    let (text, notes) = outcome("e.yaml", file);
    assert!(text.contains("max_restarts = 3\nmin_uptime = 9"), "{text}");
    assert!(notes.contains(&"6 [\"x\"]: is no name of a key".to_owned()), "{notes:?}");
    assert!(notes.iter().any(|note| note.starts_with("9 ---: ")), "{notes:?}");
}

#[test]
fn files_of_no_use_are_refused_with_the_reason() {
    for (name, text, why) in [
        ("e.js", "console.log(1)", "it exports nothing"),
        ("e.js", "module.exports = { apps: [] }", "there is no app"),
        ("e.js", "module.exports = { apps: [{ name: 'x' }] }", "it has no script"),
        ("e.js", "module.exports = make()", "`make()` is not known without running the file"),
        ("e.json", "", "there is no"),
        ("e.yaml", "apps: [", "this is no YAML"),
        ("e.toml", "", "is no pm2 file"),
    ] {
        let said = made_of(text, &place(&format!("/srv/chat/{name}"))).unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn nothing_runs_away() {
    let deep = format!("module.exports = {}1{}", "[".repeat(5000), "]".repeat(5000));
    assert!(made_of(&deep, &place("/e.js")).is_err());
    // Each line doubles what the one before it stands for.
    let bomb: String = (1..60).map(|n| format!("const a{n} = [a{0}, a{0}];\n", n - 1)).collect();
    let bomb =
        format!("const a0 = ['x'];\n{bomb}module.exports = {{ apps: [{{ script: 'x.js', args: a59 }}] }}");
    assert!(made_of(&bomb, &place("/e.js")).unwrap_err().to_string().contains("too much"));
}

#[test]
fn what_is_empty_is_as_if_it_were_not_there() {
    for script in ["x.js", "worker.js"] {
        let with = |keys: &str| {
            let text = format!("module.exports = {{ apps: [{{ script: '{script}'{keys} }}] }}");
            made_of(&text, &place("/srv/chat/e.js")).unwrap().text
        };
        assert_eq!(with(", interpreter: '', uid: ' ', gid: ''"), with(""), "{script}");
    }
}

proptest! {
    /// No text makes it panic, and what it writes is a configuration: `write` reads it itself.
    #[test]
    fn any_text_is_answered(
        text in "(module\\.exports = |\\{|\\}|\\[|\\]|apps: |script: |name: |env: |watch: |'[a-zé.*]{0,5}'|\"\\\\u00e9\"|`\\$\\{|[0-9.]{1,3}|,|\n|\\.\\.\\.|process\\.env\\.X|\\|\\| |-|true|//|<<: |&a |\\*a |: ){0,40}",
        name in "(e\\.js|e\\.json|e\\.yaml)",
    ) {
        if let Err(failure) = made_of(&text, &place(&format!("/srv/chat/{name}"))) {
            prop_assert!(!failure.to_string().contains("please report"), "{failure}");
        }
    }

    /// Any value of any key ends as a key or as a note.
    #[test]
    fn any_value_of_any_key_is_carried_over_or_said(
        key in "(max_memory_restart|min_uptime|kill_timeout|max_restarts|watch|ignore_watch|cron_restart|stop_exit_codes|args|cwd|env|uid|autostart|restart_delay|instances|name|port|node_args|interpreter)",
        value in "(null|true|false|0|-1|7|1e30|0\\.5|'[a-zé*\\[ ./]{0,6}'|'10s'|\\[\\]|\\['a', 1\\]|\\[\\[\\]\\]|\\{\\}|\\{ A: 1 \\}|x\\(\\))",
        script in "(x\\.js|worker\\.js|npm run a)",
    ) {
        let text = format!("module.exports = {{ apps: [{{ script: '{script}', {key}: {value} }}] }}");
        let migrated = made_of(&text, &place("/srv/chat/e.js"));
        prop_assert!(migrated.is_ok(), "{text}\n{}", migrated.unwrap_err());
    }
}
