//! `cargo xtask fuzz`: cargo-fuzz without a nightly toolchain.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{
    cargo::{cargo, has},
    step::{self, Kind},
    summary::Summary,
};

/// Where fuzz targets are.
pub(crate) const FUZZ_DIRS: [&str; 2] = ["resp/fuzz", "proxy/fuzz"];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long each target runs, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// The target to run; all of them by default.
    target: Option<String>,
}

/// Runs the targets one after the other, each for its time or until it finds something.
pub(crate) fn run(arguments: &Arguments) -> Result<Summary> {
    install()?;
    let mut all = Vec::new();
    for folder in FUZZ_DIRS {
        let targets = targets(folder)?;
        all.extend(targets.into_iter().map(|target| (folder, target)));
    }
    if let Some(name) = &arguments.target {
        let names: Vec<_> = all.iter().map(|(_, target)| target.as_str()).collect();
        ensure!(
            names.contains(&name.as_str()),
            "no fuzz target {name}; there are {}",
            names.join(", ")
        );
        all.retain(|(_, target)| target == name);
    }
    let steps = all
        .iter()
        .map(|(folder, target)| {
            step::run(
                &format!("fuzz {target}"),
                Kind::Check,
                fuzz(folder, target, arguments),
            )
        })
        .collect::<Result<_>>()?;
    Ok(Summary {
        steps,
        skipped: Vec::new(),
    })
}

fn install() -> Result<()> {
    if has("fuzz")? {
        return Ok(());
    }
    println!("installing cargo-fuzz: cargo install --locked cargo-fuzz");
    let installed = cargo("install --locked cargo-fuzz")
        .status()
        .context("cannot run cargo")?;
    ensure!(installed.success(), "cannot install cargo-fuzz");
    Ok(())
}

fn targets(folder: &str) -> Result<Vec<String>> {
    let output = cargo("fuzz list --fuzz-dir")
        .arg(folder)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo fuzz")?;
    ensure!(output.status.success(), "cannot list the fuzz targets");
    let targets: Vec<_> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    ensure!(!targets.is_empty(), "there are no fuzz targets in {folder}");
    Ok(targets)
}

/// Coverage feedback works on the stable compiler once it admits unstable flags; only the
/// sanitizers need nightly, and safe code has little for them to find.
fn fuzz(folder: &str, target: &str, arguments: &Arguments) -> Command {
    let mut command = cargo("fuzz run --sanitizer none --fuzz-dir");
    command
        .args([folder, target, "--"])
        .arg(format!("-max_total_time={}", arguments.seconds))
        .env("RUSTC_BOOTSTRAP", "1");
    command
}
