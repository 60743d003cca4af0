//! `cargo xtask bench lease`: the election's own bench, built for speed.

use anyhow::{Result, ensure};

use crate::cargo::cargo;

pub(super) fn run() -> Result<()> {
    let mut bench = cargo("bench -p bellwether-election --features kube --locked --bench lease");
    ensure!(bench.status()?.success(), "see above");
    Ok(())
}
