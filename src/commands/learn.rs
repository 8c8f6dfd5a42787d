//! `chatctl completions`, `man`, `schema`: what shells, `man` and editors know of chatctl.

use crate::{
    cli::{self, Completions, Man},
    config::schema,
    error::Failure,
};
use std::{
    io::{self, Write},
    process::ExitCode,
};

pub(crate) fn completions(args: &Completions) -> Result<ExitCode, Failure> {
    let script = cli::registration(&args.shell).map_err(Failure::failed)?;
    Ok(print(&script))
}

pub(crate) fn man(args: &Man) -> Result<ExitCode, Failure> {
    let cannot = |error| Failure::failed(format_args!("cannot write to {}: {error}", args.folder.display()));
    cli::write_pages(&args.folder).map_err(cannot)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn schema() -> Result<ExitCode, Failure> {
    Ok(print(format!("{:#}\n", schema::schema()).as_bytes()))
}

/// A reader that has seen enough (`| head`) is no error.
fn print(bytes: &[u8]) -> ExitCode {
    let _ = io::stdout().write_all(bytes);
    ExitCode::SUCCESS
}
