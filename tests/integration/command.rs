//! Programs that are no chat server, supervised like one.

use crate::program::{Supervisor, chatctl, free_port, signal, stderr, until};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, Stdio},
};

/// A supervisor of one program; waits until it is online.
fn start(command: &str, keys: &str) -> Supervisor {
    prepare(command, keys).launch()
}

/// A supervisor of one that may have ended before it counts as ready.
fn begin(command: &str, keys: &str) -> Supervisor {
    let mut supervisor = prepare(command, keys);
    supervisor.begin(Path::new(env!("CARGO_BIN_EXE_chatctl")));
    supervisor
}

fn prepare(command: &str, keys: &str) -> Supervisor {
    let supervisor = Supervisor::prepare("");
    let toml = format!("state_dir = \"state\"\n[[app]]\nname = \"chatting\"\ncommand = {command}\n{keys}\n");
    fs::write(supervisor.path("chat.toml"), toml).unwrap();
    supervisor
}

fn log(supervisor: &Supervisor) -> String {
    fs::read_to_string(supervisor.path("state/logs/chatting.log")).unwrap_or_default()
}

fn is_keeper(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "chatctl-keep")
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !(stat.is_empty() || stat.contains(") Z "))
}

#[test]
fn any_program_is_run_as_it_is_told() {
    let script = r#"["sh", "-c", "echo cwd $(pwd) files $(ulimit -n) nice $(nice) greeting $GREETING; exec sleep 600"]"#;
    let supervisor = start(script, "cwd = \"/usr\"\nnofile = 123\nnice = 7\nenv = { GREETING = \"hello\" }");
    until("its words", || {
        log(&supervisor).contains("cwd /usr files 123 nice 7 greeting hello").then_some(())
    });
    let first = supervisor.child();
    let output = chatctl(supervisor.dir.path(), &["reload"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_ne!(supervisor.child(), first);
}

#[test]
fn a_program_is_ready_when_it_says_so_and_alive_when_it_answers() {
    let port = free_port();
    let script = r#"
        const http = require("http");
        const server = http.createServer((request, response) => { console.log("asked", request.url); response.end("ok"); });
        process.on("SIGUSR2", () => { for (;;); });
        server.listen(PORT, "127.0.0.1", () => console.log("listening"));"#
        .replace("PORT", &port.to_string());
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("worker.js"), script).unwrap();
    let keys = format!("probe = \"http://127.0.0.1:{port}/health\"\ncwd = {:?}", folder.path());
    let supervisor = start(r#"["node", "worker.js"]"#, &keys);
    until("a probe", || log(&supervisor).contains("asked /health").then_some(()));
    // It spins: alive to the kernel, dead to everybody else.
    signal(supervisor.child(), "USR2");
    let app = until("its replacement", || {
        supervisor.app().filter(|app| {
            app["state"] == "online"
                && app["last_reason"].as_str().is_some_and(|why| why.contains("did not answer"))
        })
    });
    assert!(app["restarts"].as_u64() >= Some(1), "{app}");
}

#[test]
fn nothing_is_left_of_a_program_that_does_not_want_to_go() {
    // A child that ignores the signal, a grandchild of its own session, and one that lost its parent.
    let script = r#"#!/bin/sh
trap '' TERM INT HUP
setsid sh -c 'trap "" TERM; echo grandchild $$; while :; do sleep 1; done' &
(setsid sh -c 'trap "" TERM; echo orphan $$; while :; do sleep 1; done' &)
echo child $$
while :; do sleep 1; done
"#;
    let supervisor = Supervisor::prepare("");
    let program = supervisor.path("stubborn");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut program = start(&format!("[{:?}]", program.display().to_string()), "kill_timeout = \"300ms\"");
    let pids: Vec<String> = until("all three", || {
        let log = log(&program);
        let pid = |who: &str| Some(log.split(&format!("| {who} ")).nth(1)?.lines().next()?.to_owned());
        ["child", "grandchild", "orphan"].map(pid).into_iter().collect()
    });
    assert!(pids.iter().all(|pid| is_alive(pid)), "{pids:?}");
    let output = chatctl(program.dir.path(), &["stop"]);
    assert!(output.status.success(), "{}", stderr(&output));
    until("their end", || pids.iter().all(|pid| !is_alive(pid)).then_some(()));
    // Nothing of it waits to be reaped either.
    let children = || {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", program.pid())).unwrap();
        children.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    until("the supervisor to be alone", || children().is_empty().then_some(()));
    assert!(chatctl(program.dir.path(), &["shutdown"]).status.success());
    assert!(program.ended().success());
}

#[test]
fn a_program_of_another_user_says_how_far_it_is_and_is_at_home() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let script = r#"
        const { execFileSync } = require("child_process");
        console.log("I am", process.getuid(), process.env.USER, process.env.LOGNAME, process.env.HOME);
        const say = `use Socket; socket(S, AF_UNIX, SOCK_DGRAM, 0); send(S, "READY=1", 0, sockaddr_un($ENV{NOTIFY_SOCKET})) or die $!`;
        execFileSync("perl", ["-e", say], { stdio: "inherit" });
        setInterval(() => {}, 1000);"#;
    let script_file = folder.path().join("worker.js");
    fs::write(&script_file, script).unwrap();
    let supervisor = Supervisor::prepare("");
    fs::set_permissions(supervisor.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let command = format!(
        "state_dir = \"state\"\n[[app]]\nname = \"chatting\"\ncommand = [\"node\", {script_file:?}]\nuser = \"nobody\"\nwait_ready = true\ncwd = \"/\"\n"
    );
    fs::write(supervisor.path("chat.toml"), command).unwrap();
    let supervisor = supervisor.launch();
    until("its words", || log(&supervisor).contains("I am 65534 nobody nobody /nonexistent").then_some(()));
    let mode = |name: &str| fs::metadata(supervisor.path(name)).unwrap().mode() & 0o777;
    assert_eq!((mode("state/logs"), mode("state/control.sock")), (0o700, 0o600));
    // Where it cannot pass, that is said.
    fs::set_permissions(supervisor.dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let output = chatctl(supervisor.dir.path(), &["restart"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("nobody cannot pass through"), "{}", stderr(&output));
}

#[test]
fn nothing_runs_that_could_not_be_started_as_it_should_be() {
    let supervisor = Supervisor::prepare("");
    let toml =
        "state_dir = \"state\"\n[[app]]\nname = \"chatting\"\ncommand = [\"sleep\", \"600\"]\nnice = -5\n";
    fs::write(supervisor.path("chat.toml"), toml).unwrap();
    // Root in a user namespace may do less than root.
    let mut inside = Command::new("unshare");
    if !inside.args(["-r", "true"]).status().is_ok_and(|status| status.success()) {
        return;
    }
    let mut process = Command::new("unshare")
        .args(["-r", env!("CARGO_BIN_EXE_chatctl"), "supervise"])
        .current_dir(supervisor.dir.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let app = until("it to have been tried twice", || {
        supervisor.app().filter(|app| app["restarts"].as_u64() >= Some(2) && app["state"] == "waiting")
    });
    assert!(app["last_reason"].as_str().unwrap().contains("nice = -5 takes more rights"), "{app}");
    let children = || {
        let children = format!("/proc/{0}/task/{0}/children", process.id());
        let children = fs::read_to_string(children).unwrap();
        children.split_whitespace().filter(|pid| !is_keeper(pid)).map(str::to_owned).collect::<Vec<_>>()
    };
    until("nothing to run", || children().is_empty().then_some(()));
    signal(process.id(), "TERM");
    assert!(process.wait().unwrap().success());
}

#[test]
fn nothing_is_left_of_a_program_that_forks_away_when_the_supervisor_ends() {
    let script =
        r#"["sh", "-c", "(env -i setsid sh -c 'echo daemon $$; exec sleep 600' &); exec sleep 600"]"#;
    let mut supervisor = start(script, "");
    let daemon =
        until("the daemon", || Some(log(&supervisor).split("| daemon ").nth(1)?.lines().next()?.to_owned()));
    assert!(is_alive(&daemon));
    assert!(chatctl(supervisor.dir.path(), &["shutdown"]).status.success());
    assert!(supervisor.ended().success());
    until("its end", || (!is_alive(&daemon)).then_some(()));
}

#[test]
fn some_exits_are_meant_and_some_orders_cannot_be_followed() {
    let supervisor = begin(r#"["sh", "-c", "sleep 0.5; exit 42"]"#, "stop_exit_codes = [42]");
    until("its end", || (supervisor.app()?["state"] == "stopped").then_some(()));
    assert_eq!(supervisor.app().unwrap()["last_reason"], "exited with code 42");
    let toml = "state_dir = \"state\"\n[[app]]\nname = \"chatting\"\ncommand = [\"no such program\"]\n";
    fs::write(supervisor.path("chat.toml"), toml).unwrap();
    let output = chatctl(supervisor.dir.path(), &["start"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot run no such program"), "{}", stderr(&output));
    let toml =
        "state_dir = \"state\"\n[[app]]\nname = \"chatting\"\ncommand = \"true\"\nuser = \"nobody at all\"\n";
    fs::write(supervisor.path("chat.toml"), toml).unwrap();
    let output = chatctl(supervisor.dir.path(), &["restart"]);
    assert!(stderr(&output).contains("there is no user nobody at all"), "{}", stderr(&output));
}

#[test]
fn a_flood_of_lines_is_kept_whole_to_the_last_before_an_abort() {
    const LINES: usize = 200_000;
    let flood = format!(
        "i=0; seq 1 {LINES} | sed 's/^/line /'; seq 1 {LINES} | sed 's/^/error /' >&2; kill -ABRT $$"
    );
    let supervisor = begin(
        &format!("[\"sh\", \"-c\", {flood:?}]"),
        "autorestart = false\nlog_max_size = \"100M\"\nlisten_timeout = \"60s\"",
    );
    until("its end", || (supervisor.app()?["state"] == "stopped").then_some(()));
    assert!(supervisor.app().unwrap()["last_reason"].as_str().unwrap().contains("SIGABRT"));
    // Each stream is kept in order; which of the two is ahead is nobody's promise.
    for last in [format!("| line {LINES}\n"), format!("| error {LINES}\n")] {
        until("the last line", || log(&supervisor).contains(&last).then_some(()));
    }
    let log = log(&supervisor);
    for stream in ["out | line", "err | error"] {
        let numbers = log.lines().filter_map(|line| line.split_once(stream)?.1.trim().parse::<usize>().ok());
        assert!(numbers.eq(1..=LINES), "{stream}: lines are missing, or out of order");
    }
    let output = chatctl(supervisor.dir.path(), &["logs", "-n", "2", "--json"]);
    let last = String::from_utf8(output.stdout).unwrap();
    let last: serde_json::Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!((&last["app"], last["line"].is_string()), (&"chatting".into(), true), "{last}");
}

#[test]
fn who_wants_to_hear_of_what_goes_wrong_only_hears_of_that() {
    let supervisor = begin(r#"["sh", "-c", "exit 3"]"#, "[log]\nlevel = \"warn\"");
    until("a failure", || supervisor.log().contains("waiting").then_some(()));
    assert!(supervisor.log().contains("exited with code 3"), "{}", supervisor.log());
    assert!(chatctl(supervisor.dir.path(), &["shutdown"]).status.success());
    assert!(!supervisor.log().contains("stopped"), "{}", supervisor.log());
    // A job that is done has not gone wrong.
    let supervisor = begin(r#"["true"]"#, "autorestart = false\n[log]\nlevel = \"warn\"");
    until("its end", || (supervisor.app()?["state"] == "stopped").then_some(()));
    assert_eq!(supervisor.log(), "");
}

#[test]
fn a_program_is_asked_to_go_as_it_wants_to_be() {
    // The one that waits is asked as well, as by Ctrl-C; bash itself would wait for it in vain.
    let script = r#"["bash", "-c", "trap 'echo interrupted; exit 0' INT; trap 'echo terminated' TERM; echo at work; sleep 600; sleep 600"]"#;
    let supervisor =
        start(script, "kill_signal = \"SIGINT\"\nkill_timeout = \"60s\"\nmin_uptime = \"100ms\"");
    until("its words", || log(&supervisor).contains("at work").then_some(()));
    let output = chatctl(supervisor.dir.path(), &["stop"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let log = log(&supervisor);
    assert!(log.contains("interrupted") && !log.contains("terminated"), "{log}");
    let events = String::from_utf8(chatctl(supervisor.dir.path(), &["events"]).stdout).unwrap();
    assert!(!events.contains("killed"), "{events}");
    let toml = fs::read_to_string(supervisor.path("chat.toml")).unwrap().replace("SIGINT", "SIGKILL");
    fs::write(supervisor.path("chat.toml"), toml).unwrap();
    let output = chatctl(supervisor.dir.path(), &["check"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("kill_signal: ") && said.contains("one of SIGTERM, SIGINT"), "{said}");
}
