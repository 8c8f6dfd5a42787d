//! One short file per subcommand: wiring only.

mod log;
mod serve;
mod status;
mod supervise;

use crate::{
    cli::{Cli, Command},
    error::Failure,
    server::listener::Inherited,
};
use std::process::ExitCode;

/// Runs the command and gives the process's exit code.
pub(crate) fn run(cli: Cli, inherited: Inherited) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Serve(args) => serve::run(&args, inherited),
        Command::Supervise(args) => supervise::run(&args),
        Command::Status(args) => status::run(&args),
    }
}
