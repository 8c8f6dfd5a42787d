//! One version of an app: its program, its configuration, its sockets. Held, not looked up: what was replaced on disk
//! meanwhile can still be started, so there is always a way back to what worked.

use super::sockets::Sockets;
use crate::config::{App, Config, Server};
use anyhow::{Context, Result};
use rustix::fs::{MemfdFlags, memfd_create};
use std::{
    fs::File,
    io::Write,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

/// Held programs have numbers from here on, out of the way of those a child is given.
const HELD_FROM: i32 = 100;

/// See the module.
pub(super) struct Version {
    pub(super) app: App,
    pub(super) sockets: Arc<Sockets>,
    server: Server,
    program: PathBuf,
    held: OwnedFd,
    /// chat.toml as it was read.
    text: OwnedFd,
    config: Option<PathBuf>,
}

impl Version {
    /// The app as `config` and the file at `program` are now.
    ///
    /// # Errors
    /// The program is not there, or cannot be run.
    pub(super) fn new(config: &Config, app: &App, program: &Path, sockets: Arc<Sockets>) -> Result<Self> {
        let file = File::open(program).with_context(|| format!("cannot open {}", program.display()))?;
        let mode = file.metadata()?.mode();
        anyhow::ensure!(mode & 0o111 != 0, "{} is not executable", program.display());
        let held = rustix::io::fcntl_dupfd_cloexec(&file, HELD_FROM)?;
        let text = memfd_create("chat.toml", MemfdFlags::CLOEXEC)?;
        File::from(text.try_clone()?).write_all(config.text.as_bytes())?;
        Ok(Self {
            app: app.clone(),
            sockets,
            server: config.server.clone(),
            program: program.to_owned(),
            held,
            text,
            config: config.path.clone(),
        })
    }

    /// Whether `config` says the same of it; the program is not looked at.
    pub(super) fn agrees(&self, config: &Config, app: &App) -> bool {
        self.app == *app && self.server == config.server
    }

    /// What to execute: the path while it still is this program, else the held file.
    pub(super) fn executable(&self) -> PathBuf {
        let same = || {
            let (held, there) =
                (File::from(self.held.try_clone().ok()?).metadata().ok()?, self.program.metadata().ok()?);
            Some((held.dev(), held.ino()) == (there.dev(), there.ino()))
        };
        if same() == Some(true) {
            self.program.clone()
        } else {
            format!("/proc/self/fd/{}", self.held.as_raw_fd()).into()
        }
    }

    /// Its arguments; chat.toml's text comes on standard input.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["serve".to_owned(), self.app.name.clone(), "--config-on-stdin".to_owned()];
        if let Some(path) = &self.config {
            arguments.extend(["--config".to_owned(), path.display().to_string()]);
        }
        arguments
    }

    /// chat.toml's text, to be read from its beginning.
    pub(super) fn text(&self) -> Result<File> {
        Ok(File::open(format!("/proc/self/fd/{}", self.text.as_raw_fd()))?)
    }
}
