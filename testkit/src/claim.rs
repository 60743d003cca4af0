//! Claims of numbered things (blocks of ports, subnets) among the test processes of a machine.
//!
//! A claim is a lock on a file, so the kernel drops it with the process, however that ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::unistd::geteuid;

/// Holds a number for this process as long as it lives.
#[derive(Debug)]
pub(crate) struct Claim {
    _lock: File,
}

/// Claims `kind`/`number`; `None` when another process, or another claim of this one, has it.
pub(crate) fn claim(kind: &str, number: usize) -> Result<Option<Claim>> {
    let path = directory()?.join(format!("{kind}-{number}"));
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(Claim { _lock: lock })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Where the lock files are: one directory for each user, since users cannot open each other's.
fn directory() -> Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("bellwether-claims-{}", geteuid()));
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}
