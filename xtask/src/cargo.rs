//! How cargo is called: always the one that called us, always at the root of the workspace.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// `cargo` with these arguments, separated by blanks.
pub(crate) fn cargo(arguments: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(arguments.split_whitespace())
        .current_dir(root());
    command
}

/// Whether cargo has this subcommand.
pub(crate) fn has(subcommand: &str) -> Result<bool> {
    let output = cargo(subcommand)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .context("cannot run cargo")?;
    Ok(output.status.success())
}

/// Checks for the parts of a toolchain that rustup's minimal profile leaves out.
pub(crate) fn require_components() -> Result<()> {
    ensure!(
        has("fmt")? && has("clippy")?,
        "rustfmt or clippy is missing; run: rustup component add rustfmt clippy"
    );
    Ok(())
}
