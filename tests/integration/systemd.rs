//! The supervisor under systemd: what it says on `NOTIFY_SOCKET`, the sockets it is handed, and the unit.

use crate::program::{DEADLINE, Supervisor, chatctl, config, handshake, signal, stderr, until};
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::{
        fd::AsRawFd,
        unix::{fs::MetadataExt, net::UnixDatagram},
    },
    path::Path,
    process::{Command, Stdio},
};

/// What systemd hears: one entry a line, in order.
struct Heard(UnixDatagram);

impl Heard {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(socket)
    }

    /// The next message in which a line fits; what comes before it is gone.
    fn next(&self, fits: impl Fn(&str) -> bool) -> Vec<String> {
        loop {
            let mut bytes = [0; 4096];
            let len = self.0.recv(&mut bytes).expect("it is said in time");
            let lines: Vec<String> =
                String::from_utf8_lossy(&bytes[..len]).lines().map(str::to_owned).collect();
            if lines.iter().any(|line| fits(line)) {
                return lines;
            }
        }
    }
}

/// Starts a supervisor that talks to `Heard`, with this environment.
fn start(supervisor: &mut Supervisor, environment: &[(&str, &str)]) -> Heard {
    let path = supervisor.path("systemd.notify");
    let _ = fs::remove_file(&path);
    let heard = Heard::at(&path);
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
    command.arg("supervise").current_dir(supervisor.dir.path()).env("NOTIFY_SOCKET", &path);
    command.env_remove("GLIBC_TUNABLES").envs(environment.iter().copied()).stdin(Stdio::null());
    let errors =
        fs::File::options().create(true).append(true).open(supervisor.path("supervisor.log")).unwrap();
    supervisor.process = Some(command.stderr(errors).spawn().unwrap());
    heard
}

fn monotonic() -> u128 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    (seconds * 1e6) as u128
}

#[test]
fn it_says_when_it_is_ready_reloads_and_stops() {
    let mut supervisor = Supervisor::prepare("min_uptime = \"300ms\"");
    let heard = start(&mut supervisor, &[]);
    heard.next(|line| line == "READY=1");
    let before = monotonic();
    signal(supervisor.pid(), "HUP");
    let reloading = heard.next(|line| line == "RELOADING=1");
    let time = reloading
        .iter()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="))
        .expect("the time is said with it");
    // /proc/uptime has hundredths.
    assert!(time.parse::<u128>().unwrap() + 20_000 >= before, "{time} is before {before}");
    heard.next(|line| line == "READY=1");
    // One that changes nothing is answered as well: systemd waits for it.
    fs::write(supervisor.path("chat.toml"), "broken").unwrap();
    signal(supervisor.pid(), "HUP");
    heard.next(|line| line == "RELOADING=1");
    heard.next(|line| line == "READY=1");
    signal(supervisor.pid(), "TERM");
    heard.next(|line| line == "STOPPING=1");
    assert!(supervisor.ended().success());
}

#[test]
fn it_says_what_is_not_well() {
    let mut supervisor = Supervisor::prepare("");
    let toml =
        config(supervisor.port, "") + "[[app]]\nname = \"ill\"\ncommand = \"false\"\nmax_restarts = 1\n";
    fs::write(supervisor.path("chat.toml"), toml).unwrap();
    let heard = start(&mut supervisor, &[]);
    heard.next(|line| line == "STATUS=1 app online, ill crash-looping");
}

#[test]
fn the_watchdog_hears_it_only_while_it_lives() {
    let mut supervisor = Supervisor::prepare("");
    let heard = start(&mut supervisor, &[("WATCHDOG_USEC", "400000")]);
    for _ in 0..3 {
        heard.next(|line| line == "WATCHDOG=1");
    }
    // Its child has another supervisor: it is not asked for signs of life.
    until("the app", || (supervisor.app()?["state"] == "online").then_some(()));
    assert_eq!(supervisor.variable(0, "WATCHDOG_USEC"), None);
    signal(supervisor.pid(), "STOP");
    heard.0.set_nonblocking(true).unwrap();
    let stopped = || fs::read_to_string(format!("/proc/{}/stat", supervisor.pid())).unwrap().contains(") T ");
    until("it to stand still", || stopped().then_some(()));
    while heard.0.recv(&mut [0; 4096]).is_ok() {}
    heard.0.set_nonblocking(false).unwrap();
    heard.0.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    assert!(heard.0.recv(&mut [0; 4096]).is_err(), "one that hangs is not heard");
    signal(supervisor.pid(), "CONT");
    heard.0.set_read_timeout(Some(DEADLINE)).unwrap();
    heard.next(|line| line == "WATCHDOG=1");
}

#[test]
fn a_server_is_told_how_to_keep_its_heap_unless_somebody_else_has_said_it() {
    let app = |name: &str, keys: &str| format!("[[app]]\nname = \"{name}\"\n{keys}\n");
    let toml = [
        app("plain", "listen = \"127.0.0.1:0\""),
        app("own", "listen = \"127.0.0.1:0\"\nenv = { GLIBC_TUNABLES = \"glibc.malloc.arena_max=2\" }"),
        app("other", "command = [\"sleep\", \"600\"]"),
    ];
    let told = |environment: &[(&str, &str)]| {
        let mut supervisor = Supervisor::prepare("");
        fs::write(supervisor.path("chat.toml"), format!("state_dir = \"state\"\n{}", toml.concat())).unwrap();
        let heard = start(&mut supervisor, environment);
        heard.next(|line| line == "READY=1");
        [0, 1, 2].map(|app| supervisor.variable(app, "GLIBC_TUNABLES").unwrap_or_default())
    };
    assert_eq!(told(&[]), ["glibc.malloc.tcache_count=0", "glibc.malloc.arena_max=2", ""]);
    let theirs = "glibc.malloc.check=0";
    assert_eq!(told(&[("GLIBC_TUNABLES", theirs)]), [theirs, "glibc.malloc.arena_max=2", theirs]);
}

/// Starts it as systemd does, with these sockets from descriptor 3 on.
fn hand_over(supervisor: &mut Supervisor, sockets: &[&TcpListener], names: &str) {
    // The shell gives them the numbers; LISTEN_PID is that of the shell, which becomes the program.
    let mut script = String::new();
    for (socket, number) in sockets.iter().zip(3..) {
        // Out of the way first: a number may be another's source.
        script.push_str(&format!("exec {}<&{}\n", number + 50, socket.as_raw_fd()));
    }
    for number in 3..3 + sockets.len() {
        script.push_str(&format!("exec {number}<&{} {}<&-\n", number + 50, number + 50));
    }
    script.push_str("export LISTEN_PID=$$; exec \"$@\"");
    for socket in sockets {
        rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::empty()).unwrap();
    }
    let errors =
        fs::File::options().create(true).append(true).open(supervisor.path("supervisor.log")).unwrap();
    let mut command = Command::new("bash");
    command
        .args(["-c", &script, "bash", env!("CARGO_BIN_EXE_chatctl"), "supervise"])
        .current_dir(supervisor.dir.path());
    command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names).stdin(Stdio::null());
    supervisor.process = Some(command.stderr(errors).spawn().unwrap());
}

#[test]
fn sockets_that_systemd_holds_are_taken_by_name_and_by_address() {
    let mut supervisor = Supervisor::prepare("");
    // As `ListenStream=PORT` makes it: for IPv6 and IPv4; and one that only the address tells.
    let (named, other) = (TcpListener::bind("[::]:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (port, beside) = (named.local_addr().unwrap().port(), other.local_addr().unwrap());
    let app = |name: &str, listen: &str| format!("[[app]]\nname = \"{name}\"\nlisten = \"{listen}\"\n");
    let toml = app("chatting", &format!("0.0.0.0:{port}")) + &app("second", &beside.to_string());
    fs::write(supervisor.path("chat.toml"), format!("state_dir = \"state\"\n{toml}")).unwrap();
    // Who connects before there is anything waits, and is served.
    let early = std::thread::spawn(move || handshake(SocketAddr::from(([127, 0, 0, 1], port))));
    hand_over(&mut supervisor, &[&named, &other], "chatting:chat.socket");
    assert!(early.join().unwrap().unwrap().contains("\"sid\""));
    assert!(handshake(beside).unwrap().contains("\"sid\""));
    // A reload keeps them, and so does the next supervisor.
    let reload = chatctl(supervisor.dir.path(), &["reload"]);
    assert!(reload.status.success(), "{}", stderr(&reload));
    signal(supervisor.pid(), "KILL");
    assert!(!supervisor.ended().success());
    let child = handshake(beside).unwrap();
    assert!(child.contains("\"sid\""), "the chat goes on");
    hand_over(&mut supervisor, &[&named, &other], "chatting:chat.socket");
    until("both apps", || {
        let status = supervisor.status()?;
        status["apps"].as_array()?.iter().all(|app| app["state"] == "online").then_some(())
    });
    let reload = chatctl(supervisor.dir.path(), &["reload"]);
    assert!(reload.status.success(), "{}\n{}", stderr(&reload), supervisor.log());
    assert!(handshake(SocketAddr::from(([127, 0, 0, 1], port))).unwrap().contains("\"sid\""));
}

#[test]
fn a_socket_that_does_not_fit_is_said() {
    let mut supervisor = Supervisor::prepare("");
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    hand_over(&mut supervisor, &[&socket], "chatting");
    assert_eq!(supervisor.ended().code(), Some(2));
    assert!(supervisor.log().contains("make them the same"), "{}", supervisor.log());
    hand_over(&mut supervisor, &[&socket], "somebody");
    until("a warning", || supervisor.log().contains("which no app of chat.toml takes").then_some(()));
}

/// What systemd itself says of the units.
#[test]
fn the_units_are_what_systemd_takes() {
    if Command::new("systemd-analyze").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED: systemd-analyze is not installed; tests/run.sh installs it");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.args(arguments).current_dir(folder.path()).env("XDG_RUNTIME_DIR", folder.path());
        let output = command.env("SYSTEMD_PAGER", "").output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output))
    };
    let programs = config(443, "") + "[[app]]\nname = \"mail\"\ncommand = \"true\"\nuser = \"www-data\"\n";
    for (toml, arguments, file, most) in [
        (config(3000, ""), &[][..], "chatctl.service", Some(2.0)),
        (config(443, ""), &["--run-as", "www-data"], "as-somebody.service", Some(2.5)),
        (programs, &[], "programs.service", Some(5.5)),
        (config(3000, ""), &["--user"], "own.service", None),
        (config(3000, ""), &["--socket"], "chatctl.socket", None),
    ] {
        fs::write(folder.path().join("chat.toml"), toml.replace("state_dir = \"state\"\n", "")).unwrap();
        let unit = chatctl(folder.path(), &[&["systemd"], arguments].concat());
        assert!(unit.status.success(), "{}", stderr(&unit));
        fs::write(folder.path().join(file), unit.stdout).unwrap();
        let whose = if arguments == ["--user"] { "--user" } else { "--system" };
        let (fine, said) = analyze(&["verify", whose, &format!("./{file}")]);
        assert!(fine && said.is_empty(), "{file}: {said}");
        if let Some(most) = most {
            let (fine, said) = analyze(&["security", "--offline=yes", "--no-pager", &format!("./{file}")]);
            let level = said
                .rsplit_once("Overall exposure level for ")
                .and_then(|(_, rest)| rest.split_whitespace().nth(1));
            let level: f64 = level.unwrap().parse().unwrap();
            assert!(fine && level <= most, "{file}: exposure {level}\n{said}");
        }
    }
}

#[test]
fn in_the_journal_each_line_has_its_priority() {
    let mut supervisor = Supervisor::prepare("");
    let journal = supervisor.path("supervisor.log");
    fs::write(&journal, "").unwrap();
    let is = fs::metadata(&journal).unwrap();
    let heard = start(&mut supervisor, &[("JOURNAL_STREAM", &format!("{}:{}", is.dev(), is.ino()))]);
    heard.next(|line| line == "READY=1");
    signal(supervisor.child(), "KILL");
    supervisor.restarted(1);
    let log = supervisor.log();
    assert!(log.lines().all(|line| line.starts_with("<6>") || line.starts_with("<4>")), "{log}");
    assert!(log.lines().any(|line| line.starts_with("<4>") && line.contains("SIGKILL")), "{log}");
    // Its child's is another stream, and no journal.
    let its = fs::read_to_string(supervisor.path("state/logs/chatting.log")).unwrap();
    assert!(its.contains(" err |  INFO ") && !its.contains("<6>"), "{its}");
}
