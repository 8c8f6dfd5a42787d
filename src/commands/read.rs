//! `chatctl logs`, `chatctl events`: read from the files, so they work without a supervisor as well.

use crate::{
    cli::Read,
    config::Config,
    control::types::Happened,
    error::Failure,
    supervisor::{events, follow, logs},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};
use serde_json::json;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

pub(crate) fn logs(args: &Read) -> Result<ExitCode, Failure> {
    let state_dir = super::state_dir(&args.config)?;
    let names = if args.apps.is_empty() { known(args, &state_dir) } else { args.apps.clone() };
    let folder = state_dir.join("logs");
    let files: Vec<PathBuf> = names.iter().map(|name| folder.join(format!("{name}.log"))).collect();
    if let Some(name) = names.iter().zip(&files).find(|(_, file)| !file.exists()).map(|(name, _)| name) {
        return Err(Failure::usage(format_args!(
            "there is no log of an app named {name} in {}",
            folder.display()
        )));
    }
    read(args, &folder, &files, |index, line| {
        let Some(name) = names.get(index) else { return String::new() };
        match (args.json, names.len()) {
            (true, _) => {
                let (head, text) = line.split_once(" | ").unwrap_or(("", line));
                let (time, stream) = head.split_once(' ').unwrap_or(("", ""));
                json!({ "time": time, "app": name, "stream": stream, "line": text }).to_string()
            }
            (false, 1) => line.to_owned(),
            (false, _) => format!("{name} {line}"),
        }
    })
}

pub(crate) fn events(args: &Read) -> Result<ExitCode, Failure> {
    let state_dir = super::state_dir(&args.config)?;
    let file = events::file(&state_dir);
    read(args, &state_dir.join("logs"), &[file], |_, line| {
        let Ok(happened) = serde_json::from_str::<Happened>(line) else { return String::new() };
        if !args.apps.is_empty() && !args.apps.contains(&happened.app) {
            return String::new();
        }
        if args.json { line.to_owned() } else { shown(&happened) }
    })
}

/// In the time of this machine.
fn shown(happened: &Happened) -> String {
    let local = happened.time.parse::<jiff::Timestamp>().map(|time| {
        time.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    });
    let time = local.unwrap_or_else(|_| happened.time.clone());
    let pid = happened.pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
    let why = happened.why.as_ref().map_or(String::new(), |why| format!(": {why}"));
    format!("{time}  {}  {}{pid}{why}", happened.app, happened.what)
}

fn known(args: &Read, state_dir: &Path) -> Vec<String> {
    let configured = Config::load(args.config.config.as_deref()).map(|config| {
        config.enabled().map(|app| app.name.clone()).filter(|name| config.log_file(name).exists()).collect()
    });
    configured.unwrap_or_else(|_| {
        let files = std::fs::read_dir(state_dir.join("logs")).into_iter().flatten().flatten();
        let names =
            files.filter_map(|file| file.file_name().to_str()?.strip_suffix(".log").map(str::to_owned));
        names.filter(|name| name != "supervisor").collect()
    })
}

/// Waits until whoever reads what is printed is gone.
fn nobody_reads() {
    let out = io::stdout();
    // No event is asked for: what comes all the same are an error and the end (poll(2)).
    while let Err(Errno::INTR) = poll(&mut [PollFd::new(&out, PollFlags::empty())], None) {}
}

/// Prints the last lines of each file as `shown` makes them (empty: not at all), then those that are added.
fn read(
    args: &Read,
    folder: &Path,
    files: &[PathBuf],
    shown: impl Fn(usize, &str) -> String,
) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    // A reader that has seen enough (`| head`) is no error.
    let mut print = |index: usize, line: &str| {
        let text = shown(index, line);
        text.is_empty() || writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
    };
    let cannot = |error: io::Error| Failure::failed(format_args!("{}: {error}", folder.display()));
    for (index, file) in files.iter().enumerate() {
        for line in logs::tail(file, args.lines).map_err(cannot)? {
            if !print(index, &line) {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    if args.follow {
        follow::follow_until(folder, files, nobody_reads, print).map_err(cannot)?;
    }
    Ok(ExitCode::SUCCESS)
}
