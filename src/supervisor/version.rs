//! One version of an app: its program, its configuration, its sockets. Held, not looked up: what was replaced on disk
//! meanwhile can still be started, so there is always a way back to what worked.

use super::keeper::Held;
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
    pub(super) held: Arc<Held>,
    server: Server,
    program: PathBuf,
    file: OwnedFd,
    /// chat.toml as it was read.
    text: OwnedFd,
    config: Option<PathBuf>,
}

impl Version {
    /// The app as `config` and the file at `program` are now.
    ///
    /// # Errors
    /// The program is not there, or cannot be run.
    pub(super) fn new(config: &Config, app: &App, program: &Path, held: Arc<Held>) -> Result<Self> {
        let file = File::open(program).with_context(|| format!("cannot open {}", program.display()))?;
        anyhow::ensure!(file.metadata()?.mode() & 0o111 != 0, "{} is not executable", program.display());
        Self::of(config, app, program, &file, held)
    }

    /// What a child was started with that runs already; `config` where that is not to be found out.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub(super) fn adopted(
        config: &Config,
        app: &App,
        program: &Path,
        held: Arc<Held>,
        pid: u32,
    ) -> Result<Self> {
        let its = std::fs::read_to_string(format!("/proc/{pid}/fd/0")).ok();
        let its = its.and_then(|text| Config::from_text(&text, config.path.as_deref()).ok());
        let (config, app) =
            its.as_ref().and_then(|its| Some((its, its.app(&app.name)?))).unwrap_or((config, app));
        match File::open(format!("/proc/{pid}/exe")) {
            Ok(file) => Self::of(config, app, program, &file, held),
            Err(_) => Self::new(config, app, program, held),
        }
    }

    fn of(config: &Config, app: &App, program: &Path, file: &File, held: Arc<Held>) -> Result<Self> {
        let text = memfd_create("chat.toml", MemfdFlags::CLOEXEC)?;
        File::from(text.try_clone()?).write_all(config.text.as_bytes())?;
        Ok(Self {
            app: app.clone(),
            held,
            server: config.server.clone(),
            program: program.to_owned(),
            file: rustix::io::fcntl_dupfd_cloexec(file, HELD_FROM)?,
            text,
            config: config.path.clone(),
        })
    }

    /// Whether the program at its path still is this one.
    pub(super) fn is_current(&self) -> bool {
        let same = || {
            let held = File::from(self.file.try_clone().ok()?).metadata().ok()?;
            let there = self.program.metadata().ok()?;
            Some((held.dev(), held.ino()) == (there.dev(), there.ino()))
        };
        same() == Some(true)
    }

    /// Whether `config` says the same of it; the program is not looked at.
    pub(super) fn agrees(&self, config: &Config, app: &App) -> bool {
        self.app == *app && self.server == config.server
    }

    /// What to execute: the path while it still is this program, else the held file.
    pub(super) fn executable(&self) -> PathBuf {
        if self.is_current() {
            self.program.clone()
        } else {
            format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
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
