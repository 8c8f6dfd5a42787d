//! `[metrics]`, read as Prometheus reads it.

use crate::program::{Supervisor, free_port, signal, stderr, until};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
};

fn scrape(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("200 OK") && head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    body.to_owned()
}

/// The value of this series.
fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn everything_is_told_in_words_that_prometheus_knows() {
    let port = free_port();
    let supervisor = Supervisor::prepare("max_memory_restart = \"300M\"");
    let toml = fs::read_to_string(supervisor.path("chat.toml")).unwrap();
    fs::write(supervisor.path("chat.toml"), format!("{toml}[metrics]\nlisten = \"127.0.0.1:{port}\"\n"))
        .unwrap();
    let supervisor = supervisor.launch();
    signal(supervisor.child(), "KILL");
    supervisor.restarted(1);
    let page = until("the restart to be counted", || {
        let page = scrape(port);
        let restarts = value(&page, "chatctl_app_restarts_total{app=\"chatting\",reason=\"crash\"}");
        let measured = value(&page, "chatctl_app_memory_bytes{app=\"chatting\"}") > Some(0.0);
        (restarts == Some(1.0) && measured && page.contains("chatctl_connections{")).then_some(page)
    });
    for (series, at_least) in [
        ("chatctl_app_state{app=\"chatting\",state=\"online\"}", 1.0),
        ("chatctl_config_in_force", 1.0),
        ("chatctl_app_memory_bytes{app=\"chatting\"}", 1e6),
        ("chatctl_app_memory_limit_bytes{app=\"chatting\"}", 300.0 * 1_048_576.0),
        ("chatctl_app_open_fds{app=\"chatting\"}", 5.0),
        ("chatctl_app_start_time_seconds{app=\"chatting\"}", 1e9),
        ("chatctl_connections{app=\"chatting\"}", 0.0),
        ("chatctl_recovery_working{app=\"chatting\"}", 1.0),
        ("chatctl_events_accepted_total{app=\"chatting\"}", 0.0),
        ("chatctl_recoveries_total{app=\"chatting\",outcome=\"recovered\"}", 0.0),
    ] {
        let found = value(&page, series);
        assert!(found.is_some_and(|found| found >= at_least), "{series}: {found:?}\n{page}");
    }
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!("skipped: there is no promtool; tests/run.sh installs it");
        return;
    };
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success() && stderr(&output).is_empty(), "{output:?}\n{page}");
}
