//! `chatctl init`: a chat.toml to begin with.

use crate::{
    cli::Init,
    config::{DEFAULT, schema},
    error::Failure,
    migrate::{self, Found, Migrated, Place},
};
use std::{
    fs::{File, Permissions},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, absolute},
    process::ExitCode,
};
use tempfile::Builder;

/// What machine code begins with (elf(5)).
const MACHINE_CODE: [u8; 4] = *b"\x7fELF";

pub(crate) fn run(args: &Init) -> Result<ExitCode, Failure> {
    let file = args.file.display();
    let said = match &args.from {
        None => {
            write(&args.file, &format!("{}{DEFAULT}", schema::hint()), args.force)?;
            format!("wrote {file}: every key with its default\nnext: chatctl check, then chatctl supervise\n")
        }
        Some(from) => {
            let cannot = |error| Failure::failed(format_args!("where am I? {error}"));
            let (from, to) = (absolute(from).map_err(cannot)?, absolute(&args.file).map_err(cannot)?);
            let place = Place { from: &from, to: &to, env: args.env.as_deref(), look: &look, read: &read };
            let migrated = migrate::migrate(&place)?;
            write(&args.file, &migrated.text, args.force)?;
            format!("wrote {file}: {}", outcome(&migrated, args))
        }
    };
    let _ = io::stdout().write_all(said.as_bytes());
    Ok(ExitCode::SUCCESS)
}

fn look(path: &Path) -> Found {
    let mut begin = [0; 4];
    match File::open(path).and_then(|mut file| file.read(&mut begin)) {
        Err(_) => Found::Nothing,
        Ok(_) if begin == MACHINE_CODE => Found::Binary,
        Ok(_) => Found::Text,
    }
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(migrate::LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// For people: what became of the pm2 file, and what is left to do.
fn outcome(migrated: &Migrated, args: &Init) -> String {
    let from = args.from.as_deref().unwrap_or(Path::new("")).display();
    let count = migrated.apps.len();
    let mut text = format!("{count} app{} of {from}\n", if count == 1 { "" } else { "s" });
    let width = migrated.apps.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    migrated.apps.iter().for_each(|(name, is)| text.push_str(&format!("  {name:width$}  {is}\n")));
    if !migrated.notes.is_empty() {
        text.push_str("not carried over, or not as it stood (also as comments in the file):\n");
    }
    for note in &migrated.notes {
        let line = if note.line == 0 { String::new() } else { format!(":{}", note.line) };
        text.push_str(&format!("  {from}{line}: {}: {}\n", note.what, note.why));
    }
    if let Some(command) = &migrated.by_node {
        text.push_str(&format!("what only Node can find out it tells, and again:\n  {command}\n"));
    }
    let config = if args.file == Path::new("chat.toml") {
        String::new()
    } else {
        format!(" --config {}", args.file.display())
    };
    text + &format!(
        "next: chatctl check{config}; then pm2 delete all; then chatctl supervise --detach{config}\n"
    )
}

/// Whole or not at all; a file that is there stays, unless it is to be replaced.
fn write(file: &Path, text: &str, replace: bool) -> Result<(), Failure> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // What is said of the file that is written first would only confuse.
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Failure::failed(format_args!(
            "cannot write {}: there is no folder {}",
            file.display(),
            folder.display()
        )),
        kind => Failure::failed(format_args!("cannot write {}: {kind}", file.display())),
    };
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
