//! Reading and checking chat.toml: all problems at once, each with line and key.

use super::Config;
use std::path::Path;

/// A configuration that cannot be used.
#[derive(Debug)]
pub(crate) struct ConfigError {
    /// What is wrong, all of it.
    pub(crate) problems: Vec<Problem>,
}

/// One thing wrong in the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Line, from 1; 0 when it is not about a line.
    pub(crate) line: usize,
    /// The key, as `app.chatting.listen`.
    pub(crate) key: String,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

pub(crate) fn load(_file: Option<&Path>) -> Result<Config, ConfigError> {
    Err(ConfigError { problems: Vec::new() })
}
