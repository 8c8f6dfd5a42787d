//! Orders: each waits for its effect, says what it did, and has a right exit code.

use crate::{
    program::{Supervisor, chatctl, stderr, until},
    top::Tmux,
};
use std::{fs, path::Path};

/// The exit code of an order, and what it said.
fn order(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = chatctl(folder, arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output))
}

#[test]
fn orders_wait_for_their_effect_and_one_is_enough_at_a_time() {
    let supervisor = Supervisor::start("min_uptime = \"2s\"");
    let folder = supervisor.dir.path();
    let order = |arguments: &[&str]| order(folder, arguments);
    let child = supervisor.child();
    assert_eq!(order(&["restart"]).0, Some(0));
    assert_ne!(supervisor.child(), child);
    assert_eq!(order(&["stop", "chatting"]), (Some(0), "chatting: it is stopped\n".to_owned()));
    assert_eq!(supervisor.app().unwrap()["pid"], serde_json::Value::Null);
    assert!(order(&["reload"]).1.contains("it is stopped: start it"));
    assert_eq!(order(&["start"]).0, Some(0));
    assert_eq!(supervisor.app().unwrap()["state"], "online");
    let (code, said) = order(&["stop", "nobody"]);
    assert_eq!((code, said.contains("there are chatting")), (Some(1), true), "{said}");
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| order(&["reload"]));
        until("the reload to be under way", || {
            order(&["start"]).1.contains("a reload is under way").then_some(())
        });
        assert_eq!(reload.join().unwrap().0, Some(0));
    });
    assert_eq!(order(&["shutdown"]).0, Some(0));
    assert_eq!(order(&["status"]).0, Some(3));
    assert!(supervisor.handshake().is_err());
    let events = order(&["events", "--json", "-n", "100"]).1;
    let events: Vec<serde_json::Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let whats: Vec<&str> = events.iter().map(|event| event["what"].as_str().unwrap()).collect();
    for what in ["starting", "online", "restarting", "stopping", "stopped", "reloading", "kept"] {
        assert!(whats.contains(&what), "{what} in {whats:?}");
    }
    // Each by what was asked for now, not by what was before.
    let first = |what: &str| whats.iter().position(|happened| *happened == what).unwrap();
    assert_eq!(events[first("stopped") + 1]["why"], "asked to start", "{events:#?}");
    assert_eq!(events[first("reloading")]["why"], "asked to reload", "{events:#?}");
}

/// A supervisor of one program, whether it comes up or not.
fn program(command: &str, keys: &str) -> Supervisor {
    let mut supervisor = Supervisor::prepare("");
    let toml = format!("state_dir = \"state\"\n[[app]]\nname = \"chatting\"\ncommand = {command}\n{keys}\n");
    fs::write(supervisor.path("chat.toml"), toml).unwrap();
    supervisor.begin(Path::new(env!("CARGO_BIN_EXE_chatctl")));
    supervisor
}

/// One whose program does not listen to SIGTERM, and so is killed after so long.
fn deaf(kill_timeout: &str) -> Supervisor {
    let script = r#"["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"]"#;
    let supervisor = program(script, &format!("kill_timeout = \"{kill_timeout}\""));
    until("it to be deaf", || {
        fs::read_to_string(supervisor.path("state/logs/chatting.log")).ok()?.contains("deaf").then_some(())
    });
    supervisor
}

#[test]
fn a_start_ends_a_backoff() {
    let script = r#"["sh", "-c", "test -e mended && exec sleep 600; exit 3"]"#;
    let supervisor = program(script, "restart_delay = \"1h\"\nmin_uptime = \"200ms\"");
    let folder = supervisor.dir.path();
    until("the backoff", || (supervisor.app()?["state"] == "waiting").then_some(()));
    fs::write(supervisor.path("mended"), "").unwrap();
    let (code, said) = order(folder, &["start"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("it is online, pid "), "{said}");
    assert!(order(folder, &["start"]).1.contains("it is online already"));
}

#[test]
fn an_order_for_who_ends_at_once_is_answered() {
    let supervisor =
        program(r#"["sh", "-c", "sleep 0.2; exit 42"]"#, "stop_exit_codes = [42]\nwait_ready = true");
    until("its end", || (supervisor.app()?["state"] == "stopped").then_some(()));
    for what in ["start", "restart"] {
        let (code, said) = order(supervisor.dir.path(), &[what]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("exited with code 42"), "{said}");
    }
}

#[test]
fn two_who_stop_it_wait_for_the_same_end() {
    let supervisor = deaf("2s");
    let folder = supervisor.dir.path();
    std::thread::scope(|scope| {
        let stops = [(); 2].map(|()| scope.spawn(|| order(folder, &["stop"])));
        for stop in stops {
            assert_eq!(stop.join().unwrap(), (Some(0), "chatting: it is stopped\n".to_owned()));
        }
    });
    assert_eq!(order(folder, &["stop"]), (Some(0), "chatting: it is stopped already\n".to_owned()));
}

#[test]
fn a_program_that_cannot_work_is_never_called_online_and_status_says_what_it_waits_for() {
    let script = r#"["sh", "-c", "echo cannot work >&2; exit 3"]"#;
    let supervisor = program(script, "exp_backoff_restart_delay = \"2s\"\nmax_restarts = 3");
    let folder = supervisor.dir.path();
    let app = until("the second failure", || {
        supervisor.app().filter(|app| app["state"] == "waiting" && app["unstable_restarts"] == 2)
    });
    let next = app["next_start_in_s"].as_f64().unwrap();
    assert!((0.0..=2.0).contains(&next), "{app}");
    assert_eq!((&app["health"], &app["max_restarts"]), (&"unhealthy".into(), &3.into()), "{app}");
    let (code, said) = order(folder, &["status"]);
    assert_eq!(code, Some(1));
    let about = said.lines().filter(|line| line.starts_with("chatting: ")).collect::<Vec<_>>().join("\n");
    for part in
        ["exited with code 3", "; starts again in ", "(failed 2 times in a row; crash-looping after 3)"]
    {
        assert!(about.contains(part), "{part} in {said}");
    }
    assert!(about.contains("err | cannot work"), "{said}");
    let (code, said) = order(folder, &["restart"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the one before, which did not work either, is tried again"), "{said}");
    let (code, said) = order(folder, &["events", "-n", "100"]);
    assert!(code == Some(0) && !said.contains("online"), "{said}");
}

#[test]
fn a_program_that_did_its_work_has_not_failed() {
    let supervisor = program(r#"["true"]"#, "autorestart = false");
    until("its end", || (supervisor.app()?["state"] == "stopped").then_some(()));
    for what in ["start", "restart"] {
        let (code, said) = order(supervisor.dir.path(), &[what]);
        assert_eq!((code, said.as_str()), (Some(0), "chatting: it did its work, and exited with code 0\n"));
    }
}

#[test]
fn who_waits_at_a_terminal_is_told_how_far_it_is_and_a_pipe_gets_the_outcome_alone() {
    let supervisor = Supervisor::start("min_uptime = \"2s\"");
    let folder = supervisor.dir.path();
    let in_force = "chatting: the new version is in force\n";
    assert_eq!(order(folder, &["reload"]), (Some(0), in_force.to_owned()));
    let (code, json) = order(folder, &["reload", "--json"]);
    let outcome =
        serde_json::json!([{ "app": "chatting", "ok": true, "message": "the new version is in force" }]);
    assert_eq!((code, serde_json::from_str::<serde_json::Value>(&json).unwrap()), (Some(0), outcome));
    let (code, json) = order(folder, &["stop", "nobody", "--json"]);
    assert_eq!(
        (code, &serde_json::from_str::<serde_json::Value>(&json).unwrap()[0]["ok"]),
        (Some(1), &false.into())
    );
    let Some(tmux) = Tmux::start(&supervisor) else { return };
    tmux.keys(&[&format!("clear; {} reload", env!("CARGO_BIN_EXE_chatctl")), "Enter"]);
    let screen = tmux.shows(": on trial for 2.0 s");
    assert!(!screen.contains("in force"), "{screen}");
    let child = supervisor.app().unwrap();
    assert!(child["on_trial_for_s"].as_f64().is_some_and(|left| left <= 2.0), "{child}");
    let screen = tmux.shows(in_force.trim());
    for part in [
        " s  chatting  reloading (pid ",
        "0 connections handed over",
        &format!("online (pid {})", child["pid"]),
    ] {
        assert!(screen.contains(part), "{part} in {screen}");
    }
    assert!(!screen.contains("asked to") && !screen.contains("kept"), "{screen}");
    assert_eq!(supervisor.app().unwrap()["on_trial_for_s"], serde_json::Value::Null);
}

#[test]
fn who_has_to_be_killed_is_said_to_have_been() {
    let supervisor = deaf("300ms");
    let folder = supervisor.dir.path();
    assert_eq!(order(folder, &["stop"]).0, Some(0));
    let (_, said) = order(folder, &["events", "-n", "100"]);
    assert!(said.contains(": did not end within 300ms of SIGTERM"), "{said}");
}

#[test]
fn a_job_is_started_by_the_clock_is_well_between_and_stays_away_when_it_is_stopped() {
    let keys = "autorestart = false\ncron_restart = \"*/7 * * * * *\"";
    let supervisor = program(r#"["sh", "-c", "echo at work"]"#, keys);
    let folder = supervisor.dir.path();
    // Seven seconds are longer than it keeps what it has when it is stopped.
    let app = until("two more runs", || {
        supervisor.app().filter(|app| app["state"] == "stopped" && app["restarts"].as_u64() >= Some(2))
    });
    assert_eq!((&app["health"], &app["unstable_restarts"]), (&"ok".into(), &0.into()), "{app}");
    assert!(app["next_start_in_s"].as_f64().is_some_and(|left| left <= 7.0), "{app}");
    assert_eq!(order(folder, &["status"]).0, Some(0));
    let (_, said) = order(folder, &["events", "-n", "100"]);
    assert!(said.contains("starting") && said.contains(": cron_restart */7 * * * * *"), "{said}");
    assert_eq!(order(folder, &["stop"]), (Some(0), "chatting: it is stopped\n".to_owned()));
    let app = supervisor.app().unwrap();
    assert_eq!(
        (&app["health"], &app["next_start_in_s"]),
        (&"stopped".into(), &serde_json::Value::Null),
        "{app}"
    );
    assert_eq!(order(folder, &["start"]).0, Some(0));
}

#[test]
fn an_app_that_is_switched_off_is_said_to_be() {
    let supervisor = Supervisor::prepare("");
    let toml = fs::read_to_string(supervisor.path("chat.toml")).unwrap();
    let off = "[[app]]\nname = \"later\"\ncommand = [\"true\"]\nenabled = false\n";
    fs::write(supervisor.path("chat.toml"), toml + off).unwrap();
    let supervisor = supervisor.launch();
    let (code, said) = order(supervisor.dir.path(), &["start", "later"]);
    assert_eq!(
        (code, said.as_str()),
        (Some(1), "chatctl: start: later: chat.toml has it with `enabled = false`\n")
    );
}

#[test]
fn who_waits_for_what_takes_long_is_told_for_what_and_once_why_it_failed() {
    let supervisor = Supervisor::prepare("");
    let silent = "command = [\"sleep\", \"600\"]\nwait_ready = true\nlisten_timeout = \"4s\"";
    let toml = format!("state_dir = \"state\"\n[[app]]\nname = \"silent\"\n{silent}\n");
    fs::write(supervisor.path("chat.toml"), toml).unwrap();
    let Some(tmux) = Tmux::start(&supervisor) else { return };
    tmux.keys(&[
        &format!("clear; {} supervise --detach; echo en''ded", env!("CARGO_BIN_EXE_chatctl")),
        "Enter",
    ]);
    tmux.shows("chatctl: 0 apps online, silent starting");
    let screen = tmux.shows("\nended");
    assert_eq!(screen.matches("did not come up").count(), 1, "{screen}");
    assert!(!screen.contains("stopping"), "{screen}");
}
