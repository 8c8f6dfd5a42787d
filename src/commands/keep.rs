//! `chatctl keep`: what outlives a supervisor.

use crate::{
    cli::Keep,
    error::Failure,
    listen::Inherited,
    supervisor::keeper::{self, Bounds},
};
use std::{
    os::{fd::OwnedFd, unix::net::UnixListener},
    process::ExitCode,
};

pub(crate) fn run(args: &Keep, mut inherited: Inherited) -> Result<ExitCode, Failure> {
    let chat = inherited.chat();
    let (Some(control), Some(keep)) = (inherited.control, inherited.go) else {
        return Err(Failure::usage("this is what a supervisor starts: it has no sockets to keep"));
    };
    let keep = UnixListener::from(OwnedFd::from(keep));
    let bounds = Bounds { size: args.size, retain: args.retain };
    keeper::run(chat, control, keep, &args.log, bounds)?;
    Ok(ExitCode::SUCCESS)
}
