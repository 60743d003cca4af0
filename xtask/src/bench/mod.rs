//! Measurements, beside the peers that are installed, interleaved in one run.

mod failover;
mod lease;
mod proxy;
mod raft;
mod table;

use std::{fmt, process::ExitCode};

use clap::Subcommand;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// How long writes stop when parts of a group fail, beside Redis Sentinel.
    Failover(failover::Arguments),
    /// How long nobody leads when a Lease changes hands, and through troubles of the API.
    Lease,
    /// How fast the proxy is and what it costs, beside haproxy and nutcracker.
    Proxy(proxy::Arguments),
    /// How many commands a Raft group of three processes takes, how long they are under way and what
    /// they cost, in memory and on disk.
    Raft(raft::Arguments),
}

/// Measures and prints; fails if the run is void, a limit was missed or something happened that
/// never may.
pub(crate) fn main(which: &Bench) -> ExitCode {
    let outcome = match which {
        Bench::Failover(arguments) => failover::run(arguments),
        Bench::Lease => lease::run(),
        Bench::Proxy(arguments) => proxy::run(arguments),
        Bench::Raft(arguments) => raft::run(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask bench: {error:#}");
            if error.is::<Lacking>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// The context of an error that is the machine's, which lacks something: exit code 2.
#[derive(Debug)]
struct Lacking;

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this machine lacks something")
    }
}
