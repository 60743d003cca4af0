//! Tests that cannot run here say so, and are counted.

use std::fs::OpenOptions;
use std::io::Write;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

use crate::Program;

/// Says on standard error, and in the file that `BELLWETHER_SKIPPED` names, that a test did not
/// run.
///
/// # Panics
///
/// If that file cannot be written: a skipped test that is not counted would look like a passed one.
pub fn skip(test: &str, reason: &str) {
    // Not by `eprintln!`, which the test harness would capture.
    let mut stderr = std::io::stderr();
    writeln!(stderr, "SKIPPED: {test}: {reason}").expect("standard error can be written");
    if let Some(path) = std::env::var_os("BELLWETHER_SKIPPED") {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(format!("{test}: {reason}\n").as_bytes()))
            .unwrap_or_else(|error| panic!("cannot note {test} in {}: {error}", path.display()));
    }
}

/// Whether this process may build a [`Network`](crate::Network); otherwise [`skip`]s `test`. Root in
/// an ordinary container may not.
#[must_use]
pub fn networks_or_skip(test: &str) -> bool {
    // Tried on a thread that is gone afterwards, and its namespaces with it.
    let allowed = thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS));
    let reason = match allowed.join() {
        Ok(Ok(())) if geteuid().is_root() => return true,
        Ok(Err(errno)) if geteuid().is_root() => format!("network namespaces are refused: {errno}"),
        _ => "network namespaces need root".into(),
    };
    skip(test, &reason);
    false
}

/// Whether this process may start a [`Program`] that is [`mounted`](Program::mounted) something;
/// otherwise [`skip`]s `test`.
#[must_use]
pub fn mounts_or_skip(test: &str) -> bool {
    let tried = Program::new("true").mounted("/tmp", "/mnt").captured();
    let status = tried.spawn().and_then(|mut tried| {
        let status = tried.wait(Duration::from_secs(30))?;
        Ok((status.success(), tried.lines().all().join(" ")))
    });
    let reason = match status {
        Ok((true, _)) => return true,
        Ok((false, said)) => format!("mount namespaces need root: {said}"),
        Err(error) => format!("{error:#}"),
    };
    skip(test, &reason);
    false
}
