//! `chatctl bench`: every scenario against the real server, briefly, and what it says of servers that are not as expected.

use crate::program::{DEADLINE, Supervisor, chatctl, free_port, signal, stderr, until};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

/// The report, and the exit code.
fn bench(arguments: &[&str]) -> (Value, Option<i32>) {
    let output = chatctl(Path::new("/"), &[&["bench"], arguments, &["--json"]].concat());
    let report = serde_json::from_slice(&output.stdout);
    (report.unwrap_or_else(|_| panic!("{arguments:?}: {}", stderr(&output))), output.status.code())
}

/// The report of one in which this happened at least once: on a busy machine a short time may pass without.
fn measured(what: &str, arguments: &[&str]) -> Value {
    until(what, || {
        let (report, code) = bench(arguments);
        assert_eq!(code, Some(0), "{report}");
        (number(&report, what) > 0).then_some(report)
    })
}

fn text(arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = chatctl(Path::new("/"), &[&["bench"], arguments].concat());
    (String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output), output.status.code())
}

fn number(report: &Value, path: &str) -> u64 {
    report.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {report}"))
}

/// A server that speaks this profile, with its URL and the pid of its process.
fn server(profile: &str) -> (Supervisor, String, String) {
    // Few who speak as fast as they can: more than a client may.
    let limits = "[limits]\nmessages_per_second = 0\nroom_messages_per_second = 0";
    let supervisor = Supervisor::start(&format!("profile = \"{profile}\"\n{limits}"));
    let (url, pid) = (format!("http://127.0.0.1:{}", supervisor.port), supervisor.child().to_string());
    (supervisor, url, pid)
}

#[test]
fn fanout_counts_every_delivery_that_is_owed() {
    for profile in ["local", "web", "react"] {
        let (_server, url, pid) = server(profile);
        let short = ["--duration", "300ms", "--warmup", "50ms", "--profile", profile, "--pid", &pid];
        let crowd = ["fanout", &url, "--clients", "12", "--rooms", "3"];
        for more in [
            &["--size", "300"][..],
            &["--rate", "100"],
            &["--senders", "12", "--connect-rate", "500"],
            &["--transport", "polling"],
        ] {
            let report = measured("/messages/sent", &[&crowd[..], &short, more].concat());
            assert_eq!(report["troubles"], serde_json::json!({}));
            assert_eq!((number(&report, "/connections/made"), number(&report, "/messages/missing")), (12, 0));
            // Four in each room.
            assert_eq!(number(&report, "/messages/owed") % 4, 0, "{report}");
            assert_eq!(
                number(&report, "/latency_us/count"),
                4 * number(&report, "/messages/sent"),
                "{report}"
            );
            assert!(
                number(&report, "/messages/sent") > 0 && number(&report, "/server/pss_bytes") > 0,
                "{report}"
            );
        }
    }
}

#[test]
fn those_who_are_cut_off_come_back_and_miss_nothing() {
    let (_server, url, pid) = server("web");
    for transport in ["websocket", "polling"] {
        cut_off(&url, &["--profile", "web", "--pid", &pid, "--transport", transport]);
    }
}

fn cut_off(url: &str, how: &[&str]) {
    let (report, code) = bench(&[&["storm", url, "--clients", "40", "--spread", "200ms"][..], how].concat());
    assert_eq!(
        (code, number(&report, "/returns/recovered"), number(&report, "/back_us/count")),
        (Some(0), 40, 40)
    );
    let moving =
        ["--clients", "10", "--rate", "100", "--every", "300ms", "--away", "100ms", "--duration", "1s"];
    let (report, code) = bench(&[&["jitter", url][..], &moving, how].concat());
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(
        (number(&report, "/messages/missing"), number(&report, "/messages/twice")),
        (0, 0),
        "{report}"
    );
    assert!(number(&report, "/returns/back") >= 9, "{report}");
    assert_eq!(report["returns"]["recovered"], report["returns"]["back"]);
    assert!(number(&report, "/caught_up_us/count") > 0, "{report}");
}

#[test]
fn who_comes_and_who_stays_is_measured_too() {
    let (server, url, pid) = server("local");
    for transport in ["websocket", "polling"] {
        let how = [
            "--transport",
            transport,
            "--clients",
            "5",
            "--duration",
            "300ms",
            "--warmup",
            "50ms",
            "--pid",
            &pid,
        ];
        for rate in [&[][..], &["--rate", "50"]] {
            let (report, code) = bench(&[&["churn", &url][..], &how, rate].concat());
            assert_eq!(code, Some(0), "{report}");
            assert!(
                number(&report, "/handshakes/made") > 0 && number(&report, "/entry_us/count") > 0,
                "{report}"
            );
        }
    }
    // Nobody is left behind.
    until("all to be gone", || (server.app()?["connections"] == 0).then_some(()));
    let (said, _, code) =
        text(&["idle", &url, "--clients", "30", "--duration", "200ms", "--after", "100ms", "--pid", &pid]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("30 of 30") && said.contains("a connection") && said.contains("MB after"),
        "{said}"
    );
}

#[test]
fn what_is_wrong_is_said_in_words() {
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let (_, why, code) = text(&[&nobody]);
    assert!(why.contains("no server answers") && why.contains("refused"), "{why}");
    assert_eq!(code, Some(1));
    for (arguments, expect) in [
        (&["https://127.0.0.1:1"][..], "TLS"),
        (&["127.0.0.1:3000"], "http://"),
        (&[&nobody, "--auth", "token"], "JSON"),
        (&[&nobody, "--size", "1"], "39"),
        (&["fanout"], "<URL>"),
        (&[], "<URL>"),
    ] {
        let (_, why, code) = text(arguments);
        assert!(why.contains(expect), "{arguments:?}: {why}");
        assert_ne!(code, Some(0), "{arguments:?}");
    }
    // Somebody is there, who does not speak WebSocket.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\nno such thing");
        }
    });
    let (_, why, code) = text(&[&url]);
    assert!(why.contains("404 Not Found no such thing"), "{why}");
    assert_eq!(code, Some(1));
    let (_server, url, _) = server("web");
    let (_, why, _) = text(&[&url, "--pid", "4194305"]);
    assert!(why.contains("no process 4194305"), "{why}");
}

#[test]
fn who_is_interrupted_shows_what_was_measured() {
    let (server, url, _) = server("web");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
    command.args(["bench", &url, "--duration", "1h", "--warmup", "0s", "--json", "--profile", "web"]);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // It is in the middle of it when its clients are there.
    until("its clients", || (server.app()?["connections"].as_u64() == Some(100)).then_some(()));
    signal(process.id(), "INT");
    let mut said = String::new();
    process.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&report["interrupted"], process.wait().unwrap().code()), (&Value::Bool(true), Some(1)));
    assert!(DEADLINE.as_secs_f64() > report["seconds"].as_f64().unwrap());
}

#[test]
fn two_measurements_are_compared_also_of_many_rounds() {
    let (_server, url, pid) = server("web");
    let folder = tempfile::tempdir().unwrap();
    let files = ["before.json", "after.json"].map(|name| folder.path().join(name));
    for (file, rounds, clients) in [(&files[0], 2, "4"), (&files[1], 1, "6")] {
        let short = [
            "--duration",
            "200ms",
            "--warmup",
            "0s",
            "--profile",
            "web",
            "--pid",
            &pid,
            "--clients",
            clients,
        ];
        for _ in 0..rounds {
            let report = measured("/messages/sent", &[&["fanout", &url][..], &short].concat());
            let mut file = fs::File::options().create(true).append(true).open(file).unwrap();
            writeln!(file, "{report}").unwrap();
        }
    }
    let [before, after] = files.each_ref().map(|file| file.to_str().unwrap());
    let (said, _, code) = text(&["compare", before, after]);
    assert_eq!(code, Some(0), "{said}");
    for expect in ["medians of 2 and 1", "latency, 99 %", "only before: clients 4", "only after: clients 6"] {
        assert!(said.contains(expect), "{said}");
    }
    let (comparison, _) = bench(&["compare", before, before]);
    let same = |row: &Value| row["before"] == row["after"] && (row["ratio"] == 1.0 || row["before"] == 0.0);
    assert!(comparison["figures"].as_array().unwrap().iter().all(same), "{comparison}");
    assert_eq!(comparison["differences"], serde_json::json!([]));
    let (_, why, code) = text(&["compare", before, "/nowhere"]);
    assert!(why.contains("/nowhere") && code == Some(2), "{why}");
    let (_, why, code) = text(&["compare", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), after]);
    assert!(why.contains("Cargo.toml: is nothing") && code == Some(2), "{why}");
}
