//! Who a process runs as: users and groups by name or number.

use anyhow::{Context, Result};
use nix::unistd::{Gid, Group, Uid, User};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
};

/// Who a program runs as.
pub(crate) struct Owner {
    /// With home and shell.
    pub(crate) user: Option<User>,
    /// The group, if not the user's own.
    pub(crate) group: Option<Gid>,
}

impl Owner {
    /// # Errors
    /// There is no such user or group.
    pub(crate) fn of(user: Option<&str>, group: Option<&str>) -> Result<Self> {
        let user = user.map(|name| {
            let by_id = || User::from_uid(Uid::from_raw(name.parse().ok()?)).ok()?;
            User::from_name(name)?.or_else(by_id).with_context(|| format!("there is no user {name}"))
        });
        let group = group.map(|name| {
            let by_id = || Group::from_gid(Gid::from_raw(name.parse().ok()?)).ok()?;
            let found = Group::from_name(name)?.or_else(by_id);
            found.map(|group| group.gid).with_context(|| format!("there is no group {name}"))
        });
        let (user, group) = (user.transpose()?, group.transpose()?);
        let group = group.or(user.as_ref().map(|user| user.gid));
        Ok(Self { user, group })
    }

    /// Makes a program run as it, with what login(1) sets.
    pub(crate) fn take(&self, command: &mut Command) {
        self.group.map(|group| command.gid(group.as_raw()));
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw());
            command.env("HOME", &user.dir).env("SHELL", &user.shell);
            command.env("USER", &user.name).env("LOGNAME", &user.name);
        }
    }

    /// Lets it say how far it is: the socket is its own, and the folders of the sockets let it pass. What else is in
    /// them is for nobody else's eyes by itself.
    pub(crate) fn let_in(&self, notify: &Path) -> Result<()> {
        let Some(user) = &self.user else { return Ok(()) };
        chown(notify, Some(user.uid.as_raw()), None)?;
        for folder in notify.ancestors().skip(1).take(2) {
            let mode = folder.metadata()?.mode();
            fs::set_permissions(folder, fs::Permissions::from_mode(mode | 0o011))?;
        }
        let passes = |folder: &&Path| {
            let bit = |meta: &fs::Metadata| if meta.uid() == user.uid.as_raw() { 0o100 } else { 0o001 };
            folder.metadata().is_ok_and(|meta| meta.mode() & bit(&meta) != 0)
        };
        match notify.ancestors().skip(3).find(|folder| !passes(folder)) {
            Some(folder) => anyhow::bail!(
                "{} cannot pass through {} to say that it is ready: choose another state_dir",
                user.name,
                folder.display()
            ),
            None => Ok(()),
        }
    }
}
