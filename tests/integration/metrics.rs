//! `[metrics]`, read as Prometheus reads it.

use crate::{
    client::{Client, text},
    program::{self, Supervisor, certificate, chatctl, free_port, signal, stderr, until},
};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    fs,
    io::Write,
    net::SocketAddr,
    process::{Command, Stdio},
};

/// Head and body of the answer.
fn get(port: u16, path: &str) -> (String, String) {
    let answer = program::get(SocketAddr::from(([127, 0, 0, 1], port)), path).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn scrape(port: u16) -> String {
    let (head, body) = get(port, "/metrics");
    assert!(head.contains("200 OK") && head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    body
}

/// The value of this series.
fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// A supervisor with metrics on this port.
fn measured(port: u16, keys: &str) -> Supervisor {
    measured_app(port, "", keys)
}

/// The same with more keys of the app.
fn measured_app(port: u16, app: &str, keys: &str) -> Supervisor {
    let supervisor = Supervisor::prepare(&format!("max_memory_restart = \"300M\"\n{app}"));
    let toml = fs::read_to_string(supervisor.path("chat.toml")).unwrap();
    let toml = format!("{toml}[metrics]\nlisten = \"127.0.0.1:{port}\"\n{keys}\n");
    fs::write(supervisor.path("chat.toml"), toml).unwrap();
    supervisor.launch()
}

#[test]
fn everything_is_told_in_words_that_prometheus_knows() {
    let port = free_port();
    let supervisor = measured(port, "");
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
        ("chatctl_app_restarts_total{app=\"chatting\",reason=\"hang\"}", 0.0),
        ("chatctl_app_restarts_total{app=\"chatting\",reason=\"rolled-back\"}", 0.0),
        ("chatctl_app_memory_bytes{app=\"chatting\"}", 1e6),
        ("chatctl_app_memory_limit_bytes{app=\"chatting\"}", 300.0 * 1_048_576.0),
        ("chatctl_supervisor_open_fds", 5.0),
        ("chatctl_app_open_fds{app=\"chatting\"}", 5.0),
        ("chatctl_app_start_time_seconds{app=\"chatting\"}", 1e9),
        ("chatctl_connections{app=\"chatting\"}", 0.0),
        ("chatctl_recovery_working{app=\"chatting\"}", 1.0),
        ("chatctl_events_accepted_total{app=\"chatting\"}", 0.0),
        ("chatctl_recoveries_total{app=\"chatting\",outcome=\"recovered\"}", 0.0),
        ("chatctl_recoveries_total{app=\"chatting\",outcome=\"pruned\"}", 0.0),
        ("chatctl_turned_away_total{app=\"chatting\",reason=\"auth\"}", 0.0),
        ("chatctl_turned_away_total{app=\"chatting\",reason=\"max_rooms_per_socket\"}", 0.0),
    ] {
        let found = value(&page, series);
        assert!(found.is_some_and(|found| found >= at_least), "{series}: {found:?}\n{page}");
    }
    promtool(&["check", "metrics"], &page);
}

/// What one with a certificate of thirty days says.
fn scrape_with_certificate() -> String {
    let files = tempfile::tempdir().unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| files.path().join(name).display().to_string());
    certificate(files.path(), "30", "key.pem");
    let port = free_port();
    let _supervisor = measured_app(port, &format!("tls = {{ cert = \"{cert}\", key = \"{key}\" }}"), "");
    scrape(port)
}

#[test]
fn it_is_seen_when_a_certificate_expires() {
    let page = scrape_with_certificate();
    let expires = value(&page, "chatctl_certificate_expiry_timestamp_seconds{app=\"chatting\"}").unwrap();
    let days = (expires - jiff::Timestamp::now().as_second() as f64) / 86_400.0;
    assert!((29.0..30.1).contains(&days), "{days}");
}

/// What it says of this must be nothing.
fn promtool(arguments: &[&str], input: &str) {
    let promtool = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!("skipped: there is no promtool; tests/run.sh installs it");
        return;
    };
    promtool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success() && stderr(&output).is_empty(), "{output:?}\n{input}");
}

#[test]
fn what_people_do_is_measured_over_a_handover() {
    let port = free_port();
    let supervisor = measured(port, "");
    let of = |name: &str| format!("chatctl_{name}{{app=\"chatting\"}}");
    let mut client = Client::join(supervisor.port, "anna", "r");
    for said in 0..50 {
        client.send(&text(&format!(r#"42{said}["chatting",{{"msg":"hello"}}]"#)));
        client.hear(&format!("43{said}["));
    }
    let page = scrape(port);
    let counted = |series: &str| value(&page, series).unwrap_or_else(|| panic!("{series}\n{page}"));
    let dealt = counted(&of("events_accepted_total")) + counted(&of("events_refused_total"));
    assert!(dealt >= 51.0, "{page}");
    assert_eq!(counted(&of("delivery_duration_seconds_count")), dealt);
    let bucket = |le| format!("chatctl_delivery_duration_seconds_bucket{{app=\"chatting\",le=\"{le}\"}}");
    assert_eq!(counted(&bucket("+Inf")), dealt);
    assert!(counted(&bucket("0.0001")) <= counted(&bucket("0.1")));
    assert!(counted(&of("delivery_duration_seconds_sum")) > 0.0);
    assert!(counted(&of("received_bytes_total")) > 51.0 * 20.0, "{page}");
    assert!(counted(&of("sent_bytes_total")) > 51.0 * 20.0, "{page}");
    // All was heard.
    assert_eq!(counted(&of("events_queued")), 0.0);
    assert_eq!(counted(&of("packets_queued")), 0.0);
    assert!(value(&page, &of("handover_pause_seconds")).is_none(), "there was none\n{page}");

    let reload = chatctl(supervisor.dir.path(), &["reload"]);
    assert!(reload.status.success(), "{}", stderr(&reload));
    let page = scrape(port);
    assert!(value(&page, &of("handover_pause_seconds")).is_some(), "{page}");
    let kept = "chatctl_handover_clients{app=\"chatting\",outcome=\"kept\"}";
    assert_eq!(value(&page, kept), Some(1.0), "{page}");
}

#[test]
fn who_reads_nothing_has_packets_waiting() {
    let port = free_port();
    let supervisor = measured(port, "");
    let _deaf = Client::join(supervisor.port, "deaf", "r");
    let mut client = Client::join(supervisor.port, "anna", "r");
    let words = "x".repeat(50_000);
    until("packets to wait", || {
        client.send(&text(&format!(r#"421["chatting",{{"msg":"{words}"}}]"#)));
        client.hear("431[");
        (value(&scrape(port), "chatctl_packets_queued{app=\"chatting\"}")? > 0.0).then_some(())
    });
}

/// All `expr` in it.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(query) if key == "expr" || key == "definition" => found.push(query.clone()),
                    _ => queries(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_only_for_what_is_there() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/dist/grafana-dashboard.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!((&dashboard["uid"], &dashboard["title"]), (&json!("chatctl"), &json!("chatctl")));
    assert!(dashboard["schemaVersion"].as_u64() >= Some(36));
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(variables.iter().any(|one| one["type"] == "datasource" && one["name"] == "datasource"));
    let (mut ids, mut taken) = (HashSet::new(), HashSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(w > 0 && h > 0 && x + w <= 24, "{title}");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{title} lies on another");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}");
        for target in panel["targets"].as_array().filter(|targets| !targets.is_empty()).unwrap() {
            assert!(target["expr"].is_string() && target["refId"].is_string(), "{title}");
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }

    let mut asked = Vec::new();
    queries(&dashboard, &mut asked);
    assert!(asked.len() > 30, "{asked:?}");
    let port = free_port();
    let supervisor = measured(port, "[limits]\nmax_connections_per_name = 1");
    let _client = Client::join(supervisor.port, "anna", "r");
    assert!(chatctl(supervisor.dir.path(), &["reload"]).status.success());
    let (refused, _) = get(supervisor.port, "/socket.io/?EIO=4&transport=polling&name=anna&room=r");
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    let measured = |page: &String| page.contains("chatctl_app_memory_bytes{");
    let page = until("the memory to be measured", || Some(scrape(port)).filter(measured));
    let page = page + &scrape_with_certificate();
    let names: HashSet<&str> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for query in &asked {
        let mut words = query.split(|c| !is_name(c)).filter(|word| word.starts_with("chatctl_")).peekable();
        assert!(words.peek().is_some(), "{query}");
        words.for_each(|word| assert!(names.contains(word), "{word} of {query}\n{page}"));
    }
    // Nothing is measured that nobody sees.
    let seen = asked.join(" ");
    names.iter().for_each(|name| assert!(seen.contains(name), "{name} is in no panel"));

    // Whether they are PromQL is for promtool to say: to it, each is a rule.
    asked.retain(|query| !query.starts_with("label_values("));
    let rules: Vec<Value> = asked
        .iter()
        .map(|query| query.replace("$__rate_interval", "1m"))
        .enumerate()
        .map(|(nth, expr)| json!({"record": format!("query:{nth}"), "expr": expr}))
        .collect();
    let groups = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    promtool(&["check", "rules", "/dev/stdin"], &groups.to_string());
}
