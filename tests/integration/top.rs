//! `chatctl top` in a real terminal (tmux), and `status --watch` in a pipe.

use crate::program::{Supervisor, signal, until};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

/// A terminal of its own, with a shell in it.
pub(crate) struct Tmux(String);

impl Tmux {
    /// `None`: there is no tmux here.
    pub(crate) fn start(supervisor: &Supervisor) -> Option<Self> {
        let tmux = Self(format!("chatctl-{}-{}", std::process::id(), supervisor.port));
        let folder = supervisor.dir.path().to_str().unwrap();
        let begun = tmux.run(&["new-session", "-d", "-x", "80", "-y", "24", "-c", folder, "sh"]);
        if begun.is_none() {
            assert!(Command::new("tmux").arg("-V").output().is_err(), "tmux is there, and does not start");
            eprintln!("skipped: there is no tmux; tests/run.sh installs it");
        }
        begun.map(|_| tmux)
    }

    fn run(&self, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new("tmux");
        let output = command.args(["-L", &self.0, "-f", "/dev/null"]).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) fn keys(&self, keys: &[&str]) {
        self.run(&[&["send-keys"], keys].concat()).unwrap();
    }

    fn screen(&self) -> String {
        self.run(&["capture-pane", "-p", "-J"]).unwrap()
    }

    /// Waits until the screen says this, and gives it.
    pub(crate) fn shows(&self, text: &str) -> String {
        until(&format!("{text} on the screen"), || Some(self.screen()).filter(|screen| screen.contains(text)))
    }

    /// How the terminal is set, as a shell line finds it.
    fn settings(&self, name: &str) -> String {
        self.keys(&[&format!("clear; echo {name} $(stty -g)"), "Enter"]);
        let said = |screen: String| {
            let line =
                screen.lines().find(|line| line.starts_with(&format!("{name} ")) && line.contains(':'))?;
            Some(line.split_once(' ')?.1.to_owned())
        };
        until("the terminal's settings", || said(self.screen()))
    }

    fn top(&self) -> u32 {
        self.keys(&[&format!("clear; {} top", env!("CARGO_BIN_EXE_chatctl")), "Enter"]);
        self.shows("q: quit");
        let shell = self.run(&["display-message", "-p", "#{pane_pid}"]).unwrap();
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", shell.trim())).unwrap();
        children.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

/// Waits until it is gone: until then it may read what is typed.
fn ended(pid: u32) {
    until("its end", || (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
}

#[test]
fn the_screen_shows_obeys_and_gives_the_terminal_back() {
    let mut supervisor = Supervisor::start("max_memory_restart = \"300M\"");
    let Some(tmux) = Tmux::start(&supervisor) else { return };
    let before = tmux.settings("before");
    let top = tmux.top();
    tmux.shows("largest of 0 rooms");
    let screen = tmux.shows("listening on");
    for part in
        ["chatting", "online", "of 300M", "memory ", "cpu ", "said 0/s", "log of chatting", "listening on"]
    {
        assert!(screen.contains(part), "{part}: {screen}");
    }
    // An order, after a question.
    tmux.keys(&["R"]);
    tmux.shows("restart chatting? y: yes");
    tmux.keys(&["y"]);
    tmux.shows("restart chatting: it is online, pid");
    assert_eq!(supervisor.restarted(1)["last_reason"], "asked to restart");
    // Other sizes.
    tmux.run(&["resize-window", "-x", "60", "-y", "15"]).unwrap();
    tmux.shows("too small: 60x15");
    tmux.run(&["resize-window", "-x", "120", "-y", "40"]).unwrap();
    tmux.shows("log of chatting");
    // To the background, and back.
    tmux.keys(&["C-z"]);
    tmux.shows("Stopped");
    assert_eq!(tmux.settings("suspended"), before);
    tmux.keys(&["fg", "Enter"]);
    tmux.shows("log of chatting");
    // The supervisor goes, which is shown, and comes back.
    signal(supervisor.pid(), "TERM");
    supervisor.ended();
    tmux.shows("no supervisor answers");
    let supervisor = supervisor.launch();
    until("it to be seen again", || (!tmux.screen().contains("no supervisor answers")).then_some(()));
    assert!(supervisor.handshake().is_ok());
    tmux.keys(&["q"]);
    ended(top);
    assert_eq!(tmux.settings("after"), before);
    // However it ends.
    for name in ["TERM", "HUP"] {
        let top = tmux.top();
        signal(top, name);
        ended(top);
        assert_eq!(tmux.settings(name), before, "{name}");
    }
}

#[test]
fn a_pipe_gets_lines_and_nothing_else() {
    let supervisor = Supervisor::start("");
    let mut watch = Command::new(env!("CARGO_BIN_EXE_chatctl"))
        .args(["status", "--watch"])
        .current_dir(supervisor.dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> =
        BufReader::new(watch.stdout.take().unwrap()).lines().take(4).map(Result::unwrap).collect();
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert!(
        lines[0].starts_with("app ") && lines[1].starts_with("chatting ") && lines[2].is_empty(),
        "{lines:?}"
    );
    assert!(lines[3].starts_with("app "), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains('\u{1b}')), "{lines:?}");
}

#[test]
fn a_log_on_a_terminal_is_coloured_unless_somebody_minds() {
    let supervisor = Supervisor::prepare("");
    let Some(tmux) = Tmux::start(&supervisor) else { return };
    // Each has an address of its own, so that what is on the screen still is not taken for it.
    for (n, set, coloured) in [(2, "", true), (3, "NO_COLOR=1", false), (4, "TERM=dumb", false)] {
        let program = env!("CARGO_BIN_EXE_chatctl");
        let serve = format!("clear; {set} {program} serve --listen 127.0.0.{n}:0; echo en''ded-{n}");
        tmux.keys(&[&serve, "Enter"]);
        tmux.shows(&format!("listening on http://127.0.0.{n}:"));
        let screen = tmux.run(&["capture-pane", "-p", "-e"]).unwrap();
        assert_eq!(screen.contains("\u{1b}[32m INFO"), coloured, "{set}: {screen:?}");
        tmux.keys(&["C-c"]);
        tmux.shows(&format!("ended-{n}"));
    }
}
