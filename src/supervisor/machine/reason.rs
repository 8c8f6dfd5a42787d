//! Why something happens to an app: words for people, and a class for those who count or act on it.

use std::fmt;

/// What kind of reason it is. Names are part of the API: they stand in `status --json`, events, metrics and hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::supervisor) enum Class {
    /// It ended, or could not be started.
    Crash,
    /// It did not answer.
    Hang,
    /// It was not ready in time.
    NotReady,
    /// It used more memory than it may.
    Memory,
    /// The new version failed, and the last good one came back.
    RolledBack,
    /// A file it is made of changed.
    File,
    /// chat.toml changed, or it is not what was taken over.
    Config,
    /// A person asked for it.
    Asked,
    /// The clock did.
    Cron,
}

impl Class {
    /// All there are.
    pub(in crate::supervisor) const ALL: [Self; 9] = [
        Self::Crash,
        Self::Hang,
        Self::NotReady,
        Self::Memory,
        Self::RolledBack,
        Self::File,
        Self::Config,
        Self::Asked,
        Self::Cron,
    ];

    /// Its name.
    pub(in crate::supervisor) fn as_str(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Hang => "hang",
            Self::NotReady => "not-ready",
            Self::Memory => "memory",
            Self::RolledBack => "rolled-back",
            Self::File => "file",
            Self::Config => "config",
            Self::Asked => "asked",
            Self::Cron => "cron",
        }
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::supervisor) struct Reason {
    pub(in crate::supervisor) class: Class,
    pub(in crate::supervisor) text: String,
}

impl Reason {
    /// In these words.
    pub(in crate::supervisor) fn new(class: Class, text: impl Into<String>) -> Self {
        Self { class, text: text.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        Self::new(Class::Asked, text)
    }
}
