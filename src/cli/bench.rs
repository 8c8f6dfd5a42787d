//! The command line of `chatctl bench`.

use crate::config::Profile;
use clap::{Args, Subcommand, ValueHint, builder::PossibleValuesParser};
use std::{path::PathBuf, time::Duration};

/// `chatctl bench`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) scenario: Option<Scenario>,
    /// Where the server listens: http://host:port, or https:// (any certificate will do)
    #[arg(value_hint = ValueHint::Url, required = true)]
    pub(crate) url: Option<String>,
    /// What is done when nothing else is named.
    #[command(flatten)]
    pub(crate) fanout: Load,
}

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Messages to everybody in a room: as fast as they come back, or at a fixed rate (the default scenario)
    #[command(
        after_help = "Without --rate (a closed loop) each sender waits for its own message to come back: how much can it do?\n\
                      With --rate (an open loop) latency counts from when a message was due: how long do people wait?\n\n\
                      Examples:\n  chatctl bench fanout http://127.0.0.1:3000 --clients 1000 --rooms 20\n  \
                      chatctl bench fanout http://127.0.0.1:3000 --clients 100 --rate 10 --pid 1234 --json"
    )]
    Fanout(Fanout),
    /// Connections that say nothing: what one of them takes, and whether it is given back
    #[command(after_help = "Example:\n  chatctl bench idle http://127.0.0.1:3000 --clients 10000 --pid 1234")]
    Idle(Idle),
    /// People who come and go at once: how many a second are let in
    #[command(after_help = "Examples:\n  chatctl bench churn http://127.0.0.1:3000 --pid 1234\n  \
                      chatctl bench churn http://127.0.0.1:3000 --rate 500 --transport polling")]
    Churn(Churn),
    /// All connections are cut at once: how long until all are back
    #[command(after_help = "Example:\n  chatctl bench storm http://127.0.0.1:3000 --clients 10000")]
    Storm(Storm),
    /// People whose connections break every few seconds: how much of what was said do they get, and when
    #[command(after_help = "Example:\n  chatctl bench jitter http://127.0.0.1:3000 --clients 500 --rooms 10")]
    Jitter(Jitter),
    /// Two measurements side by side, out of the files that --json gave
    #[command(
        after_help = "A file may hold several measurements, one after the other: their medians are compared.\n\nExample:\n  \
                      chatctl bench http://127.0.0.1:3000 --json >> before.json\n  chatctl bench compare before.json after.json"
    )]
    Compare(Compare),
}

/// Against which server.
#[derive(Debug, Args)]
pub(crate) struct Against {
    /// How its events are written, as in chat.toml
    #[arg(long, default_value = "local", value_parser = super::profiles())]
    pub(crate) profile: Profile,
    /// What carries the packets
    #[arg(long, default_value = "websocket", value_parser = PossibleValuesParser::new(["websocket", "polling"]))]
    pub(crate) transport: String,
    /// The event that carries a message
    #[arg(long, value_name = "NAME", default_value = "chatting")]
    pub(crate) event: String,
    /// The event that joins a room, or `none`
    #[arg(long, value_name = "NAME", default_value = "join_room")]
    pub(crate) join: String,
    /// The `auth` of each client, a JSON object: {"token": ".."}
    #[arg(long, value_name = "JSON")]
    pub(crate) auth: Option<String>,
    /// Connections made in a second [default: as many as the server takes]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) connect_rate: Option<f64>,
    /// The server's process on this machine: what it and all below it use is measured too
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// For machines: one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `chatctl bench fanout`.
#[derive(Debug, Args)]
pub(crate) struct Fanout {
    /// Where the server listens: http://host:port, or https:// (any certificate will do)
    #[arg(value_hint = ValueHint::Url)]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) load: Load,
}

/// How much is asked for by `chatctl bench fanout`.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Connections
    #[arg(short, long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// Rooms that they are in, evenly
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rooms: u32,
    /// How many of them speak [default: a tenth, at least one in each room]
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) senders: Option<u32>,
    /// Bytes of a message's text
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(39..=10_000_000))]
    pub(crate) size: u32,
    /// Messages a second in all, whatever comes back [default: each sender waits for its own]
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Time of the measurement
    #[arg(short, long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// Time under load before it
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,
    #[command(flatten)]
    pub(crate) against: Against,
}

/// `chatctl bench idle`.
#[derive(Debug, Args)]
pub(crate) struct Idle {
    /// Where the server listens: http://host:port, or https:// (any certificate will do)
    #[arg(value_hint = ValueHint::Url)]
    pub(crate) url: String,
    /// Connections
    #[arg(short, long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// Rooms that they are in, evenly [default: one for 20]
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rooms: Option<u32>,
    /// Time that they stay
    #[arg(short, long, default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// Time after they have gone, until it is looked at what is left
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) after: Duration,
    #[command(flatten)]
    pub(crate) against: Against,
}

/// `chatctl bench churn`.
#[derive(Debug, Args)]
pub(crate) struct Churn {
    /// Where the server listens: http://host:port, or https:// (any certificate will do)
    #[arg(value_hint = ValueHint::Url)]
    pub(crate) url: String,
    /// How many are on the way in or out at once; with --rate: at most
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) clients: u32,
    /// People who come in a second [default: the next one when one has gone]
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Time of the measurement
    #[arg(short, long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// Time under load before it
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,
    #[command(flatten)]
    pub(crate) against: Against,
}

/// `chatctl bench storm`.
#[derive(Debug, Args)]
pub(crate) struct Storm {
    /// Where the server listens: http://host:port, or https:// (any certificate will do)
    #[arg(value_hint = ValueHint::Url)]
    pub(crate) url: String,
    /// Connections
    #[arg(short, long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// Rooms that they are in, evenly [default: one for 20]
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rooms: Option<u32>,
    /// Time over which they come back [default: all in the same moment; browsers spread over 1s by themselves]
    #[arg(long, default_value = "0s", hide_default_value = true, value_parser = humantime::parse_duration)]
    pub(crate) spread: Duration,
    /// For how long to wait for the last one
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) patience: Duration,
    #[command(flatten)]
    pub(crate) against: Against,
}

/// `chatctl bench jitter`.
#[derive(Debug, Args)]
pub(crate) struct Jitter {
    /// Where the server listens: http://host:port, or https:// (any certificate will do)
    #[arg(value_hint = ValueHint::Url)]
    pub(crate) url: String,
    /// Connections
    #[arg(short, long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// Rooms that they are in, evenly
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rooms: u32,
    /// How many of them speak; these are not cut [default: one in each room]
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) senders: Option<u32>,
    /// Bytes of a message's text
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(39..=10_000_000))]
    pub(crate) size: u32,
    /// Messages a second in all
    #[arg(long, default_value_t = 50.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// How long a connection lasts
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    pub(crate) every: Duration,
    /// How long it is away then
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub(crate) away: Duration,
    /// Time of the measurement
    #[arg(short, long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    #[command(flatten)]
    pub(crate) against: Against,
}

/// `chatctl bench compare`.
#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// Measurements of before
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) before: PathBuf,
    /// And of after
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) after: PathBuf,
    /// For machines: {rounds, differences, not_whole, figures: [{name, before, after, ratio}]}
    #[arg(long)]
    pub(crate) json: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=10_000_000.0).contains(rate));
    rate.ok_or_else(|| "it is to be a number above 0".to_owned())
}
