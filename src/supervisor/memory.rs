//! How much memory and processor the children use, each with all below it. The home of sysinfo.

use super::tree;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// What one tree of processes uses.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Bytes of the resident sets; what two of them share counts twice.
    pub(super) memory: u64,
    /// Percent of one core, since the last sample.
    pub(super) cpu: f32,
}

/// Bytes of memory there are for this process: the machine's, or what its cgroup may use. 0: not known.
pub(crate) fn of_the_machine() -> u64 {
    let Ok(mut system) = System::new() else { return 0 };
    system.refresh_memory();
    let limit = system.cgroup_limits().map_or(u64::MAX, |cgroup| cgroup.total_memory);
    system.total_memory().min(limit)
}

/// Samples trees of processes by the pid of their root.
pub(super) struct Sampler(System);

impl Sampler {
    /// # Errors
    /// This system does not say what its processes use.
    pub(super) fn new() -> Result<Self, sysinfo::Error> {
        System::new().map(Self)
    }

    /// What each of these uses now; `None` for one that is gone.
    pub(super) fn sample(&mut self, roots: &[u32]) -> Vec<Option<Usage>> {
        let trees: Vec<Vec<Pid>> =
            roots.iter().map(|root| tree::members(*root).into_iter().map(Pid::from_u32).collect()).collect();
        let kind = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
        self.0.refresh_processes_specifics(ProcessesToUpdate::Some(&trees.concat()), true, kind);
        trees.iter().map(|tree| self.usage(tree)).collect()
    }

    fn usage(&self, tree: &[Pid]) -> Option<Usage> {
        let known = tree.iter().filter_map(|pid| self.0.process(*pid));
        known
            .map(|process| Usage { memory: process.memory(), cpu: process.cpu_usage() })
            .reduce(|a, b| Usage { memory: a.memory + b.memory, cpu: a.cpu + b.cpu })
    }
}
