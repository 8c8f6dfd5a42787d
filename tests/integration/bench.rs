//! `chatctl bench`: every scenario against the real server, briefly, and what it says of servers that are not as expected.

use crate::program::{DEADLINE, Supervisor, certificate, chatctl, free_port, signal, stderr, until};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::channel,
    },
    time::{Duration, Instant},
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
fn servers_that_speak_tls_are_measured_as_others_are() {
    let supervisor = Supervisor::prepare(
        "tls = { cert = \"cert.pem\", key = \"key.pem\" }\n[limits]\nmessages_per_second = 0\nroom_messages_per_second = 0",
    );
    certificate(supervisor.dir.path(), "30", "key.pem");
    let server = supervisor.launch();
    let url = format!("https://localhost:{}", server.port);
    for transport in ["websocket", "polling"] {
        for more in [&["--rate", "20"][..], &["--size", "100000", "--senders", "2"]] {
            let short = ["fanout", &url, "--clients", "6", "--duration", "500ms", "--transport", transport];
            let report = measured("/messages/delivered", &[&short[..], more].concat());
            assert_eq!(number(&report, "/messages/missing"), 0, "{report}");
        }
        measured("/handshakes/made", &["churn", &url, "--duration", "300ms", "--transport", transport]);
    }
    let (report, code) = bench(&["storm", &url, "--clients", "10"]);
    assert_eq!(code, Some(0), "{report}");
    // It is not TLS that is spoken there.
    let (other, asked) = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let (_, why, code) = text(&[&other.replace("http://", "https://")]);
    assert!(why.contains("no TLS with 127.0.0.1") && code == Some(1), "{why}");
    assert_eq!(asked.load(Relaxed), 1);
}

#[test]
fn what_is_wrong_is_said_in_words() {
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let (_, why, code) = text(&[&nobody]);
    assert!(why.contains("no server answers") && why.contains("refused"), "{why}");
    assert_eq!(code, Some(1));
    for (arguments, expect) in [
        (&["https://127.0.0.1:1"][..], "no server answers"),
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

/// The answer to an upgrade, an Engine.IO session, and a Socket.IO one.
const WELCOME: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x0c0{\"sid\":\"a\"}\x81\x0d40{\"sid\":\"b\"}";

/// A server of this kind: it gets each connection with its number, from 0, and keeps it as long as it likes.
fn strange(serve: impl Fn(usize, TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        listener.incoming().enumerate().for_each(|(n, stream)| serve(n, stream.unwrap()))
    });
    url
}

/// One of which each connection is served by itself, when its first request is there.
fn asked(serve: fn(usize, TcpStream)) -> String {
    strange(move |n, mut stream| {
        std::thread::spawn(move || {
            let _ = stream.read(&mut [0; 4096]);
            serve(n, stream);
        });
    })
}

/// Keeps it until it is closed.
fn keep(mut stream: TcpStream) {
    while stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
}

/// One that answers the first request of a connection with this.
fn answering(answer: &'static [u8]) -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let url = strange(move |_, mut stream| {
        // The first connection only looks whether somebody is there.
        if stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
            count.fetch_add(1, Relaxed);
            let _ = stream.write_all(answer);
        }
    });
    (url, asked)
}

#[test]
fn servers_that_are_none_are_said_to_be_and_asked_once() {
    for (answer, expect) in [
        (&b""[..], "the server closed the connection"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "speaks TLS: write https://"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak HTTP: SSH-2.0-OpenSSH_9.6\n"),
        (
            b"HTTP/1.1 301 Moved Permanently\r\nServer: nginx\r\nLocation: https://example.com/\r\n\r\n<html>\r\n<b>\x1b[2Jmoved</b>",
            "HTTP/1.1 301 Moved Permanently, it is at https://example.com/ <html> <b> [2Jmoved</b>\n",
        ),
    ] {
        let (url, asked) = answering(answer);
        let (_, why, code) = text(&[&url]);
        assert!(why.contains(expect) && code == Some(1), "{expect}: {why}");
        assert_eq!(asked.load(Relaxed), 1, "a hundred more would hear the same");
        assert!(text(&["churn", &url]).1.contains(expect), "{expect}");
    }
}

#[test]
fn whoever_waits_for_a_server_that_says_nothing_can_interrupt_it() {
    for scenario in ["fanout", "churn"] {
        let (came, comes) = channel();
        let url = strange(move |n, stream| drop(came.send((n, stream))));
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
        command.args(["bench", scenario, &url]).stdout(Stdio::null()).stderr(Stdio::piped());
        let process = command.spawn().unwrap();
        let mut first = comes.iter().find(|(n, _)| *n == 1).unwrap().1;
        assert!(first.read(&mut [0; 4096]).unwrap() > 0, "it asks to be let in, and hears signals by now");
        let begun = Instant::now();
        signal(process.id(), "INT");
        let output = process.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        // By itself it would give up after 30 s.
        assert!(begun.elapsed() < Duration::from_secs(20), "{scenario}: {:?}", begun.elapsed());
    }
}

#[test]
fn who_never_came_in_is_in_the_report_of_those_who_come_and_go() {
    let url = asked(|n, mut stream| {
        // Those after the tenth wait for ever.
        if n <= 10 {
            let _ = (stream.write_all(WELCOME), stream.read(&mut [0; 4096]));
        } else {
            keep(stream);
        }
    });
    // 100 are due in the second; two may be at the door.
    let (report, code) =
        bench(&["churn", &url, "--clients", "2", "--rate", "100", "--duration", "1s", "--warmup", "0s"]);
    assert_eq!(code, Some(1), "{report}");
    let (made, wanted) = (number(&report, "/connections/made"), number(&report, "/connections/wanted"));
    assert!((1..=10).contains(&made) && wanted > 80, "{report}");
    let troubles = report["troubles"].to_string();
    assert!(troubles.contains(&format!("{} who were due have not come in", wanted - made)), "{report}");
}

#[test]
fn nobody_is_cut_off_when_nobody_speaks_any_more() {
    let url = asked(|n, mut stream| {
        // Two come in, are told nothing, and would not come in again.
        if n <= 2 {
            let _ = stream.write_all(WELCOME);
            keep(stream);
        }
    });
    let how = ["--join", "none", "--clients", "2", "--senders", "1", "--rate", "20"];
    let times = ["--every", "1s", "--away", "0s", "--duration", "500ms"];
    let (report, _) = bench(&[&["jitter", &url][..], &how, &times].concat());
    assert!(number(&report, "/messages/missing") > 0, "it is waited for what does not come: {report}");
    assert_eq!((number(&report, "/returns/away"), number(&report, "/returns/back")), (0, 0), "{report}");
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
fn a_server_that_dies_of_the_load_is_a_result_too() {
    let (server, url, pid) = server("web");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
    command.args([
        "bench",
        &url,
        "--duration",
        "1h",
        "--warmup",
        "0s",
        "--json",
        "--profile",
        "web",
        "--pid",
        &pid,
    ]);
    let process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    until("its clients", || (server.app()?["connections"].as_u64() == Some(100)).then_some(()));
    signal(pid.parse().unwrap(), "KILL");
    let output = process.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((number(&report, "/connections/lost"), output.status.code()), (100, Some(1)), "{report}");
    let troubles = report["troubles"].to_string();
    assert!(troubles.contains("the server did not live on: ") && troubles.contains(&pid), "{troubles}");
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
