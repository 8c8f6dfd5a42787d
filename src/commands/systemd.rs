//! `chatctl systemd`: prints a unit for this chat.toml.

use crate::{
    cli::Systemd,
    config::Config,
    error::Failure,
    systemd::{self, Service},
};
use std::{
    io::{self, Write},
    process::ExitCode,
};

pub(crate) fn run(args: &Systemd) -> Result<ExitCode, Failure> {
    let config = Config::load(args.config.config.as_deref())?;
    let program = match &args.program {
        Some(program) => program.clone(),
        None => {
            std::env::current_exe().map_err(|error| Failure::failed(format_args!("where am I? {error}")))?
        }
    };
    let unit = if args.socket {
        systemd::socket(&config)
    } else {
        let service = Service { program: &program, of_user: args.user, run_as: args.run_as.as_deref() };
        systemd::service(&config, &service)
    };
    // A reader that has seen enough (`| head`) is no error.
    let _ = io::stdout().write_all(unit.as_bytes());
    Ok(ExitCode::SUCCESS)
}
