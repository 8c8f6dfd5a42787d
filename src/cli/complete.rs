//! Shell completions. A shell asks the program itself, so the names of apps are those of the chat.toml that is meant.

use crate::config::Config;
use clap_complete::{CompleteEnv, CompletionCandidate, env::Shells};
use std::{ffi::OsStr, io, path::PathBuf};

/// The shells that are known.
pub(super) const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];
/// What a shell sets to ask.
const ASKED_BY: &str = "COMPLETE";
/// How the program is called.
const NAME: &str = "chatctl";
/// zsh loads what is in its `$fpath` when it is first asked for, and expects an answer to that too.
const FIRST_TIME: &[u8] = b"[[ ${funcstack[1]} == _chatctl ]] && _clap_dynamic_completer_chatctl \"$@\"\n";

/// Answers a shell that asks for completions, and exits; returns when none does.
pub(super) fn answer(command: impl Fn() -> clap::Command) {
    CompleteEnv::with_factory(command).var(ASKED_BY).bin(NAME).complete();
}

/// What makes a shell ask.
///
/// # Errors
/// There is no such shell.
pub(crate) fn registration(shell: &str) -> io::Result<Vec<u8>> {
    let shells = Shells::builtins();
    let shell = shells.completer(shell).ok_or_else(|| {
        io::Error::other(format!("no completions for {shell}; there are {}", SHELLS.join(", ")))
    })?;
    let mut script = Vec::new();
    shell.write_registration(ASKED_BY, NAME, NAME, NAME, &mut script)?;
    if shell.is("zsh") {
        script.extend_from_slice(FIRST_TIME);
    }
    Ok(script)
}

/// The apps of the configuration that the command line names, or of the one that would be found.
pub(super) fn apps(begun: &OsStr) -> Vec<CompletionCandidate> {
    let begun = begun.to_string_lossy();
    let Ok(config) = Config::load(named(std::env::args_os()).as_deref()) else { return Vec::new() };
    let fitting = config.apps.into_iter().filter(|app| app.name.starts_with(&*begun));
    fitting
        .map(|app| {
            let what = match (&app.command, app.enabled) {
                (_, false) => "disabled".to_owned(),
                (Some(command), _) => command.argv.join(" "),
                (None, _) => format!("profile {}", app.profile.as_str()),
            };
            CompletionCandidate::new(app.name).help(Some(what.into()))
        })
        .collect()
}

/// What follows `--config`.
fn named(arguments: impl Iterator<Item = std::ffi::OsString>) -> Option<PathBuf> {
    let mut arguments = arguments.skip_while(|argument| argument != "--config").skip(1);
    arguments.next().map(PathBuf::from)
}
