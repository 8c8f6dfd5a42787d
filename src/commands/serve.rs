//! `chatctl serve`: one chat server in the foreground.

use crate::{cli::Serve, error::Failure, server::listener::Inherited};
use std::process::ExitCode;

pub(crate) fn run(_args: &Serve, _inherited: Inherited) -> Result<ExitCode, Failure> {
    Err(Failure::failed("not yet"))
}
