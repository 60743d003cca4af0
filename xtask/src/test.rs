//! `cargo xtask test`: what must hold before a change is merged.

use std::{fs, process::Command};

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

use crate::{
    cargo::{cargo, require_components},
    fuzz::FUZZ_DIRS,
    step::{self, Kind},
    summary::Summary,
};

/// Runs every step, whatever those before it found.
pub(crate) fn run() -> Result<Summary> {
    require_components()?;
    bellwether_testkit::install::redis_server()?;
    // testkit's `skip` adds a line to it for each test that this machine cannot run.
    let skipped = NamedTempFile::new().context("cannot make a temporary file")?;

    let mut tests = cargo("test --workspace --all-features --locked --no-fail-fast");
    tests.env("BELLWETHER_SKIPPED", skipped.path());
    let mut docs = cargo("doc --workspace --no-deps --all-features --locked");
    docs.env("RUSTDOCFLAGS", "-D warnings");
    let mut steps: Vec<(String, Kind, Command)> = vec![
        ("format".into(), Kind::Check, cargo("fmt --all --check")),
        (
            "clippy".into(),
            Kind::Check,
            cargo("clippy --workspace --all-targets --all-features --locked -- -D warnings"),
        ),
        ("tests".into(), Kind::Tests, tests),
        ("docs".into(), Kind::Check, docs),
    ];
    for folder in FUZZ_DIRS {
        let manifest = format!("{folder}/Cargo.toml");
        let mut format = cargo("fmt --check --manifest-path");
        format.arg(&manifest);
        // As cargo-fuzz builds them, or some would have nothing in them.
        let mut build = cargo("check --locked --manifest-path");
        build.arg(&manifest).env("RUSTFLAGS", "--cfg fuzzing");
        steps.push((format!("format of {folder}"), Kind::Check, format));
        steps.push((format!("build of {folder}"), Kind::Check, build));
    }
    let steps = steps
        .into_iter()
        .map(|(name, kind, command)| step::run(&name, kind, command))
        .collect::<Result<_>>()?;

    let skipped = skipped_tests(&skipped)?;
    Ok(Summary { steps, skipped })
}

/// What testkit's `skip` wrote, a line for each test.
pub(crate) fn skipped_tests(file: &NamedTempFile) -> Result<Vec<String>> {
    let text = fs::read_to_string(file.path()).context("cannot read what was skipped")?;
    Ok(text.lines().map(str::to_owned).collect())
}
