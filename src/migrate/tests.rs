//! Tables of what is read of JavaScript and YAML, and that nothing makes it panic. Whole files are in tests/pm2.

use super::*;
use proptest::prelude::*;

fn place(from: &str) -> Place<'_> {
    Place {
        from: Path::new(from),
        to: Path::new("/srv/chat/chat.toml"),
        env: None,
        look: &|_| Found::Nothing,
    }
}

/// What an expression comes to, as it is shown.
fn comes_to(expression: &str) -> String {
    let text = format!("const port = 3000, base = {{ a: 1, b: [2] }};\nmodule.exports = {expression}");
    let read = js::script(&text, Path::new("/srv/chat/e.js")).unwrap();
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
