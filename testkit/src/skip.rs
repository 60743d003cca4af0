//! Tests that cannot run here say so, and are counted.

use std::fs::OpenOptions;
use std::io::Write;

use nix::unistd::geteuid;

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

/// Whether this process is root; otherwise [`skip`]s `test`.
#[must_use]
pub fn root_or_skip(test: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        skip(test, "needs root");
    }
    root
}
