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
    use super::*;
    Ok(Config {
        path: None,
        state_dir: "/tmp".into(),
        apps: vec![App {
            name: "chatting".into(),
            enabled: true,
            profile: Profile::Local,
            listen: "127.0.0.1:3000".parse().unwrap(),
            max_memory_restart: None,
            watch: Watch::Off,
            ignore_watch: vec![],
            watch_delay: Default::default(),
            autorestart: true,
            min_uptime: Default::default(),
            max_restarts: 1,
            restart_delay: None,
            exp_backoff_restart_delay: Default::default(),
            listen_timeout: Default::default(),
            kill_timeout: Default::default(),
            env: Default::default(),
        }],
        server: Server {
            page: Page { enabled: true, dir: None },
            cors_origins: vec!["*".into()],
            timezone: None,
            limits: Limits {
                max_payload: 1_000_000,
                max_queue: 8192,
                max_queue_bytes: 32 << 20,
                max_name: 256,
                max_room: 256,
                max_rooms_per_socket: 100,
            },
        },
    })
}

impl From<ConfigError> for crate::error::Failure {
    fn from(_: ConfigError) -> Self {
        Self::usage("todo")
    }
}
