//! How much processor time a process used, and how much memory it holds.

use std::{collections::BTreeMap, ffi::OsString, fs};

use anyhow::{Context, Result};

/// The processor time of each thread of a process so far, in nanoseconds.
///
/// From the scheduler's own account: `/proc/PID/stat` counts in ticks of 10 ms.
pub(super) struct CpuTime(BTreeMap<OsString, u64>);

impl CpuTime {
    pub(super) fn of(pid: u32) -> Result<Self> {
        let mut threads = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = thread?;
            let text = fs::read_to_string(thread.path().join("schedstat"))?;
            let on_cpu = text.split_whitespace().next();
            let nanos = on_cpu.context("an empty schedstat")?.parse()?;
            threads.insert(thread.file_name(), nanos);
        }
        Ok(Self(threads))
    }

    /// Nanoseconds since then. What a thread did that has ended meanwhile is not in it.
    pub(super) fn since(&self, earlier: &Self) -> u64 {
        let spent = self.0.iter().map(|(thread, nanos)| {
            let before = earlier.0.get(thread).copied().unwrap_or(0);
            nanos.saturating_sub(before)
        });
        spent.sum()
    }
}

/// Bytes of memory that the process holds now.
pub(super) fn resident_bytes(pid: u32) -> Result<u64> {
    // Counted page by page; `VmRSS` lags behind on machines with several cores.
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next());
    let kib: u64 = kib.context("no Rss in smaps_rollup")?.parse()?;
    Ok(kib << 10)
}
