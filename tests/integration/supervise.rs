//! `chatctl supervise` and `chatctl status`, as an operator meets them.

use crate::program::{
    Supervisor, certificate, chatctl, config, free_port, handshake, knocking, replace, signal, stderr, until,
};
use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

#[test]
fn nobody_is_refused_while_a_killed_child_is_replaced() {
    let supervisor = Supervisor::start("");
    let address = SocketAddr::from(([127, 0, 0, 1], supervisor.port));
    knocking(&[address], || {
        for round in 1..=5 {
            signal(supervisor.child(), "KILL");
            let answer = handshake(address).or_else(|_| handshake(address));
            assert!(answer.unwrap().contains("\"sid\""));
            let app = supervisor.restarted(round);
            assert_eq!(app["last_reason"], "killed by signal 9 (SIGKILL)");
        }
    });
}

#[test]
fn a_burst_of_writes_is_one_restart_and_its_own_files_are_none() {
    // The whole folder is watched, the state directory with its logs in it included.
    let supervisor = Supervisor::start("watch = [\".\"]\nwatch_delay = \"400ms\"");
    fs::write(supervisor.path("app.log"), "noise").unwrap();
    fs::write(supervisor.path("chat.db-wal"), "noise").unwrap();
    fs::write(supervisor.path("state/logs/x"), "noise").unwrap();
    for n in 0..20 {
        fs::write(supervisor.path("room.html"), format!("{n}")).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(supervisor.restarted(1)["last_reason"], "room.html changed");
    // A second restart would show here: this change's own restart comes after whatever was still due.
    fs::write(supervisor.path("other.html"), "x").unwrap();
    until("the second restart", || (supervisor.app()?["last_reason"] == "other.html changed").then_some(()));
    assert_eq!(supervisor.restarted(2)["restarts"], 2, "{}", supervisor.log());
}

#[test]
fn links_that_lead_elsewhere_and_folders_that_come_later_count() {
    let supervisor = Supervisor::prepare("watch = [\"current\", \"later/deep\"]\nwatch_delay = \"100ms\"");
    for release in ["one", "two"] {
        fs::create_dir(supervisor.path(release)).unwrap();
    }
    std::os::unix::fs::symlink("one", supervisor.path("current")).unwrap();
    let supervisor = supervisor.launch();
    let restarted = |times, why: &str| {
        let app = supervisor.restarted(times);
        assert_eq!(
            (&app["restarts"], &app["last_reason"]),
            (&times.into(), &why.into()),
            "{}",
            supervisor.log()
        );
    };
    std::os::unix::fs::symlink("two", supervisor.path("next")).unwrap();
    fs::rename(supervisor.path("next"), supervisor.path("current")).unwrap();
    restarted(1, "current changed");
    fs::write(supervisor.path("two/page.html"), "x").unwrap();
    restarted(2, "two/page.html changed");
    fs::create_dir(supervisor.path("later")).unwrap();
    restarted(3, "later changed");
    fs::create_dir(supervisor.path("later/deep")).unwrap();
    restarted(4, "later/deep changed");
    fs::write(supervisor.path("later/deep/file"), "x").unwrap();
    restarted(5, "later/deep/file changed");
    fs::rename(supervisor.path("later/deep/file"), supervisor.path("later/deep/moved")).unwrap();
    restarted(6, "later/deep/file changed");
    fs::remove_file(supervisor.path("later/deep/moved")).unwrap();
    restarted(7, "later/deep/moved changed");
}

/// Idle connections, more than the server has descriptors for: who is in stays in.
#[test]
fn a_server_without_descriptors_for_more_is_let_be() {
    for tls in ["", "tls = { cert = \"cert.pem\", key = \"key.pem\" }\n"] {
        let keys = format!("{tls}probe_interval = 50\n[limits]\nhandshake_timeout = \"10m\"");
        let supervisor = Supervisor::prepare(&keys);
        certificate(supervisor.dir.path(), "30", "key.pem");
        let few = supervisor.path("few");
        replace(&few, &format!("ulimit -n 200; exec {} \"$@\"", env!("CARGO_BIN_EXE_chatctl")));
        let supervisor = supervisor.launch_program(&few);
        let child = supervisor.child();
        let idle: Vec<_> =
            (0..300).map(|_| TcpStream::connect(("127.0.0.1", supervisor.port)).unwrap()).collect();
        until("probes to be turned away", || {
            let app = supervisor.app()?;
            // Two hundred of the idle ones, and then those.
            (app["turned_away"]["max_connections"].as_u64()? > 220).then_some(())
        });
        let app = supervisor.app().unwrap();
        assert_eq!(
            (&app["pid"], &app["restarts"], &app["health"]),
            (&child.into(), &0.into(), &"ok".into()),
            "{app}"
        );
        drop(idle);
    }
}

/// As while a page is deployed: files change faster than anybody looks at them, and meanwhile are watched anew.
#[test]
fn however_much_changes_the_supervisor_goes_on() {
    let supervisor = Supervisor::prepare("watch = [\"lib\"]\nwatch_delay = \"20ms\"\nmin_uptime = \"100ms\"");
    let lib = supervisor.path("lib");
    (0..300).for_each(|n| fs::create_dir_all(lib.join(format!("folder{n}"))).unwrap());
    let supervisor = supervisor.launch();
    for n in 0..20_000 {
        fs::write(lib.join(format!("file{}", n % 1000)), "new").unwrap();
    }
    until("what changed to be seen to", || {
        let app = supervisor.app()?;
        (app["state"] == "online" && app["restarts"].as_u64()? > 0).then_some(())
    });
}

#[test]
fn a_folder_that_came_just_before_an_order_is_watched() {
    let supervisor = Supervisor::start("watch = [\"public\"]\nwatch_delay = \"1s\"\nmin_uptime = \"100ms\"");
    fs::create_dir(supervisor.path("public")).unwrap();
    assert!(chatctl(supervisor.dir.path(), &["restart"]).status.success());
    fs::write(supervisor.path("public/page.html"), "x").unwrap();
    let reason = || Some(supervisor.app()?["last_reason"].as_str()?.to_owned());
    let first = until("its restart", || reason().filter(|reason| reason.starts_with("public")));
    // That the folder was made may be seen late, and both are one change then, named after the first.
    if first == "public changed" {
        fs::write(supervisor.path("public/page.html"), "y").unwrap();
    }
    until("a restart for what is in it", || (reason()? == "public/page.html changed").then_some(()));
}

#[test]
fn a_state_directory_that_was_removed_is_made_anew_and_nobody_is_refused() {
    let supervisor = Supervisor::start("min_uptime = \"100ms\"");
    let first = supervisor.child();
    knocking(&[SocketAddr::from(([127, 0, 0, 1], supervisor.port))], || {
        fs::remove_dir_all(supervisor.path("state")).unwrap();
        let app = supervisor.restarted(1);
        assert_eq!(app["last_reason"], "the state directory was removed", "{}", supervisor.log());
    });
    assert_ne!(supervisor.child(), first);
    signal(supervisor.child(), "KILL");
    supervisor.restarted(2);
    let second = chatctl(supervisor.dir.path(), &["supervise"]);
    assert!(
        stderr(&second).contains(&format!("another supervisor (pid {})", supervisor.pid())),
        "{second:?}"
    );
    let log = fs::read_to_string(supervisor.path("state/logs/chatting.log")).unwrap();
    assert!(log.contains("listening on http://"), "{log}");
}

#[test]
fn a_supervisor_whose_state_directory_is_anothers_by_now_says_so_and_leaves_it_alone() {
    let mut both = [(); 2].map(|()| Supervisor::prepare(""));
    let state = both[0].path("state");
    for supervisor in &both {
        let toml = format!("state_dir = {state:?}\n[[app]]\nname = \"a\"\ncommand = [\"sleep\", \"600\"]\n");
        fs::write(supervisor.path("chat.toml"), toml).unwrap();
    }
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_chatctl"));
    let online = |supervisor: &Supervisor| {
        let is = || {
            let status = supervisor.status()?;
            let own = status["supervisor"]["pid"] == supervisor.pid();
            (own && status["apps"][0]["state"] == "online").then_some(())
        };
        until("its app", is);
    };
    both[0].begin(program);
    online(&both[0]);
    // It sees nothing of it before the other is there.
    signal(both[0].pid(), "STOP");
    fs::remove_dir_all(&state).unwrap();
    both[1].begin(program);
    online(&both[1]);
    signal(both[0].pid(), "CONT");
    let word = format!("cannot be made anew: another supervisor (pid {}) has it", both[1].pid());
    until("its word", || both[0].log().contains(&word).then_some(()));
    signal(both[0].pid(), "TERM");
    assert!(both[0].ended().success());
    assert_eq!(both[0].log().matches(&word).count(), 1, "{}", both[0].log());
    online(&both[1]);
    assert!(!both[1].log().contains("was removed"), "{}", both[1].log());
}

#[test]
fn a_full_disk_costs_lines_and_never_the_chat_and_moved_logs_are_made_anew() {
    let supervisor = Supervisor::prepare("");
    let log = supervisor.path("state/logs/chatting.log");
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    let supervisor = supervisor.launch();
    assert!(supervisor.handshake().unwrap().contains("\"sid\""));
    assert!(chatctl(supervisor.dir.path(), &["restart"]).status.success());
    // There is room again.
    fs::remove_file(&log).unwrap();
    assert!(chatctl(supervisor.dir.path(), &["restart"]).status.success());
    let text = until("lines again", || {
        fs::read_to_string(&log).ok().filter(|text| text.contains("listening on http://"))
    });
    assert!(text.contains("chatctl: the disk was full: "), "{text}");
    // As logrotate does it.
    fs::rename(&log, supervisor.path("moved.log")).unwrap();
    signal(supervisor.pid(), "USR1");
    assert!(chatctl(supervisor.dir.path(), &["restart"]).status.success());
    until("a new file", || {
        fs::read_to_string(&log).ok().filter(|text| text.contains("listening on http://"))
    });
}

#[test]
fn a_second_supervisor_is_refused_and_says_why() {
    let supervisor = Supervisor::start("");
    let second = chatctl(supervisor.dir.path(), &["supervise"]);
    assert_eq!(second.status.code(), Some(2));
    assert!(
        stderr(&second).contains(&format!("another supervisor (pid {})", supervisor.pid())),
        "{second:?}"
    );
    assert!(supervisor.handshake().unwrap().contains("\"sid\""));
}

#[test]
fn everything_in_the_way_is_said_at_once_before_anything_starts() {
    let taken = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
    let ports = taken.each_ref().map(|listener| listener.local_addr().unwrap().port());
    let second = format!("[[app]]\nname = \"web\"\nprofile = \"web\"\nlisten = \"127.0.0.1:{}\"", ports[1]);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("chat.toml"), config(ports[0], &second)).unwrap();
    let output = chatctl(dir.path(), &["supervise"]);
    assert_eq!(output.status.code(), Some(2));
    for port in ports {
        assert!(stderr(&output).contains(&format!("127.0.0.1:{port} is in use")), "{}", stderr(&output));
    }
    fs::write(dir.path().join("chat.toml"), config(free_port(), "wach = true\nmax_restarts = \"many\""))
        .unwrap();
    let output = chatctl(dir.path(), &["supervise"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("chat.toml:5: app.chatting.wach"), "{}", stderr(&output));
    assert!(stderr(&output).contains("chat.toml:6: app.chatting.max_restarts"), "{}", stderr(&output));
}

#[test]
fn signals_restart_and_stop_gracefully() {
    let mut supervisor = Supervisor::start("");
    let before = supervisor.child();
    signal(supervisor.pid(), "HUP");
    assert_eq!(supervisor.restarted(1)["last_reason"], "SIGHUP");
    assert_ne!(supervisor.child(), before);
    signal(supervisor.pid(), "TERM");
    assert!(supervisor.ended().success());
    assert!(handshake(SocketAddr::from(([127, 0, 0, 1], supervisor.port))).is_err());
    let log = fs::read_to_string(supervisor.path("state/logs/chatting.log")).unwrap();
    assert_eq!(log.matches("took over from the server before").count(), 1, "{log}");
    assert_eq!(log.matches("SIGTERM: stopping").count(), 1, "{log}");
}

#[test]
fn status_tells_by_its_exit_code() {
    let mut supervisor = Supervisor::prepare("");
    let folder = supervisor.dir.path().to_owned();
    let none = chatctl(&folder, &["status"]);
    assert_eq!(none.status.code(), Some(3));
    assert!(stderr(&none).contains("no supervisor runs"), "{}", stderr(&none));
    supervisor = supervisor.launch();
    // What an app has said takes its own way to the log.
    let page = until("its last words to be shown", || {
        let healthy = chatctl(&folder, &["status", "--logs=3"]);
        assert_eq!(healthy.status.code(), Some(0));
        let page = String::from_utf8_lossy(&healthy.stdout).into_owned();
        page.contains("listening on http://").then_some(page)
    });
    assert!(page.contains("chatting") && page.contains("online"), "{page}");
    // The supervisor's own probes are no clients.
    until("a probe", || supervisor.app()?["health_latency_ms"].is_number().then_some(()));
    assert_eq!(supervisor.app().unwrap()["connections"], 0);
    assert_eq!(chatctl(&folder, &["status", "nobody"]).status.code(), Some(2));
    signal(supervisor.child(), "STOP");
    until("the stopped child to be noticed", || {
        (chatctl(&folder, &["status"]).status.code() == Some(1)).then_some(())
    });
    signal(supervisor.child(), "CONT");
    until("its recovery", || (chatctl(&folder, &["status"]).status.code() == Some(0)).then_some(()));
}

#[test]
fn a_broken_chat_toml_changes_nothing_and_a_good_one_is_taken_over() {
    let supervisor = Supervisor::start("watch = true");
    let child = supervisor.child();
    fs::write(supervisor.path("chat.toml"), config(supervisor.port, "watch = true\nwach = 1")).unwrap();
    let status = until("the problem to be seen", || {
        supervisor.status().filter(|status| status["supervisor"]["config_problems"][0].is_string())
    });
    assert!(status["supervisor"]["config_problems"][0].as_str().unwrap().contains("app.chatting.wach"));
    assert_eq!(chatctl(supervisor.dir.path(), &["status"]).status.code(), Some(1));
    assert_eq!(supervisor.child(), child);
    let moved = free_port();
    let more = format!(
        "watch = true\nmax_memory_restart = \"200M\"\n[[app]]\nname = \"b\"\nlisten = \"127.0.0.1:{}\"",
        free_port()
    );
    fs::write(supervisor.path("chat.toml"), config(moved, &more)).unwrap();
    until("both apps to be up", || {
        let status = supervisor.status()?;
        let app = &status["apps"][0];
        let changed = app["memory_limit_bytes"] == 209_715_200 && app["state"] == "online";
        (changed && status["apps"][1]["state"] == "online" && app["pid"] != child).then_some(())
    });
    assert_eq!(supervisor.restarted(1)["last_reason"], "chat.toml changed");
    assert!(handshake(SocketAddr::from(([127, 0, 0, 1], moved))).unwrap().contains("\"sid\""));
    assert!(supervisor.handshake().is_err(), "the old address is closed");
}

#[test]
fn a_killed_supervisor_takes_nothing_with_it_and_the_next_takes_over() {
    let mut supervisor = Supervisor::start("");
    let child = supervisor.child();
    let is_older = |app: &serde_json::Value| app["uptime_s"].as_u64() >= Some(2);
    until("it to be two seconds old", || supervisor.app().filter(is_older));
    for round in 1..=5 {
        signal(supervisor.pid(), "KILL");
        supervisor.ended();
        assert!(supervisor.handshake().unwrap().contains("\"sid\""), "the chat goes on");
        let nobody = chatctl(supervisor.dir.path(), &["status"]);
        assert_eq!(nobody.status.code(), Some(3));
        assert!(stderr(&nobody).contains("hint: chatting: goes on without it"), "{}", stderr(&nobody));
        supervisor = supervisor.launch();
        assert_eq!(supervisor.child(), child, "round {round}: {}", supervisor.log());
        assert!(is_older(&supervisor.app().unwrap()), "whoever looks after it");
    }
    // It is a child like any other: stopped cleanly, its log complete, its successor started when it dies.
    signal(child, "KILL");
    let app = supervisor.restarted(1);
    assert!(app["last_reason"].as_str().unwrap().contains("an earlier supervisor started it"), "{app}");
    let stopped = chatctl(supervisor.dir.path(), &["shutdown"]);
    assert!(stopped.status.success(), "{}", stderr(&stopped));
    assert!(supervisor.ended().success());
    let nobody = chatctl(supervisor.dir.path(), &["status"]);
    assert!(stderr(&nobody).contains("hint: start it with"), "{}", stderr(&nobody));
    assert!(supervisor.handshake().is_err());
    let log = fs::read_to_string(supervisor.path("state/logs/chatting.log")).unwrap();
    assert_eq!(log.matches("listening on http://").count(), 2, "{log}");
    assert!(log.contains("SIGTERM: stopping"), "{log}");
    let left: Vec<_> =
        fs::read_dir(supervisor.path("state/run")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".notify")), "{left:?}");
}

#[test]
fn what_was_left_behind_is_reloaded_when_chat_toml_is_another_by_then() {
    let mut supervisor = Supervisor::start("");
    let child = supervisor.child();
    signal(supervisor.pid(), "KILL");
    supervisor.ended();
    fs::write(supervisor.path("chat.toml"), config(supervisor.port, "max_memory_restart = \"200M\""))
        .unwrap();
    let supervisor = supervisor.launch();
    let app = supervisor.restarted(1);
    assert_ne!(app["pid"], child);
    assert_eq!(app["memory_limit_bytes"], 209_715_200);
}

#[test]
fn a_refused_reload_does_not_hide_what_works_from_the_next_supervisor() {
    let mut supervisor = Supervisor::start("");
    let (child, toml) = (supervisor.child(), config(supervisor.port, ""));
    // It is to have another keeper, and does not come up.
    let broken = config(supervisor.port, "log_max_size = \"20M\"\n[page]\ndir = \"/nowhere\"");
    fs::write(supervisor.path("chat.toml"), broken).unwrap();
    let output = chatctl(supervisor.dir.path(), &["reload"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("exited with code 2 ([page] dir /nowhere is not a folder)"),
        "{}",
        stderr(&output)
    );
    fs::write(supervisor.path("chat.toml"), toml).unwrap();
    signal(supervisor.pid(), "KILL");
    supervisor.ended();
    let supervisor = supervisor.launch();
    assert_eq!(supervisor.child(), child, "{}", supervisor.log());
    assert!(chatctl(supervisor.dir.path(), &["shutdown"]).status.success());
    let left: Vec<_> =
        fs::read_dir(supervisor.path("state/run")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_killed_keeper_is_replaced_and_no_line_is_lost() {
    let supervisor = Supervisor::start("");
    let keeper = || {
        let children = format!("/proc/{0}/task/{0}/children", supervisor.pid());
        let children = fs::read_to_string(children).unwrap();
        let is_keeper = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "chatctl-keep")
        };
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_keeper)
    };
    let first: u32 = until("the keeper", keeper);
    signal(first, "KILL");
    until("another keeper", || keeper().filter(|pid| *pid != first));
    chatctl(supervisor.dir.path(), &["restart"]);
    until("the lines of the second start", || {
        let log = fs::read_to_string(supervisor.path("state/logs/chatting.log")).unwrap();
        (log.matches("listening on http://").count() == 2).then_some(())
    });
}

#[test]
fn who_follows_ends_when_nobody_reads_any_more() {
    let supervisor = Supervisor::start("");
    for what in [["logs", "-f"], ["events", "-f"], ["status", "--watch"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
        let mut process =
            command.args(what).current_dir(supervisor.dir.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(!first.is_empty());
        let status = until("its end", || process.try_wait().unwrap());
        assert!(status.success(), "{what:?}: {status}");
    }
}

#[test]
fn detaching_says_what_failed_and_counts_a_job_that_is_done_as_up() {
    let supervisor = Supervisor::prepare("");
    let folder = supervisor.dir.path();
    let with = |script: &str| {
        let toml = config(supervisor.port, "");
        let job = "[[app]]\nname = \"job\"\nautorestart = false\ncommand";
        fs::write(supervisor.path("chat.toml"), format!("{toml}{job} = [\"sh\", \"-c\", \"{script}\"]\n"))
            .unwrap();
        chatctl(folder, &["supervise", "--detach"])
    };
    let failed = with("sleep 0.1; echo cannot work >&2; exit 3");
    assert_eq!(failed.status.code(), Some(1));
    let said = stderr(&failed);
    assert!(
        said.starts_with(
            "chatctl: job did not come up, and everything was stopped again: exited with code 3"
        ),
        "{said}"
    );
    assert!(said.contains(" err | cannot work\n  hint: "), "{said}");
    assert!(!said.contains("INFO"), "{said}");
    assert!(supervisor.status().is_none());
    let done = with("exit 0");
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    assert!(chatctl(folder, &["shutdown"]).status.success());
}

#[test]
fn detaching_returns_when_ready_or_says_why_not() {
    let supervisor = Supervisor::prepare("");
    let folder = supervisor.dir.path();
    // Its log is full from former times.
    let log = supervisor.path("state/logs/supervisor.log");
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    fs::write(&log, "x".repeat(10 << 20)).unwrap();
    let output = chatctl(folder, &["supervise", "--detach"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(supervisor.app().unwrap()["state"], "online");
    assert!(log.with_extension("log.1").exists());
    assert!(fs::read_to_string(&log).unwrap().contains("online"));
    let pid = &supervisor.status().unwrap()["supervisor"]["pid"];
    assert_eq!(fs::read_link(format!("/proc/{pid}/fd/2")).unwrap(), log.canonicalize().unwrap());
    let again = chatctl(folder, &["supervise", "--detach"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("another supervisor"), "{}", stderr(&again));
    let pid = supervisor.status().unwrap()["supervisor"]["pid"].as_u64().unwrap();
    signal(u32::try_from(pid).unwrap(), "TERM");
    until("its end", || supervisor.status().is_none().then_some(()));

    // Its child does not become ready.
    let silent = "command = [\"sleep\", \"600\"]\nwait_ready = true\nlisten_timeout = \"100ms\"";
    let toml = format!("state_dir = \"state\"\n[[app]]\nname = \"chatting\"\n{silent}\n");
    fs::write(supervisor.path("chat.toml"), toml).unwrap();
    let failing = until("the lock to be free", || {
        let output = chatctl(folder, &["supervise", "--detach"]);
        (!stderr(&output).contains("another supervisor")).then_some(output)
    });
    assert_eq!(failing.status.code(), Some(1), "{}", stderr(&failing));
    assert!(stderr(&failing).contains("not ready within 100ms"), "{}", stderr(&failing));
    assert!(supervisor.status().is_none());
}
