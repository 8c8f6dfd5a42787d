//! Root's rights are given up before anybody is listened to.
//!
//! Bound is the port, read are certificate and keys; from then on the process is `user`'s, with the groups it is in, and can
//! gain nothing by what it runs (no_new_privs). Its journal lies in a folder of its own. What it is to read again later
//! (certificate, keys, pages) must be readable for that user.

use crate::{error::Failure, owner::Owner};
use nix::unistd::{Gid, Uid, chown, initgroups, setgid, setgroups, setuid};
use std::{
    ffi::CString,
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
};

/// Becomes this user for good; `journal` and the folder that it is in will be the user's, below `state_dir`.
///
/// # Errors
/// This process may not, or the journal cannot be given away.
pub(super) fn give_up(
    user: Option<&str>,
    group: Option<&str>,
    journal: Option<&Path>,
    state_dir: &Path,
) -> Result<(), Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::usage(format_args!("cannot run as {}: {error}", user.or(group).unwrap_or_default()))
    };
    let owner = Owner::of(user, group).map_err(|error| cannot(&error))?;
    let (is_user, is_group) = (Uid::effective(), Gid::effective());
    if owner.user.as_ref().is_none_or(|user| user.uid == is_user)
        && owner.group.is_none_or(|group| group == is_group)
    {
        return confine().map_err(|error| cannot(&error));
    }
    if !is_user.is_root() {
        return Err(cannot(&"only root may become somebody else")
            .hint("leave out `user` and `group`, or start it as root"));
    }
    if let Some(journal) = journal {
        give_away(journal, &owner, state_dir)
            .map_err(|error| cannot(&format_args!("{}: {error}", journal.display())))?;
    }
    become_owner(&owner).map_err(|error| cannot(&error))?;
    confine().map_err(|error| cannot(&error))
}

fn confine() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// In this order: who is no longer root may not change groups.
fn become_owner(owner: &Owner) -> nix::Result<()> {
    if let Some(group) = owner.group {
        match owner.user.as_ref().and_then(|user| CString::new(user.name.as_str()).ok()) {
            Some(name) => initgroups(&name, group)?,
            None => setgroups(&[group])?,
        }
        setgid(group)?;
    }
    owner.user.as_ref().map_or(Ok(()), |user| setuid(user.uid))
}

/// Makes the folder of the journal and what is in it the user's, and the way there passable.
fn give_away(journal: &Path, owner: &Owner, state_dir: &Path) -> io::Result<()> {
    let Some(folder) = journal.parent() else { return Ok(()) };
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let (user, group) = (owner.user.as_ref().map(|user| user.uid), owner.group);
    let files = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let files = files.iter().filter(|file| file.file_type().is_ok_and(|kind| kind.is_file()));
    for path in files.map(fs::DirEntry::path).chain([folder.to_owned()]) {
        chown(&path, user, group)?;
    }
    for folder in [folder.parent(), Some(state_dir)].into_iter().flatten() {
        make_passable(folder)?;
    }
    Ok(())
}

/// Others may go through a folder of root's, and not look around in it.
fn make_passable(folder: &Path) -> io::Result<()> {
    let is = fs::metadata(folder)?;
    if is.uid() == 0 && is.mode() & 0o011 != 0o011 {
        fs::set_permissions(folder, Permissions::from_mode(is.mode() & 0o7777 | 0o011))?;
    }
    Ok(())
}
