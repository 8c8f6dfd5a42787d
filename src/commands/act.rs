//! `chatctl start`, `stop`, `restart`, `reload`, `shutdown`: asked of the supervisor, and waited for.

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
        client::act(&state_dir, action, &args.apps).await.map_err(|e| super::unanswered(&state_dir, &e))
    };
    let outcomes = super::block_on(asked)?;
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
    let ok = outcomes.iter().all(|outcome| outcome.ok);
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed as u8) })
}

pub(crate) fn shut_down(args: &ConfigArg) -> Result<ExitCode, Failure> {
    let state_dir = super::state_dir(args)?;
    let asked = async { client::shut_down(&state_dir).await.map_err(|e| super::unanswered(&state_dir, &e)) };
    super::block_on(asked)?;
    let _ = io::stdout().write_all(b"every app has stopped, and the supervisor with them\n");
    Ok(ExitCode::SUCCESS)
}
