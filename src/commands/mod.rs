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

/// Runs what waits, on this thread.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format_args!("no runtime: {error}")))?;
    runtime.block_on(future)
}
