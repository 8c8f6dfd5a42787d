//! `chatctl bench`: how much a server can do.

use crate::{
    bench,
    cli::bench::{Against, Bench, Churn, Compare, Idle, Jitter, Load, Scenario, Storm},
    error::{Exit, Failure},
};
use serde::Serialize;
use std::{
    fmt::Display,
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

pub(crate) fn run(args: Bench) -> Result<ExitCode, Failure> {
    match args.scenario {
        None => fanout(args.url.unwrap_or_default(), args.fanout),
        Some(Scenario::Fanout(args)) => fanout(args.url, args.load),
        Some(Scenario::Idle(args)) => {
            let rooms = args.rooms.unwrap_or(args.clients / 20).clamp(1, args.clients);
            let Idle { clients, duration, after, .. } = args;
            let idle = bench::Scenario::Idle(bench::Idle { clients, rooms, duration, after });
            measure(args.url, args.against, &idle)
        }
        Some(Scenario::Churn(args)) => {
            let Churn { clients, rate, warmup, duration, .. } = args;
            let churn = bench::Scenario::Churn(bench::Churn { clients, rate, warmup, duration });
            measure(args.url, args.against, &churn)
        }
        Some(Scenario::Storm(args)) => {
            let rooms = args.rooms.unwrap_or(args.clients / 20).clamp(1, args.clients);
            let Storm { clients, spread, patience, .. } = args;
            let storm = bench::Scenario::Storm(bench::Storm { clients, rooms, spread, patience });
            measure(args.url, args.against, &storm)
        }
        Some(Scenario::Jitter(args)) => jitter(args),
        Some(Scenario::Compare(args)) => compare(&args),
    }
}

fn fanout(url: String, args: Load) -> Result<ExitCode, Failure> {
    let senders = args.senders.unwrap_or_else(|| (args.clients / 10).max(args.rooms));
    let fanout = bench::Fanout {
        clients: args.clients,
        rooms: args.rooms.min(args.clients),
        senders: senders.min(args.clients),
        size: args.size as usize,
        rate: args.rate,
        warmup: args.warmup,
        duration: args.duration,
    };
    measure(url, args.against, &bench::Scenario::Fanout(fanout))
}

fn jitter(args: Jitter) -> Result<ExitCode, Failure> {
    let jitter = bench::Jitter {
        clients: args.clients,
        rooms: args.rooms.min(args.clients),
        senders: args.senders.unwrap_or(args.rooms).min(args.clients),
        size: args.size as usize,
        rate: args.rate,
        every: args.every,
        away: args.away,
        duration: args.duration,
    };
    measure(args.url, args.against, &bench::Scenario::Jitter(jitter))
}

fn measure(url: String, args: Against, scenario: &bench::Scenario) -> Result<ExitCode, Failure> {
    let auth = args.auth.as_deref().map(serde_json::from_str).transpose();
    let auth = auth.map_err(|error| Failure::usage(format_args!("--auth is no JSON object: {error}")))?;
    let against = bench::Against {
        url,
        profile: args.profile,
        transport: match args.transport.as_str() {
            "polling" => bench::Transport::Polling,
            _ => bench::Transport::Websocket,
        },
        event: args.event,
        join: (args.join != "none").then_some(args.join),
        auth,
        connect_rate: args.connect_rate,
        pid: args.pid,
    };
    let report = bench::run(against, scenario)?;
    print(&report, args.json)?;
    Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed as u8) })
}

fn compare(args: &Compare) -> Result<ExitCode, Failure> {
    let comparison = bench::Comparison::of(&read(&args.before)?, &read(&args.after)?);
    print(&comparison, args.json)?;
    Ok(ExitCode::SUCCESS)
}

/// All measurements in a file.
fn read(file: &Path) -> Result<Vec<bench::Report>, Failure> {
    let wrong = |what: String| Failure::usage(format_args!("{}: {what}", file.display()));
    let text = fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let reports = serde_json::Deserializer::from_slice(&text).into_iter().collect::<Result<Vec<_>, _>>();
    let reports =
        reports.map_err(|error| wrong(format!("is nothing that `chatctl bench --json` wrote: {error}")))?;
    if reports.is_empty() { Err(wrong("is empty".to_owned())) } else { Ok(reports) }
}

fn print<T: Serialize + Display>(what: &T, json: bool) -> Result<(), Failure> {
    let text = if json {
        serde_json::to_string(what).map_err(|error| Failure::failed(error.to_string()))? + "\n"
    } else {
        what.to_string()
    };
    // A reader that has seen enough (`| head`) is no error.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}
