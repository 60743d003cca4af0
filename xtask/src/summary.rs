//! What a task tells at its end.

use std::fmt;

use crate::step::{Kind, Outcome};

/// The outcome of all steps, and the tests that this machine could not run.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) steps: Vec<Outcome>,
    /// One line for each test that returned early and said so; cargo counts these as passed.
    pub(crate) skipped: Vec<String>,
}

impl Summary {
    pub(crate) fn is_success(&self) -> bool {
        self.failed() == 0
    }

    fn passed(&self) -> usize {
        let passed: usize = self.steps.iter().map(|step| step.tests.passed).sum();
        passed.saturating_sub(self.skipped.len())
    }

    /// Tests that failed, and steps that failed without one: a compile error, a badly set line.
    fn failed(&self) -> usize {
        let of = |step: &Outcome| {
            if step.success {
                0
            } else {
                step.tests.failed.max(1)
            }
        };
        self.steps.iter().map(of).sum()
    }

    fn skipped(&self) -> usize {
        let ignored: usize = self.steps.iter().map(|step| step.tests.ignored).sum();
        ignored + self.skipped.len()
    }
}

/// Each step, what failed and what was skipped; where tests ran, the last line counts.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            let verdict = if step.success { "ok" } else { "FAILED" };
            writeln!(
                f,
                "{verdict:<6} {:>7.1} s  {}",
                step.took.as_secs_f64(),
                step.name
            )?;
            for test in &step.tests.failures {
                writeln!(f, "                  failed: {test}")?;
            }
        }
        for test in &self.skipped {
            writeln!(f, "SKIPPED {test}")?;
        }
        if self.steps.iter().any(|step| step.kind == Kind::Tests) {
            let (passed, failed, skipped) = (self.passed(), self.failed(), self.skipped());
            writeln!(f, "{passed} passed, {failed} failed, {skipped} skipped")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tally::Tally;

    fn step(name: &str, kind: Kind, success: bool, tests: Tally) -> Outcome {
        let took = Duration::from_millis(1500);
        Outcome {
            name: name.to_owned(),
            kind,
            took,
            success,
            tests,
        }
    }

    #[test]
    fn a_skipped_test_did_not_pass() {
        let tests = Tally {
            passed: 10,
            ignored: 1,
            ..Tally::default()
        };
        let summary = Summary {
            steps: vec![
                step("format", Kind::Check, true, Tally::default()),
                step("tests", Kind::Tests, true, tests),
            ],
            skipped: vec!["partition: needs root".to_owned()],
        };
        assert!(summary.is_success());
        let text = summary.to_string();
        assert!(text.contains("SKIPPED partition: needs root\n"), "{text}");
        assert!(
            text.ends_with("\n9 passed, 0 failed, 2 skipped\n"),
            "{text}"
        );
    }

    #[test]
    fn what_fails_without_a_test_counts_too() {
        let failures = vec!["core::b".to_owned()];
        let tests = Tally {
            passed: 4,
            failed: 1,
            failures,
            ..Tally::default()
        };
        let summary = Summary {
            steps: vec![
                step("clippy", Kind::Check, false, Tally::default()),
                step("tests", Kind::Tests, false, tests),
            ],
            skipped: Vec::new(),
        };
        assert!(!summary.is_success());
        let text = summary.to_string();
        assert!(text.starts_with("FAILED     1.5 s  clippy\n"), "{text}");
        assert!(text.contains("failed: core::b\n"), "{text}");
        assert!(
            text.ends_with("\n4 passed, 2 failed, 0 skipped\n"),
            "{text}"
        );
    }

    #[test]
    fn where_no_tests_ran_none_are_counted() {
        let steps = vec![step("fuzz scan", Kind::Check, true, Tally::default())];
        let summary = Summary {
            steps,
            skipped: Vec::new(),
        };
        assert_eq!(summary.to_string(), "ok         1.5 s  fuzz scan\n");
    }
}
