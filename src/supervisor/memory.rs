//! How much memory and processor the children use. The home of sysinfo.

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// What one process uses.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Bytes of its resident set.
    pub(super) memory: u64,
    /// Percent of one core, since the last sample.
    pub(super) cpu: f32,
}

/// Samples processes by pid.
pub(super) struct Sampler(System);

impl Sampler {
    /// # Errors
    /// This system does not say what its processes use.
    pub(super) fn new() -> Result<Self, sysinfo::Error> {
        System::new().map(Self)
    }

    /// What each of these uses now; `None` for one that is gone.
    pub(super) fn sample(&mut self, pids: &[u32]) -> Vec<Option<Usage>> {
        let wanted: Vec<Pid> = pids.iter().map(|pid| Pid::from_u32(*pid)).collect();
        let kind = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
        self.0.refresh_processes_specifics(ProcessesToUpdate::Some(&wanted), true, kind);
        wanted
            .iter()
            .map(|pid| {
                self.0
                    .process(*pid)
                    .map(|process| Usage { memory: process.memory(), cpu: process.cpu_usage() })
            })
            .collect()
    }
}
