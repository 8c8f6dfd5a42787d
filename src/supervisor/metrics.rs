//! Metrics: supervisor and servers in Prometheus' text format, on `[metrics] listen`. The home of prometheus_client.
//!
//! Nothing is counted here: whoever scrapes has supervisor and servers asked, and a server that does not answer is
//! left out. Counters begin anew with each process; `chatctl_app_start_time_seconds` says which.

use super::machine::Class;
use crate::{
    control::{
        client,
        server::Ask,
        types::{AppStatus, Histogram, Stats, Status},
    },
    error::Failure,
};
use anyhow::Context;
use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::future::join_all;
use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet, prometheus_text},
    metrics::{MetricType, counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::atomic::AtomicU64,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Longest answer of a server.
const TIMEOUT: Duration = Duration::from_secs(2);

type Labels = Vec<(&'static str, String)>;
type Count = Family<Labels, Counter>;
type Level = Family<Labels, Gauge<f64, AtomicU64>>;

/// Serves them for the life of the process; `run` is the folder of the chat servers' sockets.
///
/// # Errors
/// The address cannot be had.
pub(super) fn start(address: SocketAddr, asks: mpsc::Sender<Ask>, run: PathBuf) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| {
        Failure::usage(format_args!("cannot serve metrics on {address}: {error}"))
            .hint("choose another [metrics] listen, or stop what listens there")
    };
    let listener = TcpListener::bind(address).map_err(cannot)?;
    listener.set_nonblocking(true).map_err(cannot)?;
    let bound = listener.local_addr().map_err(cannot)?;
    tracing::info!("metrics at http://{bound}/metrics");
    let listener = tokio::net::TcpListener::from_std(listener).map_err(cannot)?;
    let answer = move || {
        let (asks, run) = (asks.clone(), run.clone());
        async move { scrape(&asks, &run).await.unwrap_or_else(|error| refuse(&error)) }
    };
    let routes = Router::new().route("/metrics", get(answer));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "the metrics have ended");
        }
    });
    Ok(())
}

fn refuse(error: &anyhow::Error) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")).into_response()
}

async fn scrape(asks: &mpsc::Sender<Ask>, run: &Path) -> anyhow::Result<Response> {
    let (reply, status) = oneshot::channel();
    let _ = asks.send(Ask::Status(reply)).await;
    let status = status.await.context("the supervisor is stopping")?;
    let stats = status.apps.iter().map(async |app| {
        let chat = app.pid.is_some() && app.profile != "-";
        let socket = client::stats_socket(run, &app.name);
        if chat { client::stats_and_backlog(&socket, TIMEOUT).await.ok() } else { None }
    });
    let text = text(&status, &join_all(stats).await)?;
    Ok(([(header::CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], text).into_response())
}

/// All of it; `stats` are those of the apps, where they said something.
fn text(status: &Status, stats: &[Option<Box<Stats>>]) -> Result<String, std::fmt::Error> {
    let mut page = Page(Registry::default());
    let supervisor = &status.supervisor;
    page.level(
        "chatctl_build_info",
        "The version that runs",
        [(vec![("version", supervisor.version.clone())], 1.0)],
    );
    let started = since(supervisor.uptime_s);
    page.level(
        "chatctl_supervisor_start_time_seconds",
        "When the supervisor was started",
        [(vec![], started)],
    );
    page.level(
        "chatctl_supervisor_open_fds",
        "Files the supervisor has open",
        open_fds(supervisor.pid).map(|open| (vec![], open)),
    );
    let in_force = f64::from(u8::from(supervisor.config_problems.is_empty()));
    page.level("chatctl_config_in_force", "Whether chat.toml is in force as it is", [(vec![], in_force)]);
    page.apps(&status.apps);
    let known = status.apps.iter().zip(stats).filter_map(|(app, stats)| Some((app, stats.as_deref()?)));
    page.chats(&known.collect::<Vec<_>>());
    let mut text = String::new();
    prometheus_text::encode(&mut text, &page.0)?;
    Ok(text)
}

struct Page(Registry);

impl Page {
    fn level(&mut self, name: &str, help: &str, levels: impl IntoIterator<Item = (Labels, f64)>) {
        let family = Level::default();
        for (labels, level) in levels {
            family.get_or_create(&labels).set(level);
        }
        self.0.register(name, help, family);
    }

    fn count(&mut self, name: &str, help: &str, counts: impl IntoIterator<Item = (Labels, u64)>) {
        let family = Count::default();
        for (labels, count) in counts {
            family.get_or_create(&labels).inc_by(count);
        }
        self.0.register(name, help, family);
    }

    fn histogram(&mut self, name: &str, help: &str, each: impl IntoIterator<Item = (Labels, Histogram)>) {
        self.0.register(name, help, Histograms(each.into_iter().collect()));
    }

    /// What the supervisor knows of each app.
    fn apps(&mut self, apps: &[AppStatus]) {
        let each = |value: fn(&AppStatus) -> Option<f64>| {
            apps.iter().filter_map(move |app| Some((of(app), value(app)?))).collect::<Vec<_>>()
        };
        let word = |key, word: String, app| [of(app), vec![(key, word)]].concat();
        let states = apps.iter().map(|app| (word("state", app.state.clone(), app), 1.0));
        self.level("chatctl_app_state", "1 for the state it is in", states.collect::<Vec<_>>());
        let health = |app: &AppStatus| format!("{:?}", app.health).to_lowercase();
        let healths = apps.iter().map(|app| (word("health", health(app), app), 1.0));
        self.level("chatctl_app_health", "1 for how well it is", healths.collect::<Vec<_>>());
        // Each from the start: to `increase`, what begins with 1 has not grown.
        let restarts = apps.iter().flat_map(|app| {
            Class::ALL.map(|class| {
                let count = app.restarts_by_class.get(class.as_str()).copied().unwrap_or_default();
                (word("reason", class.as_str().to_owned(), app), count)
            })
        });
        self.count("chatctl_app_restarts", "Times it was started again", restarts.collect::<Vec<_>>());
        let running = |app: &AppStatus, value: f64| app.pid.map(|_| value);
        for (name, help, value) in [
            (
                "memory_bytes",
                "Resident memory, with all it started",
                (|app| Some(app.memory_bytes as f64)) as fn(&AppStatus) -> _,
            ),
            ("memory_limit_bytes", "Its max_memory_restart", |app| {
                app.memory_limit_bytes.map(|limit| limit as f64)
            }),
            ("cpu_ratio", "Use of one core", |app| Some(f64::from(app.cpu_percent) / 100.0)),
            ("probe_duration_seconds", "How long its last answer took", |app| {
                Some(app.health_latency_ms? / 1000.0)
            }),
            ("open_fds", "Files it has open", |app| open_fds(app.pid?)),
        ] {
            let levels = each(value).into_iter();
            self.level(&format!("chatctl_app_{name}"), help, levels);
        }
        let started = apps.iter().filter_map(|app| Some((of(app), running(app, since(app.uptime_s))?)));
        self.level(
            "chatctl_app_start_time_seconds",
            "When its process went to work",
            started.collect::<Vec<_>>(),
        );
    }

    /// What each chat server says of itself.
    fn chats(&mut self, chats: &[(&AppStatus, &Stats)]) {
        for (name, help, value) in [
            (
                "connections",
                "Sockets that are connected",
                (|stats| stats.connections as f64) as fn(&Stats) -> f64,
            ),
            ("rooms", "Rooms with somebody in them", |stats| stats.rooms as f64),
            ("events_queued", "Events of clients that wait to be dealt with", |stats| stats.queued as f64),
            ("packets_queued", "Packets that wait for clients", |stats| {
                stats.backlog.unwrap_or_default() as f64
            }),
            ("sessions", "Sessions, connected and lost", |stats| stats.recovery.sessions as f64),
            ("recovery_working", "Whether a crash could be made good now", |stats| {
                f64::from(u8::from(stats.recovery.enabled && stats.recovery.trouble.is_none()))
            }),
            ("journal_messages", "Messages in the journal", |stats| stats.recovery.journal_messages as f64),
            ("journal_bytes", "Their bytes", |stats| stats.recovery.journal_bytes as f64),
            ("journal_commit_seconds", "The last commit", |stats| stats.recovery.commit_us as f64 / 1e6),
        ] {
            self.level(
                &format!("chatctl_{name}"),
                help,
                chats.iter().map(|(app, stats)| (of(app), value(stats))),
            );
        }
        for (name, help, value) in [
            (
                "events_accepted",
                "Events of clients that were accepted",
                (|stats| stats.accepted) as fn(&Stats) -> u64,
            ),
            ("events_refused", "Events of clients that were refused", |stats| stats.refused),
            ("packets_sent", "Packets to clients", |stats| stats.delivered),
            ("received_bytes", "Bytes from clients, without TLS's own", |stats| stats.received_bytes),
            ("sent_bytes", "Bytes to clients, without TLS's own", |stats| stats.sent_bytes),
            ("slow_clients_closed", "Clients that did not keep up", |stats| stats.slow_closed),
            ("messages_replayed", "Messages that were told to who had missed them", |stats| {
                stats.recovery.replayed
            }),
        ] {
            self.count(
                &format!("chatctl_{name}"),
                help,
                chats.iter().map(|(app, stats)| (of(app), value(stats))),
            );
        }
        self.histogram(
            "chatctl_delivery_duration_seconds",
            "From a client's event to the hand-over of all that follows from it to the sockets",
            chats.iter().map(|(app, stats)| (of(app), stats.latency.clone())),
        );
        let with = |app: &AppStatus, key, value: &str| [of(app), vec![(key, value.to_owned())]].concat();
        let away = chats.iter().flat_map(|(app, stats)| {
            stats.turned_away.iter().map(|(why, count)| (with(app, "reason", why), *count))
        });
        self.count("chatctl_turned_away", "Refusals, by the key of chat.toml", away.collect::<Vec<_>>());
        let back = chats.iter().flat_map(|(app, stats)| {
            let refused =
                stats.recovery.refused.iter().map(|(why, count)| (with(app, "outcome", why), *count));
            refused.chain([(with(app, "outcome", "recovered"), stats.recovery.recovered)])
        });
        self.count(
            "chatctl_recoveries",
            "Clients that came back, by what came of it",
            back.collect::<Vec<_>>(),
        );
        let certificates = chats.iter().filter_map(|(app, stats)| {
            let expires: Timestamp = stats.certificate.as_ref()?.expires.parse().ok()?;
            Some((of(app), expires.as_second() as f64))
        });
        self.level(
            "chatctl_certificate_expiry_timestamp_seconds",
            "When the certificate in force expires",
            certificates.collect::<Vec<_>>(),
        );
        let taken = chats.iter().filter_map(|(app, stats)| Some((*app, stats.handover?))).collect::<Vec<_>>();
        let clients = taken.iter().flat_map(|(app, handover)| {
            let outcomes =
                [("kept", handover.connections), ("sent_away", handover.goodbyes), ("cut", handover.cut)];
            outcomes.map(|(outcome, count)| (with(app, "outcome", outcome), count as f64))
        });
        self.level(
            "chatctl_handover_clients",
            "Clients of the server before it, by what came of them when it took over",
            clients.collect::<Vec<_>>(),
        );
        self.level(
            "chatctl_handover_pause_seconds",
            "How long nobody was served then",
            taken.iter().map(|(app, handover)| (of(app), handover.pause_ms as f64 / 1000.0)),
        );
    }
}

/// Histograms that were counted elsewhere: prometheus_client's own can only be observed into.
#[derive(Debug)]
struct Histograms(Vec<(Labels, Histogram)>);

impl EncodeMetric for Histograms {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        for (labels, Histogram { up_to_us, counts, sum_us }) in &self.0 {
            let bounds = up_to_us.iter().map(|up_to| *up_to as f64 / 1e6).chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(counts.iter().copied()).collect();
            let (sum, count) = (*sum_us as f64 / 1e6, counts.iter().sum());
            encoder.encode_family(labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

fn of(app: &AppStatus) -> Labels {
    vec![("app", app.name.clone())]
}

/// Seconds since 1970, so long ago.
fn since(seconds: u64) -> f64 {
    (Timestamp::now().as_second() as f64) - seconds as f64
}

/// Of the process itself.
fn open_fds(pid: u32) -> Option<f64> {
    std::fs::read_dir(format!("/proc/{pid}/fd")).ok().map(|files| files.count() as f64)
}
