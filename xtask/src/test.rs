//! `cargo xtask test`: what must hold before a change is merged.

use std::{fs, process::Command};

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

use crate::{
    cargo::{cargo, require_components},
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
    let steps: [(&str, Kind, Command); 6] = [
        ("format", Kind::Check, cargo("fmt --all --check")),
        (
            "clippy",
            Kind::Check,
            cargo("clippy --workspace --all-targets --all-features --locked -- -D warnings"),
        ),
        ("tests", Kind::Tests, tests),
        ("docs", Kind::Check, docs),
        (
            "format of the fuzz targets",
            Kind::Check,
            cargo("fmt --manifest-path resp/fuzz/Cargo.toml --check"),
        ),
        (
            "build of the fuzz targets",
            Kind::Check,
            cargo("check --manifest-path resp/fuzz/Cargo.toml --locked"),
        ),
    ];
    let steps = steps
        .into_iter()
        .map(|(name, kind, command)| step::run(name, kind, command))
        .collect::<Result<_>>()?;

    let skipped = skipped_tests(&skipped)?;
    Ok(Summary { steps, skipped })
}

/// What testkit's `skip` wrote, a line for each test.
pub(crate) fn skipped_tests(file: &NamedTempFile) -> Result<Vec<String>> {
    let text = fs::read_to_string(file.path()).context("cannot read what was skipped")?;
    Ok(text.lines().map(str::to_owned).collect())
}
