//! Redis's test suite: fetched once, and laid out afresh for each run.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use bellwether_testkit::install;
use tempfile::TempDir;

use super::apt;
use crate::cargo::root;

/// What the suite's cases call, by the names that they have where Redis is built.
const PROGRAMS: [&str; 5] = [
    "redis-server",
    "redis-cli",
    "redis-benchmark",
    "redis-check-aof",
    "redis-check-rdb",
];

/// The suite, unpacked.
#[derive(Debug)]
pub(super) struct Suite {
    dir: PathBuf,
}

impl Suite {
    /// Finds the one that belongs to the installed redis-server, or gets it from the package's
    /// source, which stays in cargo's target directory.
    ///
    /// # Errors
    ///
    /// When redis-server, Tcl or dpkg-dev cannot be installed, or the source be downloaded.
    pub(super) fn fetch() -> Result<Self> {
        install::redis_server()?;
        install::tool("redis-cli", "redis-tools")?;
        install::tool("tclsh", "tcl")?;
        let version = server_version()?;
        let kept = target_dir().join("conformance");
        fs::create_dir_all(&kept).with_context(|| format!("cannot create {}", kept.display()))?;
        // Links to it are made elsewhere.
        let kept = fs::canonicalize(kept)?;
        let dir = kept.join(format!("redis-{version}"));
        if !dir.exists() {
            install::tool("dpkg-source", "dpkg-dev")?;
            unpack(&kept, &dir, &version)?;
        }
        Ok(Self { dir })
    }

    /// The units, in the suite's own order.
    ///
    /// # Errors
    ///
    /// When the suite does not run.
    pub(super) fn units(&self) -> Result<Vec<String>> {
        let listed = self.command().arg("--list-tests").output();
        let listed = listed.context("cannot run tclsh")?;
        let units = String::from_utf8(listed.stdout).context("the list of units")?;
        let units: Vec<_> = units.lines().map(str::to_owned).collect();
        ensure!(
            listed.status.success() && !units.is_empty(),
            "the suite does not list its units: {}",
            String::from_utf8_lossy(&listed.stderr)
        );
        Ok(units)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tclsh");
        command.arg("tests/test_helper.tcl");
        command.current_dir(&self.dir).stdin(Stdio::null());
        command
    }

    /// A directory to run it in: runs leave files behind, and clean up after each other.
    ///
    /// # Errors
    ///
    /// When it cannot be created.
    pub(super) fn lay_out(&self) -> Result<TempDir> {
        let place = tempfile::Builder::new()
            .prefix("bellwether-conformance-")
            .tempdir()?;
        let tests = place.path().join("tests");
        let programs = place.path().join("src");
        fs::create_dir_all(tests.join("tmp"))?;
        fs::create_dir_all(&programs)?;
        for entry in fs::read_dir(self.dir.join("tests"))? {
            let entry = entry?;
            if entry.file_name() != "tmp" {
                symlink(entry.path(), tests.join(entry.file_name()))?;
            }
        }
        for program in PROGRAMS {
            if let Some(path) = in_path(program) {
                symlink(path, programs.join(program))?;
            }
        }
        Ok(place)
    }
}

/// Cargo's.
pub(super) fn target_dir() -> PathBuf {
    let given = env::var_os("CARGO_TARGET_DIR");
    given.map_or_else(|| root().join("target"), PathBuf::from)
}

/// As the installed redis-server says, `7.0.15`.
fn server_version() -> Result<String> {
    let output = Command::new("redis-server").arg("--version").output();
    let text = String::from_utf8(output.context("cannot run redis-server")?.stdout)?;
    let version = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix("v="));
    let version = version.with_context(|| format!("redis-server names no version: {text}"))?;
    Ok(version.to_owned())
}

/// Moved into place as the last step, so that an interrupted one leaves nothing that looks whole.
fn unpack(kept: &Path, dir: &Path, version: &str) -> Result<()> {
    println!("fetching the test suite of Redis {version}");
    let work = tempfile::Builder::new().prefix("fetch-").tempdir_in(kept)?;
    let source = apt::download_source("redis", "redis-server", work.path())?;
    let unpacked = work.path().join("unpacked");
    let output = Command::new("dpkg-source")
        .args([
            "--extract".as_ref(),
            source.as_os_str(),
            unpacked.as_os_str(),
        ])
        .stdin(Stdio::null())
        .output()
        .context("cannot run dpkg-source")?;
    ensure!(
        output.status.success(),
        "dpkg-source failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let header = fs::read_to_string(unpacked.join("src/version.h")).context("no src/version.h")?;
    ensure!(
        header.contains(&format!("\"{version}\"")),
        "redis-server is {version}, but its package's source is not: {}; upgrade redis-server",
        header.trim()
    );
    fs::rename(&unpacked, dir).with_context(|| format!("cannot create {}", dir.display()))
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}
