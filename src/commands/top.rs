//! `chatctl top`: everything on one screen.

use crate::{cli::ConfigArg, error::Failure, top};
use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

pub(crate) fn run(args: &ConfigArg) -> Result<ExitCode, Failure> {
    let state_dir = super::state_dir(args)?;
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        return Err(Failure::usage("this needs a terminal").hint("`chatctl status --watch` does not"));
    }
    let colour = super::takes_colour(&io::stdout());
    super::block_on(async { Ok(top::run(state_dir, colour).await?) })?;
    Ok(ExitCode::SUCCESS)
}
