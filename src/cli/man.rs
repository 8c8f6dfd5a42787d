//! Manual pages, made of the same texts as `--help`.

use super::Cli;
use clap::CommandFactory;
use std::{io, path::Path};

/// Writes `chatctl.1` and a page for each command.
///
/// # Errors
/// The folder cannot be made or written.
pub(crate) fn write_pages(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)
}
