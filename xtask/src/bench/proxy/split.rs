//! What it costs to send reads to a replica instead of the primary.

use std::time::Duration;

use anyhow::{Result, ensure};
use bellwether_testkit::{Options, Program, Redis, until};

use super::{
    Arguments, machine,
    spread::Spread,
    stand::{self, Run, measure},
    targets::{self, Target},
    workload::{Load, Workload},
};
use crate::bench::table::Table;

/// With the split, a command may cost so much of what it costs without.
const LIMIT: f64 = 1.05;

const SPLIT: &str = "--read-from prefer-replica";
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    stand::install()?;
    let stage = Stage::set_up(arguments)?;
    machine::warn_if_unfit()?;
    let mut table = Table::new([
        "workload",
        "CPU µs/command, all to the primary",
        "reads to the replica",
        "ratio",
        "at most",
        "",
    ]);
    let mut missed = Vec::new();
    let (mut disturbed, mut all) = (0, 0);
    for workload in [Workload::GetC50, Workload::GetP16] {
        let requests = stand::calibrate(&stage.primary, workload.load(), arguments.seconds)?;
        let pairs = (0..arguments.rounds(7))
            .map(|round| stage.pair(workload.load(), requests, round))
            .collect::<Result<Vec<_>>>()?;
        let is_disturbed = |pair: &&(Run, Run)| pair.0.is_disturbed() || pair.1.is_disturbed();
        disturbed += pairs.iter().filter(is_disturbed).count();
        all += pairs.len();
        let spread = |value: fn(&(Run, Run)) -> f64| Spread::of(pairs.iter().map(value));
        let ratio = spread(|(without, with)| with.proxy_cpu / without.proxy_cpu);
        let met = ratio.median <= LIMIT;
        table.row(vec![
            workload.name(),
            spread(|(without, _)| without.proxy_cpu).to_string(),
            spread(|(_, with)| with.proxy_cpu).to_string(),
            ratio.to_string(),
            format!("{LIMIT:.2}"),
            if met { "met" } else { "missed" }.to_owned(),
        ]);
        if !met {
            missed.push(format!("{} {:.2}", workload.name(), ratio.median));
        }
    }
    println!("\nMedians (and quartiles)\n");
    table.print();
    stand::ensure_quiet(disturbed, all)?;
    ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

/// A primary with a replica, and two proxies that know both.
struct Stage {
    primary: Redis,
    replica: Redis,
    plain: Target,
    split: Target,
}

impl Stage {
    fn set_up(arguments: &Arguments) -> Result<Self> {
        let program = targets::ours(arguments.proxy.as_ref())?;
        let primary = stand::filled_server(&[])?;
        let replica = replica_of(&primary)?;
        let common = arguments.ours_flags.join(" ");
        let start = |flags: &str| {
            let flags = format!("--replica {} {common} {flags}", replica.address());
            Target::ours(Program::new(&program), primary.address(), &flags)
        };
        Ok(Self {
            plain: start("")?,
            split: start(SPLIT)?,
            primary,
            replica,
        })
    }

    /// Without and with the split; which comes first changes with the round.
    fn pair(&self, load: Load, requests: usize, round: usize) -> Result<(Run, Run)> {
        let without = || measure(&self.primary, Some(&self.plain), load, requests);
        if round.is_multiple_of(2) {
            let without = without()?;
            Ok((without, self.with(load, requests)?))
        } else {
            let with = self.with(load, requests)?;
            Ok((without()?, with))
        }
    }

    /// Fails if the replica did not answer: then nothing was split.
    fn with(&self, load: Load, requests: usize) -> Result<Run> {
        let before = stand::count(&self.replica, "keyspace_hits")?;
        // The replica is who answers: its time is no stranger's.
        let run = measure(&self.replica, Some(&self.split), load, requests)?;
        let answered = stand::count(&self.replica, "keyspace_hits")? - before;
        ensure!(
            answered as usize >= requests,
            "the replica answered {answered} of {requests} reads"
        );
        Ok(run)
    }
}

/// One that has everything.
fn replica_of(primary: &Redis) -> Result<Redis> {
    let replica = Redis::start(Options::default())?;
    let port = primary.port().to_string();
    replica.command(&["REPLICAOF", "127.0.0.1", &port])?;
    until(PATIENCE, "the replica to be in step", || -> Result<()> {
        let keys = (replica.command(&["DBSIZE"])?, primary.command(&["DBSIZE"])?);
        ensure!(keys.0 == keys.1, "it has {} of {} keys", keys.0, keys.1);
        ensure!(replica.role()?.follows(primary.port()), "it is cut off");
        Ok(())
    })?;
    Ok(replica)
}
