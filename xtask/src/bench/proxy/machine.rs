//! The machine that is measured on.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::sys::{
    resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit},
    time::TimeValLike,
};

use crate::bench::Lacking;

/// With less of the processor idle than this, somebody else is working.
const IDLE: f64 = 0.9;

/// The limits were set for so many cores, which client, proxy and server share.
const CORES: usize = 2;

/// Warns when the figures will not mean what they should.
pub(super) fn warn_if_unfit() -> Result<()> {
    let before = Ticks::now()?;
    thread::sleep(Duration::from_secs(1));
    let idle = Ticks::now()?.idle_since(&before);
    if idle < IDLE {
        let percent = 100.0 * idle;
        eprintln!("warning: the machine is busy: it was {percent:.0}% idle before the start");
    }
    let cores = thread::available_parallelism()?.get();
    if cores != CORES {
        eprintln!("warning: the limits are meant for {CORES} cores; here are {cores}");
    }
    Ok(())
}

/// Lets this process and its children have so many files and sockets open.
pub(super) fn allow_open_files(count: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= count {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, count, hard.max(count))
        .with_context(|| format!("{count} open files are needed; try: ulimit -n {count}"))
        .context(Lacking)
}

/// Who used the processors since the machine started.
pub(super) struct Usage {
    ticks: Ticks,
    at: Instant,
    /// Of this process and of the clients that it ran to their end, in nanoseconds.
    own: u64,
}

impl Usage {
    pub(super) fn now() -> Result<Self> {
        let mut own = 0;
        for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
            let usage = getrusage(who)?;
            for time in [usage.user_time(), usage.system_time()] {
                own += u64::try_from(time.num_microseconds())? * 1000;
            }
        }
        Ok(Self {
            ticks: Ticks::now()?,
            at: Instant::now(),
            own,
        })
    }

    /// The share of all processors that strangers have had since then, when the processes that were
    /// measured had `measured` nanoseconds.
    pub(super) fn strangers_since(&self, before: &Self, measured: u64) -> Result<f64> {
        let cores = thread::available_parallelism()?.get() as f64;
        let there_was = (self.at - before.at).as_nanos() as f64 * cores;
        let ours = (self.own - before.own + measured) as f64 / there_was;
        Ok(1.0 - self.ticks.idle_since(&before.ticks) - ours)
    }
}

/// What the processors did since the machine started, in clock ticks.
struct Ticks {
    idle: u64,
    all: u64,
}

impl Ticks {
    fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().context("/proc/stat is empty")?;
        // user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of the first.
        let numbers = line.split_whitespace().skip(1).take(8).map(str::parse);
        let numbers: Vec<u64> = numbers.collect::<Result<_, _>>()?;
        let idle = numbers.iter().skip(3).take(2).sum();
        Ok(Self {
            idle,
            all: numbers.iter().sum(),
        })
    }

    fn idle_since(&self, before: &Self) -> f64 {
        (self.idle - before.idle) as f64 / (self.all - before.all).max(1) as f64
    }
}
