//! The project's tasks: `cargo xtask test`, `bench`, `conformance`, `soak`, `fuzz`.
//!
//! Only `test` says whether the project is right; the others run longer, for those who ask.
//! Exit codes: 0 all is well, 1 something failed, 2 the machine lacks something (one line says what).

mod bench;
mod cargo;
mod commands;
mod conformance;
mod fuzz;
mod soak;
mod step;
mod summary;
mod tally;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Format, clippy, tests, docs: everything that must hold before a change is merged.
    Test,
    /// Measurements, beside the peers that are installed.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// The simulators with many more worlds than `test` runs, and the hive's scenes many times over.
    Soak(soak::Arguments),
    /// Redis's own test suite, directly and through the proxy.
    Conformance(conformance::Arguments),
    /// The fuzz targets, on the stable toolchain.
    Fuzz(fuzz::Arguments),
    /// The proxy's table of commands, from the installed redis-server.
    Commands(commands::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Bench(which) => return bench::main(&which),
        Task::Commands(arguments) => return commands::main(&arguments),
        Task::Conformance(arguments) => return conformance::main(&arguments),
        Task::Test => test::run(),
        Task::Soak(arguments) => soak::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
    };
    match outcome {
        Ok(summary) => {
            print!("\n{summary}");
            if summary.is_success() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}
