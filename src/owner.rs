//! Who a process runs as: users and groups by name or number.

use anyhow::{Context, Result};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use std::{
    ffi::CString,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

/// To read a file, and to pass through a folder, as in the modes of files.
pub(crate) const READ: u32 = 0o4;
pub(crate) const PASS: u32 = 0o1;

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
        match notify.ancestors().nth(3).and_then(|above| self.kept_from(above, PASS)) {
            Some(folder) => anyhow::bail!(
                "{} cannot pass through {} to say that it is ready: choose another state_dir",
                user.name,
                folder.display()
            ),
            None => Ok(()),
        }
    }

    /// What keeps the user from doing this with a path, as the modes say: a folder on the way that does not let it pass,
    /// or what is there; `None`: nothing does. Of what is not there, the way to it counts.
    pub(crate) fn kept_from(&self, path: &Path, doing: u32) -> Option<PathBuf> {
        let user = self.user.as_ref().filter(|user| !user.uid.is_root())?;
        let name = CString::new(user.name.as_str()).ok()?;
        let groups = getgrouplist(&name, self.group.unwrap_or(user.gid)).unwrap_or_default();
        let may = |path: &Path, doing: u32| {
            path.metadata().is_ok_and(|is| {
                let whose = match () {
                    () if is.uid() == user.uid.as_raw() => 6,
                    () if groups.contains(&Gid::from_raw(is.gid())) => 3,
                    () => 0,
                };
                is.mode() >> whose & doing == doing
            })
        };
        let there = path.ancestors().find_map(|path| path.canonicalize().ok())?;
        let doing = if path.exists() { doing } else { PASS };
        let way: Vec<&Path> = there.ancestors().skip(1).collect();
        let kept = way.into_iter().rev().find(|folder| !may(folder, PASS));
        kept.or_else(|| Some(&*there).filter(|there| !may(there, doing))).map(Path::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_somebody_from_a_file_is_found() {
        let nobody = Owner::of(Some("nobody"), None).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap();
        let file = folder.join("file");
        fs::write(&file, "").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        for (folder_mode, file_mode, kept) in [
            (0o700, 0o644, Some(&folder)),
            (0o711, 0o644, None),
            (0o711, 0o640, Some(&file)),
            (0o744, 0o644, Some(&folder)),
        ] {
            mode(&folder, folder_mode);
            mode(&file, file_mode);
            assert_eq!(nobody.kept_from(&file, READ).as_ref(), kept, "{folder_mode:o} {file_mode:o}");
        }
        mode(&folder, 0o700);
        assert_eq!(nobody.kept_from(&folder.join("not/there"), READ), Some(folder));
        assert_eq!(nobody.kept_from(Path::new("/not/there"), READ), None);
        assert_eq!(Owner::of(Some("root"), None).unwrap().kept_from(&file, READ), None);
    }
}
