//! `chatctl status`: how the supervised apps are.

use crate::{
    cli,
    config::Config,
    control::{client, render, types::Status},
    error::{Exit, Failure},
    supervisor::logs,
};
use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

/// A supervisor that does not answer by then does not work.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn run(args: &cli::Status) -> Result<ExitCode, Failure> {
    // A broken chat.toml is just when one looks: the supervisor runs on with the last good one.
    let state_dir = match Config::load(args.config.config.as_deref()) {
        Ok(config) => config.state_dir,
        Err(error) if error.state_dir.join(client::CONTROL).exists() => error.state_dir,
        Err(error) => return Err(error.into()),
    };
    let mut status = super::block_on(ask(&state_dir))?;
    if let Some(name) = &args.app {
        status.apps.retain(|app| app.name == *name);
        if status.apps.is_empty() {
            return Err(Failure::usage(format_args!("the supervisor has no app named {name}")));
        }
    }
    // A reader that has seen enough (`| head`) is no error.
    let _ = io::stdout().write_all(text(args, &status)?.as_bytes());
    Ok(if status.is_healthy() { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed as u8) })
}

async fn ask(state_dir: &Path) -> Result<Status, Failure> {
    let asked = client::status(state_dir, TIMEOUT).await;
    asked.map_err(|error| match error.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Failure::new(Exit::NoSupervisor, format_args!("no supervisor runs on {}", state_dir.display()))
                .hint("start it with `chatctl supervise --detach`, or name its chat.toml with --config")
        }
        Some(io::ErrorKind::PermissionDenied) => {
            Failure::failed(format_args!("{} belongs to another user", state_dir.display()))
        }
        _ => Failure::failed(format_args!("the supervisor does not answer: {error:#}")),
    })
}

fn text(args: &cli::Status, status: &Status) -> Result<String, Failure> {
    if args.json {
        let json = serde_json::to_string_pretty(status);
        return json.map(|json| json + "\n").map_err(|error| Failure::failed(error.to_string()));
    }
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let mut text = render::render(status, colour);
    for app in args.logs.iter().flat_map(|_| &status.apps) {
        let lines = logs::tail(&app.log_file, args.logs.unwrap_or(0));
        let lines =
            lines.map_err(|error| Failure::failed(format_args!("{}: {error}", app.log_file.display())))?;
        text.push_str(&format!("\n==> {} <==\n", app.log_file.display()));
        lines.iter().for_each(|line| text.extend([line, "\n"]));
    }
    Ok(text)
}
