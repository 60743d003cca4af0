//! What `cargo test` says of its tests, read from the lines that it prints.

/// Tests by their outcome, as told by the `test result:` line of each test binary.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) ignored: usize,
    /// The names of those that failed.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// Takes one line of output; most say nothing of interest.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.passed += number_before(result, "passed;");
            self.failed += number_before(result, "failed;");
            self.ignored += number_before(result, "ignored;");
        } else if let Some(test) = line.strip_prefix("test ")
            && let Some((name, outcome)) = test.rsplit_once(" ... ")
            && outcome.contains("FAILED")
        {
            self.failures.push(name.to_owned());
        }
    }
}

/// By words, because colours may stand between them.
fn number_before(result: &str, word: &str) -> usize {
    let mut number = 0;
    for next in result.split_whitespace() {
        if next == word {
            return number;
        }
        number = next.parse().unwrap_or(0);
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_add_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test core::a ... ok",
            "test core::b ... FAILED",
            "test src/lib.rs - Connection (line 12) ... \u{1b}[31mFAILED\u{1b}[m",
            "test result: FAILED. 10 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.02s",
            "test result: \u{1b}[32mok\u{1b}(B\u{1b}[m. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
            "all doctests ran in 0.64s; merged doctests compilation took 0.64s",
        ] {
            tally.read(line);
        }
        let failures = vec![
            "core::b".to_owned(),
            "src/lib.rs - Connection (line 12)".to_owned(),
        ];
        assert_eq!(
            tally,
            Tally {
                passed: 15,
                failed: 2,
                ignored: 1,
                failures
            }
        );
    }
}
