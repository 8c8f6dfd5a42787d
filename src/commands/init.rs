//! `chatctl init`: a chat.toml to begin with.

use crate::{
    cli::Init,
    config::{DEFAULT, schema},
    error::Failure,
};
use std::{
    fs::Permissions,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::ExitCode,
};
use tempfile::Builder;

pub(crate) fn run(args: &Init) -> Result<ExitCode, Failure> {
    let text = format!("{}{DEFAULT}", schema::hint());
    write(&args.file, &text, args.force)?;
    let _ = writeln!(
        io::stdout(),
        "wrote {}: every key with its default\nnext: chatctl supervise",
        args.file.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// Whole or not at all; a file that is there stays, unless it is to be replaced.
fn write(file: &Path, text: &str, replace: bool) -> Result<(), Failure> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot = |error: io::Error| Failure::failed(format_args!("cannot write {}: {error}", file.display()));
    let mode = Permissions::from_mode(0o644);
    let mut staged =
        Builder::new().prefix(".chat.toml.").permissions(mode).tempfile_in(folder).map_err(cannot)?;
    staged.write_all(text.as_bytes()).and_then(|()| staged.as_file().sync_all()).map_err(cannot)?;
    let placed = if replace { staged.persist(file) } else { staged.persist_noclobber(file) };
    match placed.map_err(|error| error.error) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Failure::usage(format_args!("{} is there already; nothing was written", file.display()))
                .hint("--force replaces it, or name another file: chatctl init other.toml"))
        }
        Err(error) => Err(cannot(error)),
    }
}
