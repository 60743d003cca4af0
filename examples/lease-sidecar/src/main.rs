//! `bellwether-lease`: see the crate's README.

use std::process::ExitCode;

use bellwether_hive::cli;
use bellwether_lease::Settings;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main(|settings: Settings| bellwether_lease::run(settings, cli::terminated()))
}
