//! What a run of a unit printed, read case by case.

use std::collections::BTreeMap;

/// A case: its name, and how often the name has come before in its unit. (Some cases are run in
/// several ways under one name.)
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) repetition: usize,
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    /// What was expected, or where the program of the case broke off.
    Failed(String),
    /// It was under way when nothing happened any more.
    Hung,
}

/// One run of one unit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    /// In the order in which they ended.
    pub(super) cases: Vec<(Case, Outcome)>,
    /// How many cases, or groups of them, are not made for a server that is already there.
    pub(super) ignored: usize,
    /// Why the unit did not come to its end: then cases may be missing.
    pub(super) broke_off: Option<String>,
}

/// A failure that belongs to no case: the code between them.
const BETWEEN: &str = "(between cases)";

impl Log {
    /// Reads what the suite prints; `[ok]: name (12 ms)` and the like.
    pub(super) fn read(text: &str) -> Self {
        let mut reader = Reader::default();
        // Behind this, failures are repeated.
        let text = text.split("\n                   The End\n").next();
        for line in text.unwrap_or_default().lines() {
            reader.line(line);
        }
        reader.close();
        let mut log = reader.log;
        if !reader.done && log.broke_off.is_none() {
            log.broke_off = Some("it ended early".to_owned());
        }
        log
    }

    /// Says that it was ended from outside.
    pub(super) fn cut(&mut self, reason: &str) {
        self.broke_off.get_or_insert(reason.to_owned());
    }

    /// Adds what is no case of the suite, but failed all the same.
    pub(super) fn insert_failure(&mut self, name: &str, message: String) {
        let case = Case {
            name: name.to_owned(),
            repetition: 0,
        };
        self.cases.push((case, Outcome::Failed(message)));
    }

    /// The case that hung, if one did.
    pub(super) fn hung(&self) -> Option<&Case> {
        let mut cases = self.cases.iter();
        cases.find_map(|(case, outcome)| (*outcome == Outcome::Hung).then_some(case))
    }

    /// Adds cases that hung in earlier runs, and that this one therefore left out.
    pub(super) fn insert_hung(&mut self, cases: Vec<Case>) {
        let hung = cases.into_iter().map(|case| (case, Outcome::Hung));
        self.cases.extend(hung);
    }

    pub(super) fn outcome(&self, case: &Case) -> Option<&Outcome> {
        let mut cases = self.cases.iter();
        cases.find_map(|(found, outcome)| (found == case).then_some(outcome))
    }
}

/// A status and what follows it, up to the next one.
#[derive(Debug, Default)]
struct Reader {
    log: Log,
    seen: BTreeMap<String, usize>,
    open: Option<(String, Vec<String>)>,
    done: bool,
}

impl Reader {
    fn line(&mut self, line: &str) {
        if let Some((status, text)) = status(line) {
            self.close();
            self.open = Some((status.to_owned(), vec![text.to_owned()]));
        } else if let Some((_, lines)) = &mut self.open {
            lines.push(line.to_owned());
        }
    }

    fn close(&mut self) {
        let Some((status, lines)) = self.open.take() else {
            return;
        };
        let (first, more) = lines.split_first().expect("it began with a line");
        match status.as_str() {
            "ok" => {
                let name = first
                    .rsplit_once(" (")
                    .map_or(first.as_str(), |(name, _)| name);
                self.case(name, Outcome::Passed);
            }
            "err" => match first.rsplit_once(" in tests/") {
                Some((name, _)) => self.case(name, Outcome::Failed(more.join("\n"))),
                None => self.case(BETWEEN, Outcome::Failed(lines.join("\n"))),
            },
            "ignore" => self.log.ignored += 1,
            "exception" => self.log.cut(&lines.join("\n")),
            "TIMEOUT" => {
                self.log.cut("it hung");
                let under_way = more
                    .iter()
                    .find_map(|line| line.split_once(" => (IN PROGRESS) "));
                if let Some((_, name)) = under_way {
                    self.case(name, Outcome::Hung);
                }
            }
            // As "1/1 done".
            _ => self.done |= status.ends_with("done"),
        }
    }

    fn case(&mut self, name: &str, outcome: Outcome) {
        let count = self.seen.entry(name.to_owned()).or_default();
        let case = Case {
            name: name.to_owned(),
            repetition: *count,
        };
        *count += 1;
        self.log.cases.push((case, outcome));
    }
}

/// `[status]: text`, where the status is one that the suite knows: messages, too, may begin with a
/// bracket.
fn status(line: &str) -> Option<(&str, &str)> {
    let (status, text) = line.strip_prefix('[')?.split_once("]: ")?;
    let known = matches!(
        status,
        "ok" | "err" | "ignore" | "skip" | "exception" | "TIMEOUT" | "ready"
    );
    (known || status.ends_with(" done")).then_some((status, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, repetition: usize) -> Case {
        Case {
            name: name.to_owned(),
            repetition,
        }
    }

    #[test]
    fn each_case_has_its_outcome() {
        let log = Log::read(
            "Starting test server at port 1\n[ready]: 12\nTesting unit/a\n\
             [ok]: SET (and GET) (3 ms)\n\
             [err]: one in a row in tests/unit/a.tcl\nExpected 'x'\n[not a status]: y\n\
             [ignore]: two: Not supported on external server\n\
             [ok]: SET (and GET) (0 ms)\n\
             [1/1 done]: unit/a (0 seconds)\n\n                   The End\n\n\
             *** [err]: one in a row in tests/unit/a.tcl\n[err]: as if in tests/unit/a.tcl\n",
        );
        let failed = "Expected 'x'\n[not a status]: y".to_owned();
        let expected = Log {
            cases: vec![
                (case("SET (and GET)", 0), Outcome::Passed),
                (case("one in a row", 0), Outcome::Failed(failed)),
                (case("SET (and GET)", 1), Outcome::Passed),
            ],
            ignored: 1,
            broke_off: None,
        };
        assert_eq!(log, expected);
    }

    #[test]
    fn an_exception_breaks_off() {
        let log =
            Log::read("[ok]: a (3 ms)\n[exception]: Executing test client: I/O error.\nwhere\n");
        assert_eq!(log.cases.len(), 1);
        let reason = "Executing test client: I/O error.\nwhere";
        assert_eq!(log.broke_off.as_deref(), Some(reason));
    }

    #[test]
    fn what_hangs_is_named() {
        let log = Log::read(
            "[ok]: a (3 ms)\n[TIMEOUT]: clients state report follows.\n\
             sock5 => (IN PROGRESS) b\n\n                   The End\n",
        );
        assert_eq!(log.outcome(&case("b", 0)), Some(&Outcome::Hung));
        assert_eq!(log.hung(), Some(&case("b", 0)));
        assert_eq!(log.broke_off.as_deref(), Some("it hung"));
    }

    #[test]
    fn silence_is_no_end() {
        let log = Log::read("[ok]: a (3 ms)\n");
        assert_eq!(log.broke_off.as_deref(), Some("it ended early"));
        assert!(Log::read("").broke_off.is_some());
    }

    #[test]
    fn a_failure_between_cases_counts() {
        let log = Log::read("[err]: error reading reply\nhere\n[1/1 done]: unit/a (0 seconds)\n");
        assert!(matches!(
            log.outcome(&case(BETWEEN, 0)),
            Some(Outcome::Failed(_))
        ));
        assert_eq!(log.broke_off, None);
    }
}
