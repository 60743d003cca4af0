//! `cargo xtask bench raft`: the group's own bench, built for speed.

use anyhow::{Result, ensure};

use crate::cargo::cargo;

/// How the measurement is made.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each number of commands under way is tried, in memory and on disk in turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// How long each try is measured, from 0.1 to 60 seconds.
    #[arg(long, default_value_t = 1.5, value_parser = super::proxy::seconds)]
    seconds: f64,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { rounds, seconds } = arguments;
    let mut bench = cargo("bench -p bellwether-raft --locked --bench group --");
    bench.args([rounds.to_string(), seconds.to_string()]);
    ensure!(bench.status()?.success(), "see above");
    Ok(())
}
