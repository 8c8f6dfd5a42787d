//! `chatctl supervise`: keep the apps up.

use crate::{
    cli::Supervise,
    config::Config,
    error::Failure,
    listen::Inherited,
    supervisor::{self, OwnLog},
};
use std::{io::Write, process::ExitCode};

pub(crate) fn run(args: &Supervise, inherited: Inherited) -> Result<ExitCode, Failure> {
    let config = Config::load(args.config.config.as_deref())?;
    if args.detach {
        let pid = super::block_on(supervisor::detach(&config))?;
        let _ = writeln!(std::io::stdout(), "chatctl: every app is ready; the supervisor is pid {pid}");
        return Ok(ExitCode::SUCCESS);
    }
    if args.background {
        // A session of its own: the terminal that started it may go.
        let _ = rustix::process::setsid();
    }
    match args.background.then(|| OwnLog::open(&config.state_dir)) {
        Some(Ok(file)) => super::log::start_in(file, &config.server.log),
        _ => super::log::start(&config.server.log, true),
    }
    super::block_on(supervisor::run(config, args.background, inherited.chats))?;
    Ok(ExitCode::SUCCESS)
}
