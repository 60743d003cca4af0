//! What is printed, and whether all is as it should be.

use std::fmt;

use super::{
    compare::{Comparison, Told, Verdict},
    known::{FILE, Known},
    log::Outcome,
};

/// Of the cases that can be compared, at most one in so many may differ, steadily or not.
const ONE_IN: usize = 100;

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All units.
    Whole,
    /// Some units, of whose cases more may differ.
    Part,
}

/// The units that ran, beside what is known.
#[derive(Debug)]
pub(super) struct Report<'a> {
    scope: Scope,
    known: &'a Known,
    units: Vec<Comparison>,
}

impl<'a> Report<'a> {
    pub(super) fn new(scope: Scope, known: &'a Known) -> Self {
        Self {
            scope,
            known,
            units: Vec::new(),
        }
    }

    /// Takes a unit in, and prints its line at once: the next one takes a while.
    pub(super) fn add(&mut self, unit: Comparison) {
        if self.units.is_empty() {
            println!(
                "| {:<38} | cases | same | failing | different | unsteady | set aside | ignored |\n\
                 |{:-<40}|------:|-----:|--------:|----------:|---------:|----------:|--------:|",
                "unit", ""
            );
        }
        println!("{}", Row(&unit));
        self.units.push(unit);
    }

    /// Whether the cases that differ are few and exactly those that are known.
    pub(super) fn is_success(&self) -> bool {
        let compared = sum(&self.units, Comparison::compared);
        compared > 0
            && (self.scope == Scope::Part || self.different() * ONE_IN <= compared)
            && self.unknown().next().is_none()
            && self.outdated().next().is_none()
    }

    fn different(&self) -> usize {
        sum(&self.units, |unit| {
            unit.different.len() + unit.unsteady.len()
        })
    }

    fn unknown(&self) -> impl Iterator<Item = (&str, &Verdict)> {
        let all = self.units.iter().flat_map(|unit| {
            let verdicts = unit.different.iter();
            verdicts.map(|verdict| (unit.unit.as_str(), verdict))
        });
        all.filter(|(unit, verdict)| self.known.find(unit, &verdict.case.name).is_none())
    }

    /// What is known of the units that ran, and is not so any more.
    fn outdated(&self) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.known.entries.iter();
        entries.filter_map(|entry| {
            let unit = self.units.iter().find(|unit| unit.unit == entry.unit)?;
            let open = [&unit.different, &unit.unsteady, &unit.set_aside];
            let is_so = open
                .into_iter()
                .flatten()
                .any(|verdict| verdict.case.name == entry.case);
            (!is_so).then_some((entry.unit.as_str(), entry.case.as_str()))
        })
    }
}

fn sum(units: &[Comparison], count: impl Fn(&Comparison) -> usize) -> usize {
    units.iter().map(count).sum()
}

/// A unit's line in the table.
struct Row<'a>(&'a Comparison);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(unit) = self;
        write!(
            f,
            "| {:<38} | {:>5} | {:>4} | {:>7} | {:>9} | {:>8} | {:>9} | {:>7} |",
            unit.unit,
            unit.compared() + unit.set_aside.len(),
            unit.same,
            unit.failed,
            unit.different.len(),
            unit.unsteady.len(),
            unit.set_aside.len(),
            unit.ignored
        )
    }
}

/// Everything behind the table.
impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compared = sum(&self.units, Comparison::compared);
        let failed = sum(&self.units, |unit| unit.failed);
        let aside = sum(&self.units, |unit| unit.set_aside.len());
        let different = self.different();
        let unsteady = sum(&self.units, |unit| unit.unsteady.len());
        #[expect(clippy::cast_precision_loss, reason = "a few thousand at most")]
        let percent = 100.0 * different as f64 / compared.max(1) as f64;
        writeln!(
            f,
            "\n{compared} cases compared, {different} different ({percent:.2} %; of all units at most \
             {} %), {unsteady} of them not always; {failed} fail directly too; {aside} set aside",
            100 / ONE_IN
        )?;
        for unit in &self.units {
            for verdict in &unit.set_aside {
                writeln!(f, "\nset aside: {}", InFull(&unit.unit, verdict))?;
            }
        }
        for unit in &self.units {
            for verdict in &unit.different {
                let known = self.known.find(&unit.unit, &verdict.case.name);
                if let Some(entry) = known {
                    writeln!(f, "\nknown: {}", InFull(&unit.unit, verdict))?;
                    writeln!(f, "    reason: {}", entry.reason)?;
                }
            }
        }
        for unit in &self.units {
            for verdict in &unit.unsteady {
                writeln!(f, "\nUNSTEADY: {}", InFull(&unit.unit, verdict))?;
            }
        }
        for (unit, verdict) in self.unknown() {
            writeln!(f, "\nUNKNOWN DIFFERENCE: {}", InFull(unit, verdict))?;
        }
        for (unit, case) in self.outdated() {
            writeln!(
                f,
                "\nNO DIFFERENCE ANY MORE: {unit}: {case}; remove it from {FILE}"
            )?;
        }
        if compared == 0 {
            writeln!(f, "\nNO CASE RAN")?;
        }
        writeln!(f, "\n{}", if self.is_success() { "ok" } else { "FAILED" })
    }
}

/// A case with what its runs told.
struct InFull<'a>(&'a str, &'a Verdict);

impl fmt::Display for InFull<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(unit, verdict) = self;
        write!(f, "{unit}: {}", verdict.case.name)?;
        if verdict.case.repetition > 0 {
            write!(f, " (no. {})", verdict.case.repetition + 1)?;
        }
        for told in alike(&verdict.direct) {
            write!(f, "\n    directly:          {told}")?;
        }
        for told in alike(&verdict.proxy) {
            write!(f, "\n    through the proxy: {told}")?;
        }
        Ok(())
    }
}

/// One for all, if they are alike.
fn alike(told: &[Told]) -> &[Told] {
    let all_alike = told.iter().all(|other| other.is_like(&told[0]));
    if all_alike { &told[..1] } else { told }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(Outcome::Passed) => write!(f, "passed"),
            Self::Ended(Outcome::Failed(message)) => write!(f, "failed: {}", short(message)),
            Self::Ended(Outcome::Hung) => write!(f, "hung"),
            Self::NotReached(reason) => write!(f, "not reached: {}", short(reason)),
            Self::Absent => write!(f, "did not run"),
        }
    }
}

/// One line of what may be a page.
fn short(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{known::Entry, log::Log};
    use super::*;

    /// A unit of `cases` cases, the first `failing` of which fail through the proxy only.
    fn unit(cases: usize, failing: usize) -> Comparison {
        let log = |failing: usize| {
            let line = |index| match index < failing {
                true => format!("[err]: case {index} in tests/unit/a.tcl\nExpected 1\n"),
                false => format!("[ok]: case {index} (0 ms)\n"),
            };
            let lines: String = (0..cases).map(line).collect();
            Log::read(&format!("{lines}[1/1 done]: unit/a (0 seconds)\n"))
        };
        Comparison::new("unit/a", &[log(0)], &[log(failing)])
    }

    fn known(cases: &[&str]) -> Known {
        let entry = |case: &&str| Entry {
            unit: "unit/a".to_owned(),
            case: (*case).to_owned(),
            reason: "because".to_owned(),
        };
        Known {
            entries: cases.iter().map(entry).collect(),
        }
    }

    fn report(unit: Comparison, known: &Known) -> (bool, String) {
        let mut report = Report::new(Scope::Whole, known);
        report.add(unit);
        (report.is_success(), report.to_string())
    }

    #[test]
    fn known_differences_are_accepted() {
        let (success, text) = report(unit(100, 1), &known(&["case 0"]));
        assert!(success, "{text}");
        let told = "known: unit/a: case 0\n    directly:          passed\n    \
                    through the proxy: failed: Expected 1\n    reason: because\n";
        assert!(text.contains(told), "{text}");
        assert!(text.ends_with("\nok\n"), "{text}");
        assert!(report(unit(100, 0), &known(&[])).0);
    }

    #[test]
    fn unknown_differences_fail() {
        let (success, text) = report(unit(100, 1), &known(&[]));
        assert!(!success);
        assert!(
            text.contains("UNKNOWN DIFFERENCE: unit/a: case 0\n"),
            "{text}"
        );
        assert!(text.ends_with("\nFAILED\n"), "{text}");
    }

    #[test]
    fn what_differs_no_more_fails_too() {
        let (success, text) = report(unit(100, 0), &known(&["case 0"]));
        assert!(!success);
        assert!(
            text.contains("NO DIFFERENCE ANY MORE: unit/a: case 0;"),
            "{text}"
        );
    }

    #[test]
    fn many_differences_fail_though_they_are_known() {
        let known = known(&["case 0", "case 1"]);
        assert!(!report(unit(199, 2), &known).0);
        assert!(report(unit(200, 2), &known).0);
        let mut part = Report::new(Scope::Part, &known);
        part.add(unit(199, 2));
        assert!(part.is_success());
    }

    #[test]
    fn what_comes_and_goes_is_told_and_counted() {
        let unsteady = |cases, failing| {
            let mut unit = unit(cases, failing);
            unit.unsteady = std::mem::take(&mut unit.different);
            unit
        };
        let (success, text) = report(unsteady(100, 1), &known(&[]));
        assert!(success, "{text}");
        assert!(text.contains("UNSTEADY: unit/a: case 0\n"), "{text}");
        assert!(!report(unsteady(99, 1), &known(&[])).0);
    }

    #[test]
    fn nothing_is_no_success() {
        assert!(!report(unit(0, 0), &known(&[])).0);
    }
}
