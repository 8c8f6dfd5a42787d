//! One version of an app: its program, its configuration, its sockets. Held, not looked up: what was replaced on disk
//! meanwhile can still be started, so there is always a way back to what worked.

use super::{keeper::Held, machine::Number};
use crate::{
    config::{App, Config, KillSignal, Server},
    control::client,
    heap,
    lock::lock,
    owner::Owner,
};
use anyhow::{Context, Result};
use rustix::fs::{MemfdFlags, memfd_create};
use std::{
    env,
    fs::File,
    io::Write,
    net::SocketAddr,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::MetadataExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Held programs have numbers from here on, out of the way of those a child is given.
const HELD_FROM: i32 = 100;

/// See the module.
pub(super) struct Version {
    /// Its own, and higher than any before.
    pub(super) number: Number,
    pub(super) app: App,
    held: Mutex<Option<Arc<Held>>>,
    pub(super) server: Server,
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
        Owner::of(app.user.as_deref(), app.group.as_deref())?;
        if let Some(command) = &app.command {
            anyhow::ensure!(command.cwd.is_dir(), "cwd {} is not a folder", command.cwd.display());
        }
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
            Ok(file) if app.command.is_none() => Self::of(config, app, program, &file, held),
            _ => Self::new(config, app, program, held),
        }
    }

    fn of(config: &Config, app: &App, program: &Path, file: &File, held: Arc<Held>) -> Result<Self> {
        static VERSIONS: AtomicU64 = AtomicU64::new(1);
        let text = memfd_create("chat.toml", MemfdFlags::CLOEXEC)?;
        File::from(text.try_clone()?).write_all(config.text.as_bytes())?;
        Ok(Self {
            number: VERSIONS.fetch_add(1, Relaxed),
            app: app.clone(),
            held: Mutex::new(Some(held)),
            server: config.server.clone(),
            program: program.to_owned(),
            file: rustix::io::fcntl_dupfd_cloexec(file, HELD_FROM)?,
            text,
            config: config.path.clone(),
        })
    }

    /// Its sockets and its keeper, until it has let go of them.
    pub(super) fn held(&self) -> Option<Arc<Held>> {
        lock(&self.held).clone()
    }

    /// Where clients connect: what `listen` says, with the port that was bound, should it be any. `None`: a program of
    /// its own listens where it wants to.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        let mut address = self.app.listen?;
        if let Some(bound) = self.held().and_then(|held| held.sockets.bound()) {
            address.set_port(bound.port());
        }
        Some(address)
    }

    /// Whether a child of this version can talk to one of the other: who answers there is found by the control socket.
    pub(super) fn can_reach(&self, other: &Self) -> bool {
        let sockets = [self.held(), other.held()];
        let [Some(own), Some(its)] = &sockets else { return false };
        own.sockets.has_control_of(&its.sockets)
    }

    /// Lets go of its sockets: nobody is to come, and who connects is refused instead of waiting in vain.
    pub(super) fn let_go(&self) {
        lock(&self.held).take();
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

    /// What is to be executed: a chat server, or the program that is configured, with its arguments. The path is
    /// taken while it still is the program that was checked, else the held file. `notify` is where it says how far it
    /// is, whoever it runs as.
    ///
    /// # Errors
    /// There is no such user or group, it cannot reach `notify`, or no descriptor is left.
    pub(super) fn command(&self, notify: &Path) -> Result<Command> {
        let Some(own) = &self.app.command else { return self.server_command(notify) };
        let [program, arguments @ ..] = own.argv.as_slice() else { anyhow::bail!("the command is empty") };
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&own.cwd).stdin(Stdio::null());
        let owner = self.owner()?;
        owner.take(&mut command);
        if let Err(error) = owner.let_in(notify)
            && own.wait_ready
        {
            return Err(error);
        }
        Ok(command)
    }

    /// How a child of it is asked to go.
    pub(super) fn kill_signal(&self) -> KillSignal {
        self.app.command.as_ref().map_or(KillSignal::default(), |command| command.kill_signal)
    }

    /// Who it runs as.
    ///
    /// # Errors
    /// There is no such user or group.
    pub(super) fn owner(&self) -> Result<Owner> {
        Owner::of(self.app.user.as_deref(), self.app.group.as_deref())
    }

    /// chat.toml's text comes on standard input. Who it is to be it becomes by itself, once it has what takes more rights.
    fn server_command(&self, notify: &Path) -> Result<Command> {
        let owner = self.owner()?;
        owner.let_in(notify)?;
        // There the next server asks for the connections of this one.
        let control = client::stats_socket(notify.parent().unwrap_or(notify), &self.app.name);
        if control.exists() {
            owner.let_in(&control)?;
        }
        let held = || format!("/proc/self/fd/{}", self.file.as_raw_fd()).into();
        let program: PathBuf = if self.is_current() { self.program.clone() } else { held() };
        let mut command = Command::new(program);
        command.arg0("chatctl").arg("serve").arg(&self.app.name).arg("--config-on-stdin");
        if let Some(path) = &self.config {
            command.arg("--config").arg(path);
        }
        let (tunables, ours) = heap::TUNABLES;
        // Who has set some of their own, here or in `env`, knows better.
        if env::var_os(tunables).is_none() {
            command.env(tunables, ours);
        }
        command.stdin(self.text()?);
        Ok(command)
    }

    /// chat.toml's text, to be read from its beginning.
    fn text(&self) -> Result<File> {
        Ok(File::open(format!("/proc/self/fd/{}", self.text.as_raw_fd()))?)
    }
}
