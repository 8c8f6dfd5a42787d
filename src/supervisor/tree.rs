//! The tree of processes below a child: who belongs to it, and how all of them are ended.
//!
//! The kernel is asked (`/proc/<pid>/task/<tid>/children`, proc(5)), a few small files a look, however many processes
//! the machine has. The supervisor adopts what lost its parent (it is their subreaper), and ends and reaps it.

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpid};
use std::fs;

/// Makes this process the parent of what its children leave behind.
pub(super) fn adopt_orphans() {
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::warn!("what a child leaves behind cannot be adopted: {error}");
    }
}

/// A process and all below it, itself first.
pub(crate) fn members(root: u32) -> Vec<u32> {
    let mut members = vec![root];
    let mut next = 0;
    while let Some(pid) = members.get(next).copied() {
        next += 1;
        for child in children(pid) {
            if !members.contains(&child) {
                members.push(child);
            }
        }
    }
    members
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Ends a child, its process group and all below it.
pub(super) fn kill(root: u32) {
    let below = members(root);
    if let Some(group) = pid(root) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    for member in below.into_iter().skip(1).filter_map(pid) {
        let _ = kill_process(member, Signal::KILL);
    }
}

/// Ends what a child left behind when it ended, wherever it went: whatever has `marker` in its environment, which
/// only that child was given.
pub(super) fn kill_strays(marker: &str) {
    let inherited = |pid: &u32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes())
    };
    for stray in children(std::process::id()).into_iter().filter(inherited) {
        kill(stray);
        if let Some(stray) = pid(stray) {
            let _ = kill_process(stray, Signal::KILL);
        }
    }
}

/// Ends every child of this process and all below it, but for those called `spared`: nobody is left who they belong to.
pub(super) fn kill_all(spared: &str) {
    let name = |child: &u32| fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
    for stray in children(std::process::id()).into_iter().filter(|child| name(child).trim() != spared) {
        kill(stray);
        if let Some(stray) = pid(stray) {
            let _ = kill_process(stray, Signal::KILL);
        }
    }
}

/// Reaps what was adopted and has ended: children of this process that `own` does not name.
pub(super) fn reap(own: &[u32]) {
    for stray in children(std::process::id()).into_iter().filter(|child| !own.contains(child)) {
        let _ = waitpid(pid(stray), WaitOptions::NOHANG);
    }
}

fn pid(raw: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(raw).ok()?)
}
