//! How many instructions our proxy executes for a command, counted by valgrind.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{Program, Redis, install};

use super::{
    Arguments,
    client::benchmark,
    spread::Spread,
    stand,
    targets::{self, Target},
    workload::{Command, Load},
};
use crate::bench::{Lacking, table::Table};

/// Counting is slow; so is writing what was counted.
const PATIENCE: Duration = Duration::from_secs(120);

/// A further variant may execute so many times what the first does: metrics cost at most 1%.
const LIMIT: f64 = 1.01;

/// Requests of the shorter and of the longer run. What they differ by is start and end.
const REQUESTS: [usize; 2] = [32_000, 160_000];

/// With one client every turn carries 16 commands, so that the figure hardly varies; with 50 it is
/// that of the benchmark, but depends on how the scheduler groups them.
const CLIENTS: [usize; 2] = [1, 50];

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    stand::install()?;
    install::tool("valgrind", "valgrind").context(Lacking)?;
    let program = targets::ours(arguments.proxy.as_ref())?;
    let server = stand::filled_server(&[])?;
    let variants = arguments.variants();
    let mut table = Table::new([
        "GET, pipeline 16, clients",
        "flags",
        "instructions/command",
        "ratio to the first",
        "at most",
        "",
    ]);
    let mut missed = Vec::new();
    for clients in CLIENTS {
        let load = Load {
            clients,
            pipeline: 16,
            command: Command::Get,
        };
        let mut counts = vec![Vec::new(); variants.len()];
        for _ in 0..arguments.rounds(5) {
            for (flags, counts) in variants.iter().zip(&mut counts) {
                counts.push(per_command(&program, &server, flags, load)?);
            }
        }
        for (flags, own) in variants.iter().zip(&counts) {
            let ratio = own.iter().zip(&counts[0]).map(|(own, first)| own / first);
            let ratio = Spread::of(ratio);
            let met = ratio.median <= LIMIT;
            table.row(vec![
                clients.to_string(),
                flags.clone(),
                format!("{:.1}", Spread::of(own.iter().copied())),
                format!("{ratio:.4}"),
                format!("{LIMIT:.2}"),
                if met { "met" } else { "missed" }.to_owned(),
            ]);
            if !met {
                missed.push(format!("{flags} {:.4}", ratio.median));
            }
        }
    }
    println!();
    table.print();
    ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

fn per_command(program: &Path, server: &Redis, flags: &str, load: Load) -> Result<f64> {
    let [short, long] = REQUESTS;
    let less = instructions(program, server, flags, load, short)?;
    let more = instructions(program, server, flags, load, long)?;
    let between = more.checked_sub(less);
    let between = between.context("fewer instructions for more requests")?;
    Ok(between as f64 / (long - short) as f64)
}

/// Of a whole life of the proxy in which it serves so many requests.
fn instructions(
    program: &Path,
    server: &Redis,
    flags: &str,
    load: Load,
    requests: usize,
) -> Result<u64> {
    let dir = tempfile::tempdir()?;
    let counted = dir.path().join("counted");
    let valgrind = Program::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", counted.display()))
        .arg(program);
    let mut proxy = Target::ours(valgrind, server.address(), flags)?;
    benchmark(proxy.address, load, requests)?;
    proxy.process.terminate()?;
    let status = proxy.process.wait(PATIENCE)?;
    ensure!(status.success(), "{} ended with {status}", proxy.name);
    let text = fs::read_to_string(&counted)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    Ok(total.context("callgrind wrote no total")?.trim().parse()?)
}
