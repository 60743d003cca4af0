//! Gets the tools that tests need from Debian's or Ubuntu's packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::geteuid;

use crate::claim::claim;
use crate::until;

/// Makes sure that `redis-server` can be run; its service is not started.
///
/// # Errors
///
/// As [`tool`].
pub fn redis_server() -> Result<()> {
    tool("redis-server", "redis-server")
}

/// Makes sure that `ip` can be run.
///
/// # Errors
///
/// As [`tool`].
pub fn ip() -> Result<()> {
    tool("ip", "iproute2")
}

/// Makes sure that `program` can be run: as root, installs `package` if it is missing, without
/// starting any service.
///
/// # Errors
///
/// When it is missing and this is not root, with the line that installs it; when apt-get fails.
pub fn tool(program: &str, package: &str) -> Result<()> {
    // One at a time, or each would find the others' work half done.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if find(program).is_some() {
        return Ok(());
    }
    ensure!(
        geteuid().is_root(),
        "{program} is missing; install it with: sudo apt-get install --no-install-recommends {package}"
    );
    let wait = Duration::from_secs(600);
    let _claim = until(wait, "another test run's apt-get", || {
        claim("apt", 0).transpose()
    })??;
    if find(program).is_some() {
        return Ok(());
    }
    install(package)?;
    ensure!(
        find(program).is_some(),
        "{package} is installed, but {program} is not in PATH"
    );
    Ok(())
}

/// Tries with the package lists at hand first, since fetching them takes a while.
fn install(package: &str) -> Result<()> {
    let _policy = NoServices::begin()?;
    let install = ["install", "--yes", "--no-install-recommends", package];
    if apt_get(&install).is_ok() {
        return Ok(());
    }
    apt_get(&["update"])?;
    apt_get(&install)
}

fn apt_get(args: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(["-o", "DPkg::Lock::Timeout=300", "-q"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .context("cannot run apt-get; is this Debian or Ubuntu?")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("apt-get {} failed: {}", args.join(" "), errors.trim());
    }
    Ok(())
}

/// Where in `PATH` the program is.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// While this lives, packages that are installed do not start their services: their scripts ask
/// `/usr/sbin/policy-rc.d` (Debian's invoke-rc.d), for which 101 means "not allowed". The
/// administrator's own policy is left as it is.
struct NoServices {
    ours: bool,
}

impl NoServices {
    const FILE: &str = "/usr/sbin/policy-rc.d";
    const TEXT: &str =
        "#!/bin/sh\n# Written by bellwether-testkit, for the time of an installation.\nexit 101\n";

    fn begin() -> Result<Self> {
        let file = Path::new(Self::FILE);
        // Ours of a run that was killed is taken over.
        let ours = !file.exists() || fs::read_to_string(file).is_ok_and(|text| text == Self::TEXT);
        if ours {
            use std::os::unix::fs::PermissionsExt;
            fs::write(file, Self::TEXT).with_context(|| format!("cannot write {}", Self::FILE))?;
            fs::set_permissions(file, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(Self::FILE)
        {
            eprintln!("cannot remove {}: {error}", Self::FILE);
        }
    }
}
