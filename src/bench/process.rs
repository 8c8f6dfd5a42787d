//! What a process uses, with all below it: processor time and memory, as the kernel counts them (proc(5)).

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

/// Of the processor, by this process.
pub(super) fn own_cpu() -> Duration {
    cpu(std::process::id()).unwrap_or_default()
}

fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("there is no process {pid}"))?;
    ticks(&stat)
        .map(|ticks| {
            Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100)
        })
        .with_context(|| format!("/proc/{pid}/stat is not understood"))
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
    }
}
