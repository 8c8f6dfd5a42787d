//! What a process uses, with all below it: processor time and memory, as the kernel counts them (proc(5)). And what is
//! taken from the machine on which all of it runs.

use crate::supervisor::tree;
use anyhow::{Context, Result};
use std::{fs, time::Duration};

/// What a tree of processes uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Of the processor, by itself and by the kernel for it.
    pub(super) cpu: Duration,
    /// Bytes of the resident sets; what two of them share counts twice.
    pub(super) rss: u64,
    /// The same, but what is shared counts for each by its part (proportional set size).
    pub(super) pss: u64,
}

/// What it has used until now.
///
/// # Errors
/// There is no such process, or it belongs to somebody else.
pub(super) fn usage(root: u32) -> Result<Usage> {
    let mut sum = Usage { cpu: cpu(root)?, ..Usage::default() };
    for pid in tree::members(root) {
        // Whoever is gone meanwhile uses nothing.
        if pid != root {
            sum.cpu += cpu(pid).unwrap_or_default();
        }
        match fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
            Ok(text) => {
                sum.rss += bytes(&text, "Rss:");
                sum.pss += bytes(&text, "Pss:");
            }
            Err(error) if pid == root => {
                return Err(error).with_context(|| format!("how much memory process {pid} has is not said"));
            }
            Err(_) => {}
        }
    }
    Ok(sum)
}

/// What this process and its machine have used until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Here {
    /// Of the processor, by this process.
    pub(super) cpu: Duration,
    /// `None`: the kernel does not say it.
    pub(super) machine: Option<Machine>,
}

/// What a machine has used, of all its processors together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Machine {
    /// Whatever they did, rest included.
    pub(super) all: Duration,
    /// While there was work to do, and the host gave the processor to another machine.
    pub(super) stolen: Duration,
}

/// See [`Here`].
pub(super) fn here() -> Here {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    Here { cpu: cpu(std::process::id()).unwrap_or_default(), machine: machine(&stat) }
}

/// The first line of `/proc/stat` (proc_stat(5)): user, nice, system, idle, iowait, irq, softirq, steal; what follows is
/// part of the first two.
fn machine(stat: &str) -> Option<Machine> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace().take(8);
    let fields = fields.map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
    let stolen = from_ticks(*fields.get(7)?);
    Some(Machine { all: from_ticks(fields.iter().sum()), stolen })
}

fn from_ticks(ticks: u64) -> Duration {
    let second = u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
    Duration::from_secs(ticks) / second.max(1)
}

fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("there is no process {pid}"))?;
    ticks(&stat).map(from_ticks).with_context(|| format!("/proc/{pid}/stat is not understood"))
}

/// `utime` and `stime`, the fields 14 and 15; the second is a name in parentheses that may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn bytes(smaps: &str, key: &str) -> u64 {
    let line = smaps.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|value| value.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_understood() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194560 100 200 0 0 250 50 9 9 20 0 1 0 100 1000 10";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("17 (a"), None);
        let smaps = "00400000-7fff00000000 ---p 00000000 00:00 0 [rollup]\nRss:     10 kB\nPss:      7 kB\nPss_Anon: 1 kB\n";
        assert_eq!((bytes(smaps, "Rss:"), bytes(smaps, "Pss:")), (10 << 10, 7 << 10));
        let own = usage(std::process::id()).unwrap();
        assert!(own.rss > 0 && own.rss >= own.pss, "{own:?}");
        assert!(usage(u32::MAX).is_err());
        let stat = "cpu  10 20 30 900 5 1 4 30 7 7\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        let (all, stolen) = (from_ticks(1000), from_ticks(30));
        assert_eq!(machine(stat), Some(Machine { all, stolen }));
        // Before Linux 2.6.11, and anything else.
        for stat in ["cpu  10 20 30 900 5 1 4", "", "intr 5", "cpu  a b c d e f g h"] {
            assert_eq!(machine(stat), None, "{stat}");
        }
        assert!(here().machine.is_some_and(|machine| machine.all > machine.stolen));
    }
}
