//! Reloads: what works takes over without a gap, what does not changes nothing or is taken back.

use crate::program::{Supervisor, chatctl, config, knocking, own_program, replace, signal, stderr, until};
use std::{fs, net::SocketAddr, process::Command, time::Duration};

/// Connects all the time while `doing`: nobody may be refused.
fn nobody_is_refused(supervisor: &Supervisor, doing: impl FnOnce()) {
    knocking(&[SocketAddr::from(([127, 0, 0, 1], supervisor.port))], doing);
}

#[test]
fn a_reload_takes_over_without_a_gap() {
    let supervisor = Supervisor::start("min_uptime = \"300ms\"");
    let before = supervisor.child();
    nobody_is_refused(&supervisor, || {
        for _ in 0..5 {
            let output = chatctl(supervisor.dir.path(), &["reload"]);
            assert!(output.status.success(), "{}", stderr(&output));
        }
    });
    let app = supervisor.app().unwrap();
    assert_ne!(app["pid"], before);
    assert_eq!((&app["restarts"], &app["last_reason"]), (&5.into(), &"asked to reload".into()));
}

#[test]
fn bad_reloads_change_nothing() {
    let supervisor = own_program("min_uptime = \"300ms\"\nlisten_timeout = \"2s\"");
    let (program, child) = (supervisor.path("chatctl"), supervisor.child());
    nobody_is_refused(&supervisor, || {
        for (script, why) in [
            ("exit 3", "exited with code 3"),
            ("kill -SEGV $$", "SIGSEGV"),
            ("exec sleep 60", "was not ready within 2s"),
        ] {
            replace(&program, script);
            let output = chatctl(supervisor.dir.path(), &["reload"]);
            assert_eq!(output.status.code(), Some(1), "{script}");
            assert!(stderr(&output).contains(why), "{}", stderr(&output));
        }
        fs::remove_file(&program).unwrap();
        let output = chatctl(supervisor.dir.path(), &["reload"]);
        assert!(stderr(&output).contains("cannot open"), "{}", stderr(&output));
        fs::copy(env!("CARGO_BIN_EXE_chatctl"), &program).unwrap();
        let nowhere = "[page]\ndir = \"/nowhere\"";
        fs::write(supervisor.path("chat.toml"), config(supervisor.port, nowhere)).unwrap();
        let output = chatctl(supervisor.dir.path(), &["reload"]);
        assert!(stderr(&output).contains("exited with code 2"), "{}", stderr(&output));
        until("its reason in the log", || {
            let log = fs::read_to_string(supervisor.path("state/logs/chatting.log")).unwrap();
            log.contains("/nowhere is not a folder").then_some(())
        });
        fs::remove_file(&program).unwrap();
        fs::write(supervisor.path("chat.toml"), config(supervisor.port, "wach = true")).unwrap();
        let output = chatctl(supervisor.dir.path(), &["reload"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("did you mean `watch`?"), "{}", stderr(&output));
    });
    assert_eq!((supervisor.child(), &supervisor.app().unwrap()["restarts"]), (child, &0.into()));
    // The program is gone and chat.toml is broken: what worked is held, and comes back all the same.
    signal(child, "KILL");
    assert_eq!(supervisor.restarted(1)["last_reason"], "killed by signal 9 (SIGKILL)");
    assert!(supervisor.handshake().unwrap().contains("\"sid\""));
}

#[test]
fn what_fails_after_it_took_over_is_rolled_back() {
    let supervisor = own_program("min_uptime = \"3s\"");
    let program = supervisor.path("chatctl");
    let real = supervisor.path("real");
    fs::copy(env!("CARGO_BIN_EXE_chatctl"), &real).unwrap();
    // It serves as it should, and dies after a second.
    replace(&program, &format!("(sleep 1; kill -ABRT $$) & exec {} \"$@\"", real.display()));
    nobody_is_refused(&supervisor, || {
        let output = chatctl(supervisor.dir.path(), &["reload"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("SIGABRT"), "{}", stderr(&output));
        supervisor.restarted(2);
    });
    let app = supervisor.app().unwrap();
    assert!(app["last_reason"].as_str().unwrap().ends_with("the last good one is back"), "{app}");
    assert!(app["refused"].as_str().unwrap().contains("SIGABRT"), "{app}");
    let page = String::from_utf8(chatctl(supervisor.dir.path(), &["status"]).stdout).unwrap();
    assert!(page.contains("the last reload was refused"), "{page}");
    let events = String::from_utf8(chatctl(supervisor.dir.path(), &["events", "-n", "50"]).stdout).unwrap();
    assert!(events.contains("refused") && events.contains("SIGABRT"), "{events}");
}

#[test]
fn a_newer_version_that_fails_does_not_take_the_place_of_the_one_that_works() {
    let supervisor = own_program("min_uptime = \"1s\"\nlisten_timeout = \"4s\"");
    let program = supervisor.path("chatctl");
    std::thread::scope(|scope| {
        let keys = "min_uptime = \"1s\"\nlisten_timeout = \"4s\"\nmax_memory_restart = \"200M\"";
        fs::write(supervisor.path("chat.toml"), config(supervisor.port, keys)).unwrap();
        let folder = supervisor.dir.path();
        let order = scope.spawn(move || {
            Command::new(env!("CARGO_BIN_EXE_chatctl")).arg("reload").current_dir(folder).output()
        });
        supervisor.restarted(1);
        // While it is on trial, a newer one is there that never becomes ready.
        replace(&program, "exec sleep 60");
        signal(supervisor.pid(), "HUP");
        let output = order.join().unwrap().unwrap();
        assert_eq!(output.status.code(), Some(1), "what is there now is not in force");
        assert!(stderr(&output).contains("was not ready within 4s"), "{}", stderr(&output));
    });
    let app = supervisor.app().unwrap();
    assert_eq!((&app["restarts"], &app["memory_limit_bytes"]), (&1.into(), &209_715_200.into()), "{app}");
    signal(supervisor.child(), "KILL");
    let app = supervisor.restarted(2);
    assert_eq!((&app["restarts"], &app["memory_limit_bytes"]), (&2.into(), &209_715_200.into()), "{app}");
    assert!(supervisor.handshake().unwrap().contains("\"sid\""));
}

#[test]
fn a_hang_is_noticed_and_ended() {
    let supervisor = Supervisor::start("");
    let child = supervisor.child();
    signal(child, "STOP");
    let begun = std::time::Instant::now();
    let app = supervisor.restarted(1);
    let took = begun.elapsed();
    assert!(app["last_reason"].as_str().unwrap().starts_with("did not answer 3 probes in a row"), "{app}");
    // 5 s are promised; a machine that stalls gets some more.
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(supervisor.handshake().unwrap().contains("\"sid\""));
}

#[test]
fn a_ceiling_below_what_is_needed_is_said_and_restarts_nothing() {
    let supervisor = Supervisor::start("max_memory_restart = \"1M\"\nmax_memory_kill = \"2M\"");
    let app =
        until("it to be recognised", || supervisor.app().filter(|app| app["memory_limit_too_low"] == true));
    assert_eq!(app["restarts"], 0);
    let page = String::from_utf8(chatctl(supervisor.dir.path(), &["status"]).stdout).unwrap();
    assert!(page.contains("max_memory_restart 1M is less than it needs"), "{page}");
}
