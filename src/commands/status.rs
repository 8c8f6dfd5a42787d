//! `chatctl status`: how the supervised apps are.

use crate::{cli::Status, error::Failure};
use std::process::ExitCode;

pub(crate) fn run(_args: &Status) -> Result<ExitCode, Failure> {
    Err(Failure::failed("not yet"))
}
