//! Errors at the boundary: what a person reads, and the exit code a script sees.
//!
//! Inside, errors are typed where somebody acts on them; here they end as one message, an optional hint
//! (what to do about it) and one of the documented exit codes.

use std::{fmt, io::Write, process::ExitCode};

/// The documented exit codes of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did not work, or (in `status`) something is not healthy.
    Failed = 1,
    /// The command line or the configuration is wrong; nothing was started.
    Usage = 2,
    /// No supervisor runs on this state directory.
    NoSupervisor = 3,
}

/// A command that did not work: the reason, the way out, the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// Anything that failed at run time.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// The caller asked for something that cannot be: bad arguments, bad configuration.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A failure with its exit code.
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), hint: None }
    }

    /// Adds the sentence that says what to do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Tells the person on standard error, and who started it where it listens (`STATUS=`, sd_notify(3)), and gives
    /// the exit code. A closed standard error is no reason to panic.
    pub(crate) fn report(&self) -> ExitCode {
        let _ = writeln!(std::io::stderr(), "{self}");
        let status = self.message.lines().map(str::trim).collect::<Vec<_>>().join("; ");
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(&status)]);
        ExitCode::from(self.exit as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chatctl: {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::failed(format_args!("{error:#}"))
    }
}
