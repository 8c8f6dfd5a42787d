//! `chatctl start`, `stop`, `restart`, `reload`, `shutdown`: asked of the supervisor, and waited for.

use super::progress::Progress;
use crate::{
    cli::{Apps, ConfigArg},
    control::{client, types::Action},
    error::{Exit, Failure},
};
use std::{
    io::{self, Write},
    process::ExitCode,
};

pub(crate) fn run(action: Action, args: &Apps) -> Result<ExitCode, Failure> {
    let state_dir = super::state_dir(&args.config)?;
    let asked = async {
        let progress = Progress::of(&state_dir, &args.apps).await;
        let outcomes = progress.until(client::act(&state_dir, action, &args.apps)).await;
        outcomes.map_err(|e| super::unanswered(&state_dir, &e))
    };
    let outcomes = super::block_on(asked)?;
    let ok = outcomes.iter().all(|outcome| outcome.ok);
    let exit = if ok { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed as u8) };
    if args.json {
        let json = serde_json::to_string_pretty(&outcomes).map_err(|e| Failure::failed(e.to_string()))?;
        let _ = io::stdout().write_all((json + "\n").as_bytes());
        return Ok(exit);
    }
    // What is wrong with chat.toml is wrong for all of them, and said once.
    for same in outcomes.chunk_by(|one, next| !one.ok && !next.ok && one.message == next.message) {
        let names = same.iter().map(|outcome| outcome.app.as_str()).collect::<Vec<_>>().join(", ");
        let line = format!("{names}: {}\n", same[0].message);
        let _ = if same[0].ok {
            io::stdout().write_all(line.as_bytes())
        } else {
            io::stderr().write_all(format!("chatctl: {action}: {line}").as_bytes())
        };
    }
    Ok(exit)
}

pub(crate) fn shut_down(args: &ConfigArg) -> Result<ExitCode, Failure> {
    let state_dir = super::state_dir(args)?;
    let asked = async {
        let progress = Progress::of(&state_dir, &[]).await;
        let done = progress.until(client::shut_down(&state_dir)).await;
        done.map_err(|e| super::unanswered(&state_dir, &e))
    };
    super::block_on(asked)?;
    let _ = io::stdout().write_all(b"every app has stopped, and the supervisor with them\n");
    Ok(ExitCode::SUCCESS)
}
