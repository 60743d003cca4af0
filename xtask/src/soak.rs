//! `cargo xtask soak`: the simulators, for as long as one likes.

use anyhow::Result;

use crate::{
    cargo::cargo,
    step::{self, Kind},
    summary::Summary,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many seeded worlds a simulator runs that reads BELLWETHER_SEEDS; `cargo xtask test`
    /// leaves it at 1,000.
    #[arg(long, value_name = "WORLDS", default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
}

/// Runs the simulators of each crate that has some. A failure names its seed.
pub(crate) fn run(arguments: &Arguments) -> Result<Summary> {
    let steps = ["bellwether-election", "bellwether-replication"]
        .into_iter()
        .map(|package| {
            let mut tests = cargo("test --release --locked --all-features --lib");
            // The simulators are modules named `sim` or `simulation`.
            tests.args(["--package", package, "::sim"]);
            tests.env("BELLWETHER_SEEDS", arguments.seeds.to_string());
            step::run(
                &format!("{package}, BELLWETHER_SEEDS={}", arguments.seeds),
                Kind::Tests,
                tests,
            )
        })
        .collect::<Result<_>>()?;
    Ok(Summary {
        steps,
        skipped: Vec::new(),
    })
}
