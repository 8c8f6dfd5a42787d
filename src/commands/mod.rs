//! One short file per subcommand: wiring only.

mod act;
mod bench;
mod check;
mod hooks;
mod init;
mod keep;
mod learn;
mod log;
mod progress;
mod read;
mod serve;
mod status;
mod supervise;
mod systemd;
mod top;

use crate::{
    cli::{Cli, Command, ConfigArg},
    config::Config,
    control::{client, types::Action},
    error::{Exit, Failure},
    listen::Inherited,
};
use std::{
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Runs the command and gives the process's exit code.
pub(crate) fn run(cli: Cli, inherited: Inherited) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Bench(args) => bench::run(*args),
        Command::Init(args) => init::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Serve(args) => serve::run(&args, inherited),
        Command::Supervise(args) => supervise::run(&args, inherited),
        Command::Status(args) => status::run(&args),
        Command::Start(args) => act::run(Action::Start, &args),
        Command::Stop(args) => act::run(Action::Stop, &args),
        Command::Restart(args) => act::run(Action::Restart, &args),
        Command::Reload(args) => act::run(Action::Reload, &args),
        Command::Shutdown(args) => act::shut_down(&args),
        Command::Logs(args) => read::logs(&args),
        Command::Events(args) => read::events(&args),
        Command::Systemd(args) => systemd::run(&args),
        Command::Schema => learn::schema(),
        Command::Completions(args) => learn::completions(&args),
        Command::Man(args) => learn::man(&args),
        Command::Hooks(args) => hooks::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Keep(args) => keep::run(&args, inherited),
    }
}

/// Runs what waits, on this thread.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format_args!("no runtime: {error}")))?;
    runtime.block_on(future)
}

/// Whether what goes there is to be coloured: on a terminal that can, for people who do not mind (no-color.org).
fn takes_colour(out: &impl io::IsTerminal) -> bool {
    let minds = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    out.is_terminal() && !minds && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Where the supervisor of this configuration is. A broken chat.toml is just when one asks: the supervisor runs on
/// with the last good one.
fn state_dir(args: &ConfigArg) -> Result<PathBuf, Failure> {
    match Config::load(args.config.as_deref()) {
        Ok(config) => Ok(config.state_dir),
        Err(error) if error.state_dir.join(client::CONTROL).exists() => Ok(error.state_dir),
        Err(error) => Err(error.into()),
    }
}

/// Who asks may not look into it.
fn anothers(state_dir: &Path) -> Failure {
    Failure::failed(format_args!("{} belongs to another user", state_dir.display()))
        .hint("ask as that user, or as root")
}

/// The apps whose sockets are held, though their supervisor is gone.
fn left_behind(state_dir: &Path) -> Vec<String> {
    let files = std::fs::read_dir(state_dir.join("run")).into_iter().flatten().flatten();
    let held = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|is| is == "sock") && UnixStream::connect(path).is_ok());
    let mut apps: Vec<String> =
        held.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    apps.sort();
    apps
}

/// Why a supervisor gave no answer.
fn unanswered(state_dir: &Path, error: &anyhow::Error) -> Failure {
    match error.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            let there_is_none = format!("no supervisor runs on {}", state_dir.display());
            let left = left_behind(state_dir).join(", ");
            Failure::new(Exit::NoSupervisor, there_is_none).hint(if left.is_empty() {
                "start it with `chatctl supervise --detach`, or name its chat.toml with --config".to_owned()
            } else {
                format!("{left}: goes on without it; `chatctl supervise --detach` takes over what runs")
            })
        }
        Some(io::ErrorKind::PermissionDenied) => anothers(state_dir),
        _ => Failure::failed(format_args!("the supervisor does not answer: {error:#}")),
    }
}
