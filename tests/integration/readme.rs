//! The README: that both languages say the same, and that its commands work.

use crate::program::{free_port, handshake, signal, stderr, until};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use std::{
    fs, mem,
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// A heading, a paragraph, an item, a cell of a table, a block of code: what must be the same in every language.
#[derive(Debug, Default, PartialEq)]
struct Part {
    kind: String,
    /// A block byte for byte, comments too: who copies from one page runs what the other says.
    block: String,
    /// Without order, which languages differ in.
    spans: Vec<String>,
    numbers: Vec<String>,
    links: Vec<String>,
}

/// Every part with its words.
fn parts(text: &str) -> Vec<(Part, String)> {
    let (mut parts, mut part, mut words) = (Vec::new(), Part::default(), String::new());
    let mut end = |part: &mut Part, words: &mut String, kind: String| {
        let (mut part, words) = (mem::replace(part, Part { kind, ..Part::default() }), mem::take(words));
        part.numbers = numbers(&words);
        part.spans.sort();
        part.links.sort();
        parts.push((part, words));
    };
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Link { dest_url, .. }) => part.links.push(dest_url.into_string()),
            Event::Start(Tag::Strong | Tag::Emphasis) | Event::End(TagEnd::Strong | TagEnd::Link) => {}
            Event::Start(tag) => end(&mut part, &mut words, format!("{tag:?}")),
            Event::End(tag) => end(&mut part, &mut words, format!("after {tag:?}")),
            Event::Text(text) if part.kind.starts_with("CodeBlock") => part.block.push_str(&text),
            Event::Text(text) => words.push_str(&text),
            Event::Code(code) => part.spans.push(code.into_string()),
            Event::SoftBreak => words.push(' '),
            other => panic!("{other:?} is not looked at"),
        }
    }
    end(&mut part, &mut words, String::new());
    parts
}

/// Figures, as `10,000` and `4.6`.
fn numbers(words: &str) -> Vec<String> {
    let figures = words.split(|letter: char| !(letter.is_ascii_digit() || ".,".contains(letter)));
    let figures = figures.map(|figure| figure.trim_matches(['.', ',']).to_owned());
    let mut figures: Vec<String> = figures.filter(|figure| !figure.is_empty()).collect();
    figures.sort();
    figures
}

#[test]
fn both_languages_say_the_same() {
    let (mut english, mut korean) = (parts(&file("README.md")), parts(&file("README.ko.md")));
    // The way to the other one stands below the title.
    let is_way = |(part, _): &(Part, String)| part.links.iter().any(|link| link.starts_with("README"));
    for (parts, other) in [(&mut english, "README.ko.md"), (&mut korean, "README.md")] {
        let at = parts.iter().position(is_way).unwrap();
        assert!(at < 5, "{other} is linked to in the first lines");
        assert_eq!(mem::take(&mut parts[at].0.links), [other]);
        parts[at].1.clear();
    }
    assert!(english.len() > 300, "the README is not what was read");
    for ((english, said), (korean, translated)) in english.iter().zip(&korean) {
        assert_eq!(english, korean, "\n{said}\n{translated}");
        assert!(
            !translated.contains("**") && !translated.contains('`'),
            "is shown as it stands: {translated}"
        );
        // Cells and headings may be names; whoever wrote a sentence wrote it in both.
        let is_korean = translated.chars().any(|letter| ('가'..='힣').contains(&letter));
        assert!(is_korean || said.split_whitespace().count() < 6, "is not translated: {translated}");
    }
    assert_eq!(english.len(), korean.len());
}

/// What is done with a command of the README.
enum How {
    /// It ends well in this folder, one after the other in this order.
    Ends(&'static str),
    /// Where the chat is, until it is told to stop by a signal; then it ends well.
    GoesOn,
    /// It is not run here, and why.
    Not(&'static str),
}

use How::{Ends, GoesOn, Not};

/// Every command the README names, but pm2's.
const COMMANDS: [(&str, How); 46] = [
    ("chatctl init", Ends("empty")),
    ("chatctl schema", Ends("empty")),
    ("openssl rand -hex 32", Ends("empty")),
    ("chatctl init --from ecosystem.config.js", Ends("chat")),
    ("chatctl check", Ends("chat")),
    ("chatctl serve", GoesOn),
    ("chatctl supervise", GoesOn),
    ("pm2 delete all && chatctl supervise --detach", Ends("chat")),
    ("chatctl status", Ends("chat")),
    ("chatctl status app", Ends("chat")),
    ("chatctl status --json", Ends("chat")),
    ("curl --unix-socket <state_dir>/control.sock http://chatctl/status", Ends("chat")),
    ("chatctl status --watch", GoesOn),
    ("chatctl logs app -n 50", Ends("chat")),
    ("chatctl stop app", Ends("chat")),
    ("chatctl start app", Ends("chat")),
    ("chatctl restart app", Ends("chat")),
    ("chatctl reload", Ends("chat")),
    ("chatctl hooks --test", Ends("hooks")),
    ("chatctl stop", Ends("chat")),
    ("chatctl events", Ends("chat")),
    ("chatctl shutdown", Ends("chat")),
    ("chatctl supervise --detach", Ends("chat")),
    ("chatctl top", Not("needs a terminal: top.rs gives it one")),
    (
        "chatctl systemd > /etc/systemd/system/chatctl.service",
        Not("root's, and this machine's: systemd.rs reads units"),
    ),
    ("chgrp www-data privkey.pem && chmod 640 privkey.pem", Not("only root may give files away")),
    ("./install.sh", Not("builds for minutes: install.rs runs it on what is built")),
    ("./install.sh --systemd", Not("the same")),
    (
        "docker build -f dist/Dockerfile -t chatctl .",
        Not("no engine runs in a test: container.rs reads the recipe"),
    ),
    (
        "docker run -d --name chat -p 3000:3000 -v chat-state:/var/lib/chatctl -v /etc/chatctl:/etc/chatctl:ro chatctl",
        Not("the same"),
    ),
    ("docker exec chat chatctl status", Not("the same")),
    (
        "chatctl bench http://127.0.0.1:3000 --clients 1000 --rooms 20",
        Not("keeps a machine busy: bench.rs runs every scenario, briefly"),
    ),
    ("chatctl bench fanout http://127.0.0.1:3000 --rate 200", Not("the same")),
    ("chatctl bench idle http://127.0.0.1:3000 --clients 10000 --pid 1234", Not("the same")),
    ("chatctl bench churn http://127.0.0.1:3000 --pid 1234", Not("the same")),
    ("chatctl bench storm http://127.0.0.1:3000 --clients 10000", Not("the same")),
    ("chatctl bench jitter http://127.0.0.1:3000 --clients 500 --rooms 10", Not("the same")),
    ("chatctl bench compare before.json after.json", Not("the same")),
    (".ci/run", Not("runs this test")),
    ("tests/run.sh", Not("runs this test")),
    ("tests/run.sh && cd tests/js", Not("runs this test")),
    (
        "CHATCTL_RESTARTS=20 node --test recovery.test.mjs",
        Not("takes minutes; tests/run.sh runs it with fewer restarts"),
    ),
    (
        "CHATCTL_HANDOVERS=100 node --test handover.test.mjs",
        Not("takes minutes; tests/run.sh runs it with fewer handovers"),
    ),
    (
        "cargo bench --locked --features workbench --bench hot -- budget",
        Not("takes minutes, and valgrind: .ci/run runs it"),
    ),
    ("cargo build --release --locked && node bench/handover.mjs", Not("takes minutes, and a release build")),
    ("(cd bench/node && npm ci) && node bench/pm2.mjs", Not("fetches pm2, and takes a minute")),
];

/// Those in blocks line by line, and those in sentences.
fn commands() -> Vec<String> {
    let programs =
        ["cargo", "chatctl", "curl", "openssl", "chgrp", "docker", "./install.sh", "tests/run.sh", ".ci/run"];
    let mut commands = Vec::new();
    for (part, _) in parts(&file("README.md")) {
        if part.kind.contains("\"sh\"") {
            let lines = part.block.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
            commands.extend(lines.filter(|line| !line.is_empty()).map(str::to_owned));
        }
        let is_command = |span: &&String| {
            span.split_once(' ').is_some_and(|(program, _)| programs.contains(&program))
                || programs[6..].contains(&span.as_str())
        };
        commands.extend(part.spans.iter().filter(is_command).cloned());
    }
    commands.sort();
    commands.dedup();
    commands
}

/// A home with chatctl on the path and a pm2 file, and nothing of this machine's own.
struct Home {
    folder: tempfile::TempDir,
    chat: SocketAddr,
}

impl Home {
    fn new() -> Self {
        let chat = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let home = Self { folder: tempfile::tempdir().unwrap(), chat };
        for folder in ["bin", "empty", "chat", "hooks"] {
            fs::create_dir(home.path(folder)).unwrap();
        }
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_chatctl"), home.path("bin/chatctl")).unwrap();
        // pm2 is not here; what it is asked to do, it has done.
        std::os::unix::fs::symlink("/bin/true", home.path("bin/pm2")).unwrap();
        let pm2 = format!(
            "module.exports = {{ apps: [{{ name: 'app', script: 'worker.js', env: {{ PORT: {} }} }}] }}",
            chat.port()
        );
        fs::write(home.path("chat/ecosystem.config.js"), pm2).unwrap();
        // The README's own, but that it rings nobody.
        let blocks = parts(&file("README.md")).into_iter().map(|(part, _)| part);
        let toml = blocks.filter(|part| part.kind.contains("\"toml\"")).map(|part| part.block);
        let quiet: String = toml
            .collect::<String>()
            .replace("https://example.com/alert", "file:///dev/null")
            .replace("\"--json\", \"@-\", ", "");
        fs::write(home.path("hooks/chat.toml"), file("chat.toml") + &quiet).unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// In a shell, as whoever reads it would.
    fn shell(&self, folder: &str, line: &str) -> Command {
        let mut command = Command::new("bash");
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        command.args(["-c", &line.replace("<state_dir>", "$STATE_DIRECTORY")]).current_dir(self.path(folder));
        command.env("PATH", path).env("HOME", self.folder.path()).env("STATE_DIRECTORY", self.path("state"));
        command.env_remove("XDG_CONFIG_HOME").env_remove("XDG_STATE_HOME").stdin(Stdio::null());
        command
    }

    fn ends_well(&self, folder: &str, line: &str) {
        let output = self.shell(folder, &format!("timeout 60 bash -c '{line}'")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{line}: {}\n{said}{}", output.status, stderr(&output));
        assert!(!said.is_empty() || !output.stderr.is_empty(), "{line} says nothing");
    }

    /// Until it has said something and people can talk.
    fn goes_on(&self, line: &str) {
        let said = self.path("said");
        let file = fs::File::create(&said).unwrap();
        let mut command = self.shell("chat", &format!("exec {line}"));
        let mut process = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let text = || fs::read_to_string(&said).unwrap();
        until(line, || {
            assert!(process.try_wait().unwrap().is_none(), "{line} ended: {}", text());
            (!text().is_empty() && handshake(self.chat).is_ok_and(|answer| answer.contains("sid")))
                .then_some(())
        });
        signal(process.id(), "TERM");
        let status = until("its end", || process.try_wait().unwrap());
        assert!(status.success() || status.signal() == Some(15), "{line}: {status}\n{}", text());
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Nobody is left when a test fails in the middle.
        let _ = self.shell("chat", "chatctl shutdown").output();
    }
}

#[test]
fn its_commands_work_as_they_stand() {
    let mut known: Vec<&str> = COMMANDS.iter().map(|(line, _)| *line).collect();
    known.sort_unstable();
    assert_eq!(commands(), known, "each is to be run here, or to have a reason not to be");
    let home = Home::new();
    for (line, how) in &COMMANDS {
        match how {
            Ends(folder) => home.ends_well(folder, line),
            GoesOn => home.goes_on(line),
            Not(why) => assert!(!why.is_empty()),
        }
    }
}
