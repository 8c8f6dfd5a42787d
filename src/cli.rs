//! The command line: types and help texts, no behaviour. The home of clap.

pub(crate) mod bench;
mod complete;
mod man;

pub(crate) use complete::registration;
pub(crate) use man::write_pages;

use crate::config::{Profile, address_of};
use clap::{
    Args, CommandFactory, Parser, Subcommand, ValueHint,
    builder::{PossibleValuesParser, TypedValueParser},
    error::{ContextKind, ContextValue},
};
use clap_complete::engine::ArgValueCompleter;
use std::{io::Write, net::SocketAddr, path::PathBuf};

/// Run a Socket.IO chat in production: the server, its supervisor, its status.
#[derive(Debug, Parser)]
#[command(name = "chatctl", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a chat.toml: one to begin with, or one that does what a pm2 ecosystem file does
    #[command(
        after_help = "With --from, what could not be carried over is listed with its line and why, and stands as a comment \
                      in the file. No Node is needed; nothing of the pm2 file is executed.\n\nExamples:\n  chatctl init\n  \
                      chatctl init --from ecosystem.config.js\n  chatctl init --from ecosystem.config.js --env production"
    )]
    Init(Init),
    /// Look whether chat.toml and this machine fit, without starting anything
    #[command(
        after_help = "Ports, open files, folders and their filesystems, memory, clock, programs and users, what is watched. \
                      Every finding says how to mend it.\nExit code: 0 nothing but remarks, 1 something would not work, 2 \
                      chat.toml is wrong.\n\nExamples:\n  chatctl check\n  chatctl check --config /etc/chatctl/chat.toml --json"
    )]
    Check(Check),
    /// Run one chat server in the foreground: for development, and what the supervisor starts
    #[command(
        after_help = "Examples:\n  chatctl serve\n  chatctl serve --listen 127.0.0.1:4001 --profile react"
    )]
    Serve(Serve),
    /// Keep the chat servers of chat.toml up: restarts on crash, memory ceiling and file change
    #[command(
        after_help = "Examples:\n  chatctl supervise\n  chatctl supervise --config /etc/chatctl/chat.toml --detach"
    )]
    Supervise(Supervise),
    /// Show how the supervised apps are: state, memory, connections, health, and their last log lines
    #[command(
        after_help = "Exit code: 0 all healthy, 1 something is not, 3 no supervisor runs.\n\nExamples:\n  chatctl status\n  chatctl status chatting --logs=50\n  chatctl status --json"
    )]
    Status(Status),
    /// Show apps, memory, messages, rooms and the log on one screen, with keys to reload, restart and stop
    #[command(
        after_help = "Keys: up and down choose an app; r reloads it, R restarts, s stops and S starts it, each after a \
                      question; / filters the log; q quits. Without colours: NO_COLOR=1.\n\nExamples:\n  chatctl top\n  \
                      chatctl top --config /etc/chatctl/chat.toml"
    )]
    Top(ConfigArg),
    /// Start apps that were stopped, as chat.toml and the program are now
    #[command(after_help = "Examples:\n  chatctl start\n  chatctl start chatting web")]
    Start(Apps),
    /// Stop apps: clients are told, and what was accepted is delivered first
    #[command(after_help = "Examples:\n  chatctl stop web\n  chatctl stop && chatctl start")]
    Stop(Apps),
    /// Stop apps and start them as chat.toml and the program are now
    #[command(after_help = "Examples:\n  chatctl restart chatting\n  chatctl restart")]
    Restart(Apps),
    /// Put chat.toml and the program into force without a gap; what does not work changes nothing, or is taken back
    #[command(
        after_help = "The new version is loaded beside the old one, takes over, and is watched for min_uptime. When it \
                      fails, the last good one comes back by itself.\nExit code: 0 it is in force, 1 it is not, and why.\n\n\
                      Examples:\n  chatctl reload\n  chatctl reload chatting"
    )]
    Reload(Apps),
    /// Stop every app and the supervisor
    #[command(
        after_help = "Examples:\n  chatctl shutdown\n  chatctl shutdown --config /etc/chatctl/chat.toml"
    )]
    Shutdown(ConfigArg),
    /// Show what the apps wrote
    #[command(
        after_help = "Examples:\n  chatctl logs -n 100\n  chatctl logs chatting -f\n  chatctl logs --json"
    )]
    Logs(Read),
    /// Show what happened to the apps, when and why
    #[command(
        after_help = "Examples:\n  chatctl events\n  chatctl events chatting -n 100\n  chatctl events -f --json"
    )]
    Events(Read),
    /// Measure a Socket.IO server, this one or any other: how much it can do, and what it needs for it
    #[command(
        after_help = "One core is enough to keep a server busy; give each its own (taskset -c 0, taskset -c 1). Ctrl-C ends a \
                      measurement early, and shows it.\nExit code: 0 all went as asked, 1 not (connections failed, messages \
                      missing, interrupted), 2 wrong usage.\n\nExamples:\n  chatctl bench http://127.0.0.1:3000\n  \
                      chatctl bench fanout http://127.0.0.1:3000 --clients 1000 --rooms 20 --pid 1234"
    )]
    Bench(Box<bench::Bench>),
    /// Print a unit for systemd, with what this chat.toml needs and no more
    #[command(
        after_help = "`install.sh --systemd` puts it into place. By hand:\n  chatctl systemd --config \
                      /etc/chatctl/chat.toml > /etc/systemd/system/chatctl.service\n  chatctl systemd --socket > \
                      /etc/systemd/system/chatctl.socket   # optional: systemd holds the sockets\n  chatctl systemd \
                      --user > ~/.config/systemd/user/chatctl.service"
    )]
    Systemd(Systemd),
    /// Print the JSON schema of chat.toml, for editors that complete and check
    #[command(
        after_help = "Examples:\n  chatctl schema > chat.schema.json\n\nThen the first line of chat.toml is: #:schema \
                      ./chat.schema.json\n(Even Better TOML in VS Code, Taplo, tombi). `chatctl init` writes that line by \
                      itself when install.sh has put a schema in place."
    )]
    Schema,
    /// Print a shell's completions, the names of your apps among them
    #[command(after_help = "install.sh puts them into place. By hand:\n  bash: chatctl completions bash > \
                      ~/.local/share/bash-completion/completions/chatctl\n  zsh:  chatctl completions zsh > a folder of \
                      $fpath/_chatctl\n  fish: chatctl completions fish > ~/.config/fish/completions/chatctl.fish")]
    Completions(Completions),
    /// Write the manual pages to a folder
    #[command(hide = true)]
    Man(Man),
    /// Show who is told when something happens (the [[hook]] tables), and with --test try it
    #[command(after_help = "Examples:\n  chatctl hooks\n  chatctl hooks --test")]
    Hooks(Hooks),
    /// Keep an app's log and sockets; what the supervisor starts
    #[command(hide = true)]
    Keep(Keep),
}

/// Which apps.
#[derive(Debug, Args)]
pub(crate) struct Apps {
    /// The apps [default: all]
    #[arg(add = ArgValueCompleter::new(complete::apps))]
    pub(crate) apps: Vec<String>,
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// For machines: what came of it, as [{app, ok, message}]
    #[arg(long)]
    pub(crate) json: bool,
}

/// `chatctl keep`.
#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// The log file
    pub(crate) log: PathBuf,
    /// Bytes of a file, before it is put aside
    pub(crate) size: u64,
    /// Files that are kept aside
    pub(crate) retain: u32,
}

/// `chatctl logs`, `chatctl events`.
#[derive(Debug, Args)]
pub(crate) struct Read {
    /// The apps [default: all]
    #[arg(add = ArgValueCompleter::new(complete::apps))]
    pub(crate) apps: Vec<String>,
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// How many of the last lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub(crate) lines: usize,
    /// Go on as more comes, until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// For machines: one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// `chatctl hooks`.
#[derive(Debug, Args)]
pub(crate) struct Hooks {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// Send each the event `test`, once, and say what came of it
    #[arg(long)]
    pub(crate) test: bool,
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub(crate) struct ConfigArg {
    /// The configuration file [default: ./chat.toml, else ~/.config/chatctl/chat.toml, else
    /// /etc/chatctl/chat.toml, else the built-in one]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
}

/// `chatctl init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Where to write
    #[arg(default_value = "chat.toml", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Carry over this pm2 file: .js, .cjs, .mjs, .json, .yaml or .yml
    #[arg(long, value_name = "ECOSYSTEM", value_hint = ValueHint::FilePath)]
    pub(crate) from: Option<PathBuf>,
    /// With --from: lay its block env_NAME over env, as `pm2 start --env NAME` does
    #[arg(long, value_name = "NAME", requires = "from")]
    pub(crate) env: Option<String>,
    /// Replace a file that is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// `chatctl check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// For machines: {config, ok, findings: [{severity, what, where, mend}]}
    #[arg(long)]
    pub(crate) json: bool,
}

/// `chatctl systemd`.
#[derive(Debug, Args)]
pub(crate) struct Systemd {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// For your own systemd (systemctl --user), not the machine's
    #[arg(long)]
    pub(crate) user: bool,
    /// Run as this user [default: chatctl, whom systemd makes if need be]
    #[arg(long, value_name = "USER", conflicts_with = "user")]
    pub(crate) run_as: Option<String>,
    /// The socket unit instead: systemd listens, and hands the sockets over
    #[arg(long, conflicts_with_all = ["user", "run_as"])]
    pub(crate) socket: bool,
    /// The chatctl to run [default: this one]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) program: Option<PathBuf>,
}

/// `chatctl completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_parser = PossibleValuesParser::new(complete::SHELLS))]
    pub(crate) shell: String,
}

/// `chatctl man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder, made if need be
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) folder: PathBuf,
}

/// `chatctl serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Which [[app]] of the configuration to be [default: the first that is enabled]
    #[arg(add = ArgValueCompleter::new(complete::apps))]
    pub(crate) app: Option<String>,
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// Listen here instead of where the configuration says (port 0: any free one, printed)
    #[arg(long, value_name = "ADDR", value_parser = address_of)]
    pub(crate) listen: Option<SocketAddr>,
    /// The configuration comes on standard input; --config names where it came from
    #[arg(long, hide = true)]
    pub(crate) config_on_stdin: bool,
    /// Speak this profile instead of the configured one
    #[arg(long, value_parser = profiles())]
    pub(crate) profile: Option<Profile>,
}

/// `chatctl supervise`.
#[derive(Debug, Args)]
pub(crate) struct Supervise {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// Go to the background, and return when every app is ready
    #[arg(long)]
    pub(crate) detach: bool,
    /// What --detach starts
    #[arg(long, hide = true, conflicts_with = "detach")]
    pub(crate) background: bool,
}

/// `chatctl status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Only this app
    #[arg(add = ArgValueCompleter::new(complete::apps))]
    pub(crate) app: Option<String>,
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// For machines: the documented JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show it again each second, until interrupted
    #[arg(long, conflicts_with_all = ["json", "logs"])]
    pub(crate) watch: bool,
    /// Also the last N log lines of each app
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "20", require_equals = true)]
    pub(crate) logs: Option<usize>,
}

fn profiles() -> impl TypedValueParser<Value = Profile> {
    PossibleValuesParser::new(Profile::NAMES).try_map(|name| name.parse())
}

/// What pm2 calls what chatctl calls otherwise.
const PM2: [(&[&str], &str); 7] = [
    (&["ls", "list", "l", "ps", "jlist", "prettylist"], "chatctl status, for machines with --json"),
    (&["show", "describe", "info"], "chatctl status NAME"),
    (&["monit", "dash"], "chatctl top"),
    (&["log"], "chatctl logs"),
    (&["kill"], "chatctl shutdown"),
    (&["delete", "del", "scale"], "apps come and go with their [[app]] in chat.toml"),
    (&["save", "dump", "startup", "resurrect"], "chatctl systemd, which prints a unit"),
];

/// Reads the process's arguments; prints help or the usage error and exits (code 2) where they ask for it. A shell that
/// asks for completions is answered, and that is all.
pub(crate) fn parse() -> Cli {
    complete::answer(Cli::command);
    Cli::try_parse().unwrap_or_else(|error| {
        // Nobody may be there to read it.
        let _ = error.print();
        if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
            && let Some((_, here)) = PM2.iter().find(|(words, _)| words.contains(&word.as_str()))
        {
            let _ = writeln!(std::io::stderr(), "\n  hint: pm2 {word} is here: {here}");
        }
        std::process::exit(error.exit_code())
    })
}
