//! `chatctl supervise`: keep the apps up.

use crate::{cli::Supervise, error::Failure};
use std::process::ExitCode;

pub(crate) fn run(_args: &Supervise) -> Result<ExitCode, Failure> {
    Err(Failure::failed("not yet"))
}
