//! `bellwether-hive`: see the crate's README.

use std::process::ExitCode;

use bellwether_hive::{Settings, cli};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main(|settings: Settings| bellwether_hive::run(settings, cli::terminated()))
}
