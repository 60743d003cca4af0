//! `cargo xtask soak`: the simulators, the worst scenes of hive and of a group by a Lease, and the proxy
//! under load, for as long as one likes.

use anyhow::{Context, Result};

use crate::{
    cargo::cargo,
    step::{self, Kind},
    summary::Summary,
    test::skipped_tests,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many seeded worlds a simulator runs that reads BELLWETHER_SEEDS; `cargo xtask test`
    /// leaves it at 1,000, and at 500 for those of the whole agent with a Lease.
    #[arg(long, value_name = "WORLDS", default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// How often a primary's server is killed and restarted at once without its data.
    #[arg(long, default_value_t = 50)]
    restarts: u64,
    /// How often a network of three hosts is cut, each way, and must heal within two seconds.
    #[arg(long, default_value_t = 5)]
    partitions: u64,
    /// For how many seconds 200 clients of the proxy check that each reply is their own, while
    /// the primary changes.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    identity: u64,
    /// In how many random orders all pods of a group by a Lease are started anew, with append-only
    /// files and with snapshots.
    #[arg(long, default_value_t = 20)]
    orders: u64,
    /// For how many seconds the Kubernetes API is away from such a group.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u64).range(10..))]
    outage: u64,
}

/// Runs the simulators of each crate that has some, where a failure names its seed, what the tests of
/// hive and of the Lease's group do a few times only, and the proxy's test of whose reply is whose.
pub(crate) fn run(arguments: &Arguments) -> Result<Summary> {
    let mut steps = Vec::new();
    let skipped = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    for package in [
        "bellwether-discovery",
        "bellwether-election",
        "bellwether-replication",
        "bellwether-proxy",
    ] {
        let mut tests = cargo("test --release --locked --all-features --lib");
        // The simulators are modules named `sim` or `simulation`.
        tests.args(["--package", package, "::sim"]);
        tests.env("BELLWETHER_SEEDS", arguments.seeds.to_string());
        let name = format!("{package}, BELLWETHER_SEEDS={}", arguments.seeds);
        steps.push(step::run(&name, Kind::Tests, tests)?);
    }
    let mut tests = cargo("test --release --locked --package bellwether-hive --test hive");
    tests.args([
        "--",
        "--nocapture",
        "--test-threads=1",
        "restarts::",
        "partition::",
    ]);
    tests.env("BELLWETHER_SKIPPED", skipped.path());
    tests.env("BELLWETHER_RESTARTS", arguments.restarts.to_string());
    tests.env("BELLWETHER_PARTITIONS", arguments.partitions.to_string());
    let name = format!(
        "hive, {} restarts, {} cuts",
        arguments.restarts, arguments.partitions
    );
    steps.push(step::run(&name, Kind::Tests, tests)?);
    let mut tests = cargo("test --release --locked --package bellwether-proxy --test identity");
    tests.args(["--", "--nocapture"]);
    tests.env(
        "BELLWETHER_IDENTITY_SECONDS",
        arguments.identity.to_string(),
    );
    let name = format!("proxy, reply identity for {} s", arguments.identity);
    steps.push(step::run(&name, Kind::Tests, tests)?);
    let mut tests = cargo("test --release --locked --package bellwether-lease --test lease");
    tests.args([
        "--",
        "--nocapture",
        "--test-threads=1",
        "restarts::",
        "without_the_api",
        "failsafe::",
    ]);
    tests.env("BELLWETHER_SKIPPED", skipped.path());
    tests.env("BELLWETHER_ORDERS", arguments.orders.to_string());
    tests.env("BELLWETHER_OUTAGE", arguments.outage.to_string());
    let name = format!(
        "lease, {} orders of restarts, {} s without the API",
        arguments.orders, arguments.outage
    );
    steps.push(step::run(&name, Kind::Tests, tests)?);
    Ok(Summary {
        steps,
        skipped: skipped_tests(&skipped)?,
    })
}
