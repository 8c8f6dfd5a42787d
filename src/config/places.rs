//! Where a configuration lies when none is named, and from where its paths start.

use std::path::PathBuf;

/// What of the process's surroundings the configuration depends on.
pub(super) struct Surroundings {
    /// The current directory.
    pub(super) here: PathBuf,
    /// `$HOME`.
    pub(super) home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`.
    pub(super) config_home: Option<PathBuf>,
    /// `$XDG_STATE_HOME`.
    pub(super) state_home: Option<PathBuf>,
    /// `$STATE_DIRECTORY`, set by systemd.
    pub(super) state_directory: Option<PathBuf>,
    pub(super) root: bool,
}

impl Surroundings {
    pub(super) fn real() -> Self {
        let dir = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            here: std::env::current_dir().unwrap_or_else(|_| "/".into()),
            home: dir("HOME"),
            config_home: dir("XDG_CONFIG_HOME"),
            state_home: dir("XDG_STATE_HOME"),
            state_directory: dir("STATE_DIRECTORY"),
            root: rustix::process::geteuid().is_root(),
        }
    }

    /// Where a configuration may lie when none is named.
    pub(super) fn usual_places(&self) -> Vec<PathBuf> {
        let home = self.config_home.clone().or_else(|| Some(self.home.as_ref()?.join(".config")));
        let user = home.map(|home| home.join("chatctl/chat.toml"));
        [Some(self.here.join("chat.toml")), user, Some("/etc/chatctl/chat.toml".into())]
            .into_iter()
            .flatten()
            .collect()
    }

    pub(super) fn state_dir(&self) -> PathBuf {
        let user = || {
            let home = self.state_home.clone().or_else(|| Some(self.home.as_ref()?.join(".local/state")));
            home.unwrap_or_else(|| self.here.clone()).join("chatctl")
        };
        let system = || self.root.then(|| "/var/lib/chatctl".into());
        self.state_directory.clone().or_else(system).unwrap_or_else(user)
    }
}

/// Where paths of the file start.
pub(super) struct Places<'a> {
    pub(super) base: PathBuf,
    pub(super) around: &'a Surroundings,
}

impl Places<'_> {
    pub(super) fn path(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), &self.around.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => self.base.join(text),
        }
    }
}
