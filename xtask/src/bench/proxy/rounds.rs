//! Every workload through every proxy, again and again, each time beside a direct run.

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Result, ensure};
use bellwether_testkit::{Program, Redis};

use super::{
    Arguments, machine, report,
    stand::{self, Run, measure},
    targets::{self, Target},
    workload::Workload,
};

/// A direct run and one through a proxy, one right after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) direct: Run,
    pub(super) through: Run,
}

impl Pair {
    /// Requests per second, as a share of the direct run's.
    pub(super) fn rate(&self) -> f64 {
        self.through.service.rate / self.direct.service.rate
    }

    /// What the proxy spends on a command, for what the server spends when asked directly.
    pub(super) fn cpu(&self) -> f64 {
        self.through.proxy_cpu / self.direct.server_cpu
    }

    pub(super) fn p99(&self) -> f64 {
        self.through.service.p99 / self.direct.service.p99
    }

    fn in_short(&self) -> String {
        let mark = if self.is_disturbed() {
            " disturbed"
        } else {
            ""
        };
        format!("{:.2} (CPU {:.2}{mark})", self.rate(), self.cpu())
    }

    /// Whether something else was at work meanwhile.
    pub(super) fn is_disturbed(&self) -> bool {
        self.direct.is_disturbed() || self.through.is_disturbed()
    }
}

/// What was measured, by workload and by the proxy's place in the list.
pub(super) type Measured = BTreeMap<(Workload, usize), Vec<Pair>>;

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    stand::install()?;
    let peers = arguments.peers();
    for peer in &peers {
        peer.install()?;
    }
    let program = targets::ours(arguments.proxy.as_ref())?;
    // 500 clients, each with a connection behind haproxy, and some to spare.
    machine::allow_open_files(4096)?;
    machine::warn_if_unfit()?;

    let server = stand::filled_server(&[])?;
    let mut proxies = Vec::new();
    for flags in arguments.variants() {
        let program = Program::new(&program);
        proxies.push(Target::ours(program, server.address(), &flags)?);
    }
    for peer in peers {
        proxies.push(peer.start(server.address())?);
    }
    let measured = measure_all(arguments, &server, &proxies)?;
    let names: Vec<_> = proxies.iter().map(|proxy| proxy.name.as_str()).collect();
    report::print(&measured, &names);
    let (disturbed, all) = report::disturbed(&measured);
    stand::ensure_quiet(disturbed, all)?;
    let missed = report::missed(&measured);
    ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

fn measure_all(arguments: &Arguments, server: &Redis, proxies: &[Target]) -> Result<Measured> {
    let began = Instant::now();
    let misses = stand::misses(server)?;
    let mut workloads = Vec::new();
    for workload in arguments.workloads() {
        let requests = stand::calibrate(server, workload.load(), arguments.seconds)?;
        println!("{}: {requests} requests a run", workload.name());
        workloads.push((workload, requests));
    }
    let rounds = arguments.rounds(15);
    let mut measured = Measured::new();
    for round in 0..rounds {
        for (workload, requests) in &workloads {
            let mut seen = Vec::new();
            for place in 0..proxies.len() {
                let place = (place + round) % proxies.len();
                let pair = pair(server, &proxies[place], *workload, *requests, round)?;
                seen.push(format!("{} {}", proxies[place].name, pair.in_short()));
                measured.entry((*workload, place)).or_default().push(pair);
            }
            println!(
                "{:4.1} min, round {} of {rounds}, {}: {}",
                began.elapsed().as_secs_f64() / 60.0,
                round + 1,
                workload.name(),
                seen.join(", ")
            );
        }
    }
    stand::ensure_hits(server, misses)?;
    Ok(measured)
}

/// Which comes first changes with the round, so that neither profits from it.
fn pair(
    server: &Redis,
    proxy: &Target,
    workload: Workload,
    requests: usize,
    round: usize,
) -> Result<Pair> {
    let run = |through| measure(server, through, workload.load(), requests);
    if round.is_multiple_of(2) {
        let direct = run(None)?;
        let through = run(Some(proxy))?;
        Ok(Pair { direct, through })
    } else {
        let through = run(Some(proxy))?;
        let direct = run(None)?;
        Ok(Pair { direct, through })
    }
}
