//! One command of a task: run, shown, timed and counted.

use std::{
    io::{self, BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::tally::Tally;

/// What a command must do to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// End with success.
    Check,
    /// End with success and have run at least one test.
    Tests,
}

/// How a step went.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) took: Duration,
    pub(crate) success: bool,
    pub(crate) tests: Tally,
}

/// Runs a command without input, and shows what it writes while counting its tests.
///
/// # Errors
///
/// When it cannot be started or shown. What it finds wrong is its outcome.
pub(crate) fn run(name: &str, kind: Kind, command: Command) -> Result<Outcome> {
    run_to(&mut io::stdout(), name, kind, command)
}

fn run_to(
    screen: &mut impl Write,
    name: &str,
    kind: Kind,
    mut command: Command,
) -> Result<Outcome> {
    let begun = Instant::now();
    writeln!(screen, "\n== {name}")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let mut tests = Tally::default();
    if let Some(output) = child.stdout.take() {
        show(output, screen, &mut tests).context("cannot pass output on")?;
    }
    let ended_well = child.wait().context("cannot wait")?.success();
    let ran_enough = kind == Kind::Check || tests.passed + tests.failed > 0;
    Ok(Outcome {
        name: name.to_owned(),
        kind,
        took: begun.elapsed(),
        success: ended_well && ran_enough && tests.failed == 0,
        tests,
    })
}

fn show(output: impl io::Read, screen: &mut impl Write, tests: &mut Tally) -> io::Result<()> {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        screen.write_all(&line)?;
        tests.read(&String::from_utf8_lossy(&line));
        line.clear();
    }
    screen.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not to the real screen, where whoever counts this crate's tests would count theirs too.
    fn run(kind: Kind, script: &str) -> (Outcome, String) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut screen = Vec::new();
        let outcome = run_to(&mut screen, "step", kind, command).unwrap();
        (outcome, String::from_utf8(screen).unwrap())
    }

    #[test]
    fn tests_are_counted_as_they_pass_by() {
        let script = "echo 'test result: ok. 3 passed; 0 failed; 1 ignored; rest'";
        let (outcome, screen) = run(Kind::Tests, script);
        assert_eq!(
            screen,
            "\n== step\ntest result: ok. 3 passed; 0 failed; 1 ignored; rest\n"
        );
        assert!(outcome.success);
        assert_eq!((outcome.tests.passed, outcome.tests.ignored), (3, 1));
    }

    #[test]
    fn a_command_that_fails_or_tests_nothing_is_no_success() {
        for (kind, script, success) in [
            (Kind::Check, "true", true),
            (Kind::Check, "false", false),
            (Kind::Tests, "true", false),
            (
                Kind::Tests,
                "echo 'test result: ok. 1 passed; 0 failed;'; exit 101",
                false,
            ),
            (
                Kind::Tests,
                "echo 'test result: FAILED. 1 passed; 1 failed;'",
                false,
            ),
        ] {
            let (outcome, _) = run(kind, script);
            assert_eq!(outcome.success, success, "{kind:?} {script}");
        }
    }

    #[test]
    fn input_is_empty() {
        assert!(!run(Kind::Check, "read line").0.success);
    }
}
