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
    let folder = folder(&state_dir)?;
    let log = |name: &String| folder.join(format!("{name}.log"));
    // Of those that have yet to begin one, only who follows has something.
    let mut known = known(args, &state_dir);
    known.retain(|name| args.follow || log(name).exists());
    if !known.iter().chain(&args.apps).any(|name| log(name).exists()) {
        return Err(Failure::usage(format_args!("no app has written a log in {} yet", folder.display()))
            .hint("they do when they run: chatctl supervise --detach"));
    }
    if let Some(name) = args.apps.iter().find(|name| !log(name).exists()) {
        let there = format!("there is no log of an app named {name} in {}", folder.display());
        return Err(Failure::usage(there).hint(format_args!("there are {}", known.join(", "))));
    }
    let names = if args.apps.is_empty() { known } else { args.apps.clone() };
    let files: Vec<PathBuf> = names.iter().map(log).collect();
    let width = widest(&names);
    read(args, &folder, &files, |index, line| {
        let Some(name) = names.get(index) else { return String::new() };
        match (args.json, names.len()) {
            (true, _) => {
                let (head, text) = line.split_once(" | ").unwrap_or(("", line));
                let (time, stream) = head.split_once(' ').unwrap_or(("", ""));
                json!({ "time": time, "app": name, "stream": stream, "line": text }).to_string()
            }
            (false, 1) => line.to_owned(),
            (false, _) => format!("{name:<width$} {line}"),
        }
    })
}

pub(crate) fn events(args: &Read) -> Result<ExitCode, Failure> {
    let state_dir = super::state_dir(&args.config)?;
    folder(&state_dir)?;
    let file = events::file(&state_dir);
    let width = widest(&known(args, &state_dir));
    read(args, &state_dir.join("logs"), &[file], |_, line| {
        let Ok(happened) = serde_json::from_str::<Happened>(line) else { return String::new() };
        if !args.apps.is_empty() && !args.apps.contains(&happened.app) {
            return String::new();
        }
        if args.json { line.to_owned() } else { shown(&happened, width) }
    })
}

/// Where the files are. What may not be looked at is not said to be missing.
fn folder(state_dir: &Path) -> Result<PathBuf, Failure> {
    let folder = state_dir.join("logs");
    match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(super::anothers(state_dir)),
        _ => Ok(folder),
    }
}

/// In the time of this machine; the names are so wide.
fn shown(happened: &Happened, width: usize) -> String {
    let local = happened.time.parse::<jiff::Timestamp>().map(|time| {
        time.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    });
    let time = local.unwrap_or_else(|_| happened.time.clone());
    format!("{time}  {:<width$}  {happened}", happened.app)
}

/// The apps of chat.toml; should that be broken, those that have a log.
fn known(args: &Read, state_dir: &Path) -> Vec<String> {
    let configured = Config::load(args.config.config.as_deref());
    let configured = configured.map(|config| config.enabled().map(|app| app.name.clone()).collect());
    configured.unwrap_or_else(|_| {
        let files = std::fs::read_dir(state_dir.join("logs")).into_iter().flatten().flatten();
        let names =
            files.filter_map(|file| file.file_name().to_str()?.strip_suffix(".log").map(str::to_owned));
        names.filter(|name| name != "supervisor").collect()
    })
}

fn widest(names: &[String]) -> usize {
    names.iter().map(|name| name.chars().count()).max().unwrap_or(0)
}

/// Waits until whoever reads what is printed is gone.
fn nobody_reads() {
    let out = io::stdout();
    // No event is asked for: what comes all the same are an error and the end (poll(2)).
    while let Err(Errno::INTR) = poll(&mut [PollFd::new(&out, PollFlags::empty())], None) {}
}

/// Prints the last lines of each file as `shown` makes them (empty: it is none of them), then those that are added.
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
    let mut from = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let (lines, end) =
            logs::tail_and_end(file, args.lines, |line| !shown(index, line).is_empty()).map_err(cannot)?;
        for line in lines {
            if !print(index, &line) {
                return Ok(ExitCode::SUCCESS);
            }
        }
        from.push((file.clone(), end));
    }
    if args.follow {
        follow::follow_until(folder, &from, nobody_reads, print).map_err(cannot)?;
    }
    Ok(ExitCode::SUCCESS)
}
