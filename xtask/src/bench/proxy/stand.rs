//! A server with data, and what one run costs it and the proxy in front of it.

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{Boot, Options, Redis, install};

use super::{
    client::{Service, benchmark},
    cpu::CpuTime,
    machine::Usage,
    targets::Target,
    workload::{Data, Load},
};
use crate::bench::Lacking;

/// Programs that do not belong here may have this share of the machine.
const STRANGERS: f64 = 0.1;
/// How often a run is made until nothing disturbs it; then it counts as it is.
const TRIES: usize = 3;
/// Keys that are set with one round trip.
const BATCH: usize = 1000;

/// Gets what every measurement needs.
pub(super) fn install() -> Result<()> {
    install::redis_server().context(Lacking)?;
    install::tool("redis-benchmark", "redis-tools").context(Lacking)
}

/// A primary that holds everything that is asked for.
pub(super) fn filled_server(args: &[&str]) -> Result<Redis> {
    let server = Redis::start(Options {
        boot: Boot::Plain,
        args: args.iter().map(ToString::to_string).collect(),
        ..Options::default()
    })?;
    let mut connection = server.connect()?;
    for data in Data::ALL {
        let numbers: Vec<_> = (0..data.keys).collect();
        for batch in numbers.chunks(BATCH) {
            let mut pipeline = redis::pipe();
            for number in batch {
                pipeline.set(data.key(*number), data.value()).ignore();
            }
            pipeline.exec(&mut connection)?;
        }
    }
    Ok(server)
}

/// Fails if any GET since then found nothing: it would have been a different, cheaper load.
pub(super) fn ensure_hits(server: &Redis, misses_before: u64) -> Result<()> {
    let misses = misses(server)? - misses_before;
    ensure!(misses == 0, "{misses} GETs found no value");
    Ok(())
}

pub(super) fn misses(server: &Redis) -> Result<u64> {
    count(server, "keyspace_misses")
}

/// A number of the section `stats` of INFO.
pub(super) fn count(server: &Redis, field: &str) -> Result<u64> {
    let info = server.info("stats")?;
    let text = info.get(field).with_context(|| format!("no {field}"))?;
    Ok(text.parse()?)
}

/// What one run showed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) service: Service,
    /// Microseconds of processor time that redis-server spent for each command.
    pub(super) server_cpu: f64,
    /// The same of the proxy; zero without one.
    pub(super) proxy_cpu: f64,
    /// The share of the machine that programs had which do not belong here.
    strangers: f64,
}

impl Run {
    /// Whether something else was at work meanwhile.
    pub(super) fn is_disturbed(&self) -> bool {
        self.strangers > STRANGERS
    }
}

/// Asks `server`, through a proxy or directly; again, if other programs were at work meanwhile.
pub(super) fn measure(
    server: &Redis,
    through: Option<&Target>,
    load: Load,
    requests: usize,
) -> Result<Run> {
    let mut run = measure_once(server, through, load, requests)?;
    for _ in 1..TRIES {
        if !run.is_disturbed() {
            break;
        }
        run = measure_once(server, through, load, requests)?;
    }
    Ok(run)
}

fn measure_once(
    server: &Redis,
    through: Option<&Target>,
    load: Load,
    requests: usize,
) -> Result<Run> {
    let address = through.map_or(server.address(), |target| target.address);
    let cpu = || -> Result<_> {
        let proxy = through.map(|target| CpuTime::of(target.pid()));
        Ok((CpuTime::of(server.pid())?, proxy.transpose()?))
    };
    let (before, machine) = (cpu()?, Usage::now()?);
    let service = benchmark(address, load, requests)?;
    let (after, machine_after) = (cpu()?, Usage::now()?);

    let server_nanos = after.0.since(&before.0);
    let proxy = after.1.zip(before.1);
    let proxy_nanos = proxy.map_or(0, |(after, before)| after.since(&before));
    let micros = |nanos: u64| nanos as f64 / 1000.0 / requests as f64;
    Ok(Run {
        service,
        server_cpu: micros(server_nanos),
        proxy_cpu: micros(proxy_nanos),
        strangers: machine_after.strangers_since(&machine, server_nanos + proxy_nanos)?,
    })
}

/// A run of which more than a quarter was disturbed says nothing.
pub(super) fn ensure_quiet(disturbed: usize, all: usize) -> Result<()> {
    ensure!(
        disturbed * 4 <= all,
        "this run is void: other programs disturbed {disturbed} of {all} pairs of runs"
    );
    Ok(())
}

/// So many requests that a direct run takes about that long.
pub(super) fn calibrate(server: &Redis, load: Load, seconds: f64) -> Result<usize> {
    let trial = benchmark(server.address(), load, 10_000 * load.pipeline)?;
    let requests = (trial.rate * seconds) as usize;
    // Every client sends as often as every other.
    Ok(requests.next_multiple_of(load.clients * load.pipeline))
}
