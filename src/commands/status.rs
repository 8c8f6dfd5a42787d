//! `chatctl status`: how the supervised apps are.

use crate::{
    cli,
    control::{client, render, types::Status},
    error::{Exit, Failure},
    supervisor::logs,
};
use rustix::termios::tcgetwinsize;
use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

/// A supervisor that does not answer by then does not work.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks of `--watch`.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Clears a terminal and goes to its upper left corner (ECMA-48: ED, CUP).
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(crate) fn run(args: &cli::Status) -> Result<ExitCode, Failure> {
    let state_dir = super::state_dir(&args.config)?;
    loop {
        let asked = async {
            client::status(&state_dir, TIMEOUT).await.map_err(|e| super::unanswered(&state_dir, &e))
        };
        let mut status = super::block_on(asked)?;
        if let Some(name) = &args.app {
            let known: Vec<String> = status.apps.iter().map(|app| app.name.clone()).collect();
            status.apps.retain(|app| app.name == *name);
            if status.apps.is_empty() {
                return Err(Failure::usage(format_args!("the supervisor has no app named {name}"))
                    .hint(format_args!("there are {}", known.join(", "))));
            }
        }
        let mut page = text(args, &status)?;
        if args.watch {
            // Through a pipe go lines and nothing else, with one empty line between two looks.
            page.insert_str(0, if io::stdout().is_terminal() { CLEAR } else { "" });
            page.push_str(if io::stdout().is_terminal() { "" } else { "\n" });
        }
        // A reader that has seen enough (`| head`) is no error.
        let written = io::stdout().write_all(page.as_bytes()).and_then(|()| io::stdout().flush());
        if !args.watch || written.is_err() {
            return Ok(if status.is_healthy() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(Exit::Failed as u8)
            });
        }
        std::thread::sleep(WATCH_EVERY);
    }
}

fn text(args: &cli::Status, status: &Status) -> Result<String, Failure> {
    if args.json {
        let json = serde_json::to_string_pretty(status);
        return json.map(|json| json + "\n").map_err(|error| Failure::failed(error.to_string()));
    }
    let colour = super::takes_colour(&io::stdout());
    let width =
        tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
    let mut text = render::render(status, colour, width);
    for app in args.logs.iter().flat_map(|_| &status.apps) {
        let lines = logs::tail(&app.log_file, args.logs.unwrap_or(0));
        let lines =
            lines.map_err(|error| Failure::failed(format_args!("{}: {error}", app.log_file.display())))?;
        text.push_str(&format!("\n==> {} <==\n", app.log_file.display()));
        lines.iter().for_each(|line| text.extend([line, "\n"]));
    }
    Ok(text)
}
