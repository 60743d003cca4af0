//! `cargo xtask conformance`: Redis's own test suite, run directly and through the proxy.
//!
//! Each unit runs three times, every time against a fresh redis-server: directly, through the
//! proxy, directly again. A case that differs between the direct runs says nothing and is set
//! aside; any other must end through the proxy as it ends directly. Where one does not, more runs of
//! either kind show whether that is steady. The steady differences that are accepted stand in
//! `conformance/known.txt`, each with its reason; together with the unsteady ones they are at most
//! one case in a hundred.

mod apt;
mod compare;
mod known;
mod log;
mod report;
mod run;
mod suite;

use std::{fs, path::PathBuf, process::ExitCode, sync::Mutex, thread};

use anyhow::{Context, Result, bail, ensure};
use bellwether_testkit::install;

use self::{
    compare::{Comparison, Verdict},
    known::Known,
    report::{Report, Scope},
    run::{Route, Runner},
    suite::Suite,
};
use crate::cargo::cargo;

/// How often a unit with unknown differences runs through the proxy.
const ROUNDS: usize = 3;

/// Redis's own test suite.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// Name the units that there are.
    #[arg(long)]
    list: bool,
    #[command(subcommand)]
    subject: Option<Subject>,
}

#[derive(Debug, clap::Subcommand)]
enum Subject {
    /// The proxy in front of one redis-server.
    Proxy(ProxyArguments),
}

#[derive(Debug, clap::Args)]
struct ProxyArguments {
    /// A unit to run, as `unit/multi`; may be repeated. All of them by default.
    #[arg(long = "unit", value_name = "NAME")]
    units: Vec<String>,
    /// How many units run at a time. Cases that depend on time suffer when it is more than one.
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Leave what each run printed, and its servers' logs, in this directory.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// The proxy to run, instead of the example program that is built from here.
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
    /// More arguments for the proxy, as `-- --workers 2`.
    #[arg(last = true)]
    flags: Vec<String>,
}

/// Runs it and prints what it found: 0 when only known cases differ and they are few, 1 when not,
/// 2 when it cannot be run here.
pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    let outcome = match &arguments.subject {
        Some(Subject::Proxy(arguments)) => proxy(arguments),
        None => list().map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo xtask conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn list() -> Result<()> {
    let units = Suite::fetch()?.units()?;
    println!("{}", units.join("\n"));
    Ok(())
}

/// Whether all is as it should be.
fn proxy(arguments: &ProxyArguments) -> Result<bool> {
    install::redis_server()?;
    let suite = Suite::fetch()?;
    let units = chosen(suite.units()?, &arguments.units)?;
    let runner = Runner {
        suite,
        proxy: match &arguments.program {
            Some(program) => program.clone(),
            None => build()?,
        },
        flags: arguments.flags.clone(),
        keep: arguments.keep.clone(),
    };
    let known = Known::read()?;
    let scope = match arguments.units[..] {
        [] => Scope::Whole,
        _ => Scope::Part,
    };
    println!(
        "left out, as they need the server's process: {}",
        run::LEFT_OUT.join(", ")
    );
    let report = Mutex::new(Report::new(scope, &known));
    let queue = Mutex::new(units.into_iter());
    thread::scope(|scope| {
        let jobs: Vec<_> = (0..arguments.jobs)
            .map(|_| scope.spawn(|| work(&runner, &known, &queue, &report)))
            .collect();
        jobs.into_iter()
            .try_for_each(|job| job.join().expect("a job does not panic"))
    })?;
    let report = report.into_inner().expect("no job has panicked");
    print!("{report}");
    Ok(report.is_success())
}

fn work(
    runner: &Runner,
    known: &Known,
    queue: &Mutex<std::vec::IntoIter<String>>,
    report: &Mutex<Report<'_>>,
) -> Result<()> {
    loop {
        let next = queue.lock().expect("no job has panicked").next();
        let Some(unit) = next else { return Ok(()) };
        let compared =
            compare(runner, known, &unit).with_context(|| format!("cannot run {unit}"))?;
        let mut report = report.lock().expect("no job has panicked");
        report.add(compared);
    }
}

/// A run through the proxy stands between direct ones, so that what is slow for a while shows.
fn compare(runner: &Runner, known: &Known, unit: &str) -> Result<Comparison> {
    runner.remove_logs(unit)?;
    let mut direct = vec![runner.run(unit, Route::Direct, "direct-1")?];
    let mut proxy = Vec::new();
    loop {
        let name = format!("proxy-{}", proxy.len() + 1);
        proxy.push(runner.run(unit, Route::Proxy, &name)?);
        let name = format!("direct-{}", direct.len() + 1);
        direct.push(runner.run(unit, Route::Direct, &name)?);
        let found = Comparison::new(unit, &direct, &proxy);
        let is_new = |verdict: &Verdict| known.find(unit, &verdict.case.name).is_none();
        if proxy.len() == ROUNDS || !found.different.iter().any(is_new) {
            return Ok(found);
        }
    }
}

fn chosen(all: Vec<String>, wanted: &[String]) -> Result<Vec<String>> {
    for unit in wanted {
        if !all.contains(unit) {
            bail!("there is no unit {unit}; cargo xtask conformance --list names them");
        }
    }
    let is_wanted = |unit: &String| wanted.is_empty() || wanted.contains(unit);
    Ok(all.into_iter().filter(is_wanted).collect())
}

/// Builds the proxy's example program.
fn build() -> Result<PathBuf> {
    let built = cargo("build --release --locked --package bellwether-proxy --example proxy")
        .status()
        .context("cannot run cargo")?;
    ensure!(built.success(), "cannot build the proxy");
    let program = suite::target_dir().join("release/examples/proxy");
    fs::canonicalize(&program).with_context(|| format!("{} is missing", program.display()))
}
