//! A Python and a Node.js of their own, with the client library in it: made once, under the target
//! folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use bellwether_testkit::Program;

/// How long a registry may take: beyond, it counts as one that does not answer.
const PATIENCE: Duration = Duration::from_secs(180);

/// The versions for which the cases are written.
const REDIS_PY: &str = "redis>=6,<9";

const IOREDIS: &str = "ioredis@5";

/// A Python that has redis-py.
///
/// # Errors
/// Why there is none: Python is missing, or the registry does not answer.
pub(crate) fn python() -> Result<Program, String> {
    // A registry that does not answer one test is not asked by the next one.
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let steps = |dir: &Path| {
        let pip = Program::new(dir.join("bin/python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(["--retries", "1", REDIS_PY]);
        vec![Program::new("python3").args(["-m", "venv"]).arg(dir), pip]
    };
    let made = MADE.get_or_init(|| made("python", "python3", REDIS_PY, steps));
    let dir = made.clone()?;
    Ok(Program::new(dir.join("bin/python")))
}

/// A Node.js that finds ioredis.
///
/// # Errors
/// Why there is none: Node.js or npm is missing, or the registry does not answer.
pub(crate) fn node() -> Result<Program, String> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let steps = |dir: &Path| {
        let npm = Program::new("npm")
            .args([
                "install",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                "--prefix",
            ])
            .arg(dir)
            .arg(IOREDIS);
        vec![npm]
    };
    let made = MADE.get_or_init(|| made("node", "node", IOREDIS, steps));
    let dir = made.clone()?;
    Ok(Program::new("node").env("NODE_PATH", dir.join("node_modules")))
}

/// The folder with this in it. Whoever comes first makes it, and others wait.
fn made(
    name: &str,
    interpreter: &str,
    requirement: &str,
    steps: impl FnOnce(&Path) -> Vec<Program>,
) -> Result<PathBuf, String> {
    let version = Command::new(interpreter).arg("--version").output();
    let version = version.map_err(|error| format!("{interpreter} cannot be run: {error}"))?;
    let content = format!(
        "{requirement}, {}",
        String::from_utf8_lossy(&version.stdout)
    );
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("clients-{name}"));
    let told = |error| format!("{}: {error}", dir.display());
    let lock = File::create(dir.with_extension("lock")).map_err(told)?;
    lock.lock().map_err(told)?;
    let complete = dir.join("complete");
    if fs::read_to_string(&complete).is_ok_and(|there| there == content) {
        return Ok(dir);
    }
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(told)?;
    }
    fs::create_dir_all(&dir).map_err(told)?;
    for step in steps(&dir) {
        run(step, &dir.join("log"), PATIENCE)?;
    }
    fs::write(complete, content).map_err(told)?;
    Ok(dir)
}

/// Runs a program to its end; what is in its log then.
///
/// # Errors
/// It did not succeed, or not `within`; with what it wrote.
pub(crate) fn run(program: Program, log: &Path, within: Duration) -> Result<String, String> {
    let ended = program.log(log).spawn();
    let ended = ended.and_then(|mut process| process.wait(within));
    let said = fs::read_to_string(log).unwrap_or_else(|error| error.to_string());
    match ended {
        Ok(status) if status.success() => Ok(said),
        Ok(status) => Err(format!("{status}: {said}")),
        Err(error) => Err(format!("{error:#}: {said}")),
    }
}
