//! Measurements, beside the peers that are installed, interleaved in one run.

mod failover;
mod table;

use std::process::ExitCode;

use clap::Subcommand;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// How long writes stop when parts of a group fail, beside Redis Sentinel.
    Failover(failover::Arguments),
}

/// Measures and prints; fails if the run is void or something happened that never may.
pub(crate) fn main(which: &Bench) -> ExitCode {
    let outcome = match which {
        Bench::Failover(arguments) => failover::run(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
