//! `chatctl init --from`, on pm2 files as people write them: tests/pm2, each with the chat.toml it becomes.

use crate::program::{chatctl, stderr};
use std::{fs, path::Path, process::Command};

/// Runs it on a copy in a folder of its own, and gives what it printed and wrote, with HERE for the folder.
fn migrate(file: &Path, arguments: &[&str]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    fs::copy(file, folder.path().join(name)).unwrap();
    let output = chatctl(folder.path(), &[&["init", "--from", name], arguments].concat());
    assert!(output.status.success(), "{name}: {}", stderr(&output));
    let here = |text: &str| text.replace(folder.path().to_str().unwrap(), "HERE");
    let written = fs::read_to_string(folder.path().join("chat.toml")).unwrap();
    (here(&String::from_utf8(output.stdout).unwrap()), here(&written))
}

fn files() -> Vec<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pm2");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().unwrap() != "toml").collect()
}

/// To write them anew after a change that is meant: `CHATCTL_BLESS=1 cargo test migrate`, and look at the difference.
#[test]
fn pm2_files_become_what_they_are_expected_to() {
    assert!(files().len() >= 10);
    for file in files() {
        let (said, written) = migrate(&file, &[]);
        let name = file.file_name().unwrap().to_str().unwrap();
        let expected = file.with_file_name(format!("{name}.toml"));
        if std::env::var_os("CHATCTL_BLESS").is_some() {
            fs::write(&expected, &written).unwrap();
        }
        assert_eq!(written, fs::read_to_string(&expected).unwrap_or_default(), "{name}");
        // What is said is in the file as well.
        for line in said.lines().filter_map(|line| line.trim_start().strip_prefix(&format!("{name}:"))) {
            let why = line.rsplit_once(": ").unwrap().1;
            assert!(written.contains(why), "{name}: {why}");
        }
    }
}

#[test]
fn the_environment_that_was_asked_for_lies_over_env() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pm2/cluster.config.js");
    let (said, written) = migrate(&file, &["--env", "production"]);
    assert!(
        written.contains(r#"env = { PORT = "80", NODE_ENV = "production", DEBUG = "api:*,-api:db" }"#),
        "{written}"
    );
    assert!(!said.contains("env_production"), "{said}");
    let (said, _) = migrate(&file, &["--env", "staging"]);
    assert!(said.contains("no app has a block env_staging"), "{said}");
}

#[test]
fn paths_are_those_of_the_pm2_file_wherever_chat_toml_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("etc")).unwrap();
    let pm2 =
        "module.exports = { apps: [{ script: 'bot.py', watch: ['lib'] }, { script: 'b.sh', cwd: 'etc' }] }";
    fs::write(folder.path().join("pm2.config.js"), pm2).unwrap();
    let output = chatctl(folder.path(), &["init", "--from", "pm2.config.js", "etc/chat.toml"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let written = fs::read_to_string(folder.path().join("etc/chat.toml")).unwrap();
    let here = folder.path().display();
    assert!(
        written.contains(&format!("cwd = \"{here}\"\nkill_signal = \"SIGINT\"\nwatch = [\"{here}/lib\"]")),
        "{written}"
    );
    assert_eq!(written.matches("cwd = ").count(), 1, "the second runs where chat.toml is: {written}");
}

#[test]
fn what_cannot_be_read_at_all_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("e.config.js"), "module.exports = require('./real')").unwrap();
    for (file, why) in [("missing.js", "cannot read"), ("e.config.js", "is another file or module")] {
        let output = chatctl(folder.path(), &["init", "--from", file]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
    assert!(!folder.path().join("chat.toml").exists());
}

#[test]
fn what_only_node_can_find_out_it_tells_by_the_line_that_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let pm2 = "const base = { max_restarts: 7 };\nmodule.exports = { apps: [{ ...base, name: 'bot', script: 'bot.js' },\n\
               ...['web', 'react'].map((kind, i) => ({ ...base, name: kind, script: `${kind}_worker.js`, env: { PORT: 4000 + i } }))] };";
    let whole = "module.exports = { apps: ['bot', 'mail'].map((name) => ({ name, script: `${name}.js` })) };";
    for (text, apps, wrote) in
        [(pm2, ["bot", "web", "react"].as_slice(), true), (whole, &["bot", "mail"], false)]
    {
        fs::write(folder.path().join("it's.config.js"), text).unwrap();
        let output = chatctl(folder.path(), &["init", "--force", "--from", "it's.config.js", "new.toml"]);
        assert_eq!(output.status.success(), wrote, "{}", stderr(&output));
        let said = String::from_utf8(output.stdout.clone()).unwrap() + &stderr(&output);
        let line = said.lines().find_map(|line| Some(&line[line.find("node -p ")?..])).expect(&said);
        if Command::new("node").arg("-v").output().is_err() {
            return eprintln!("skipped: there is no node");
        }
        let line = line.replace("chatctl init", concat!(env!("CARGO_BIN_EXE_chatctl"), " init"));
        let ran = Command::new("sh").args(["-c", &line]).current_dir(folder.path()).output().unwrap();
        assert!(ran.status.success(), "{line}: {}", stderr(&ran));
        let written = fs::read_to_string(folder.path().join("new.toml")).unwrap();
        for name in apps {
            assert!(written.contains(&format!("name = \"{name}\"")), "{name} in {written}");
        }
        fs::remove_file(folder.path().join("new.toml")).unwrap();
    }
    // Nothing is said of Node where all is known.
    fs::write(folder.path().join("known.config.js"), "module.exports = [{ script: 'a.js', args: ['x'] }]")
        .unwrap();
    let output = chatctl(folder.path(), &["init", "--from", "known.config.js"]);
    assert!(output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("node -p"));
}
