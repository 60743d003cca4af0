//! What a unit's runs say of each of its cases.

use std::collections::BTreeSet;

use super::log::{Case, Log, Outcome};

/// The cases of a unit, sorted by what their runs showed.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) unit: String,
    /// Cases that ended alike in all runs.
    pub(super) same: usize,
    /// How many of these failed each time.
    pub(super) failed: usize,
    /// How many groups of cases are not made for a server that is already there.
    pub(super) ignored: usize,
    /// The direct runs differed: they say nothing about the proxy.
    pub(super) set_aside: Vec<Verdict>,
    /// The direct runs agreed, those through the proxy ended sometimes alike, sometimes not: a race
    /// in the case, as a rule, that the proxy's delay makes visible.
    pub(super) unsteady: Vec<Verdict>,
    /// The direct runs agreed, and all through the proxy ended otherwise.
    pub(super) different: Vec<Verdict>,
}

/// One case, and how it ended in each run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) case: Case,
    pub(super) direct: Vec<Told>,
    pub(super) proxy: Vec<Told>,
}

/// An outcome, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Ended(Outcome),
    /// The unit broke off before.
    NotReached(String),
    /// The unit came to its end without it.
    Absent,
}

impl Comparison {
    /// # Panics
    ///
    /// If there is no direct run.
    pub(super) fn new(unit: &str, direct: &[Log], proxy: &[Log]) -> Self {
        let mut comparison = Self {
            unit: unit.to_owned(),
            same: 0,
            failed: 0,
            ignored: direct[0].ignored,
            set_aside: Vec::new(),
            unsteady: Vec::new(),
            different: Vec::new(),
        };
        for case in cases(direct.iter().chain(proxy)) {
            comparison.judge(Verdict {
                direct: direct.iter().map(|log| told(log, &case)).collect(),
                proxy: proxy.iter().map(|log| told(log, &case)).collect(),
                case,
            });
        }
        comparison
    }

    fn judge(&mut self, verdict: Verdict) {
        let directly = &verdict.direct[0];
        let is_like = |told: &Told| told.is_like(directly);
        if !verdict.direct.iter().all(is_like) {
            self.set_aside.push(verdict);
        } else if verdict.proxy.iter().all(is_like) {
            self.same += 1;
            self.failed += usize::from(*directly != Told::Ended(Outcome::Passed));
        } else if verdict.proxy.iter().any(is_like) {
            self.unsteady.push(verdict);
        } else {
            self.different.push(verdict);
        }
    }

    /// Cases that can be compared.
    pub(super) fn compared(&self) -> usize {
        self.same + self.unsteady.len() + self.different.len()
    }
}

impl Told {
    /// Messages hold times, ports and addresses: that both failed is what counts.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && match (self, other) {
                (Self::Ended(this), Self::Ended(that)) => {
                    std::mem::discriminant(this) == std::mem::discriminant(that)
                }
                _ => true,
            }
    }
}

/// In the order of the first log, then what only the others have.
fn cases<'a>(logs: impl Iterator<Item = &'a Log>) -> Vec<Case> {
    let mut seen = BTreeSet::new();
    let all = logs.flat_map(|log| &log.cases);
    all.filter(|(case, _)| seen.insert(case))
        .map(|(case, _)| case.clone())
        .collect()
}

fn told(log: &Log, case: &Case) -> Told {
    match (log.outcome(case), &log.broke_off) {
        (Some(outcome), _) => Told::Ended(outcome.clone()),
        (None, Some(reason)) => Told::NotReached(reason.clone()),
        (None, None) => Told::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: &str = "[1/1 done]: unit/a (0 seconds)\n";
    const PASSED: &str = "[ok]: a (1 ms)\n";
    const FAILED: &str = "[err]: a in tests/unit/a.tcl\nExpected 1\n";

    fn compare(direct: [&str; 2], proxy: &[&str]) -> Comparison {
        let log = |lines: &str| Log::read(&format!("{lines}{DONE}"));
        let proxy: Vec<_> = proxy.iter().map(|lines| log(lines)).collect();
        Comparison::new("unit/a", &direct.map(log), &proxy)
    }

    /// How many are the same, failed among these, set aside, unsteady and different.
    fn count(direct: [&str; 2], proxy: &[&str]) -> [usize; 5] {
        let found = compare(direct, proxy);
        [
            found.same,
            found.failed,
            found.set_aside.len(),
            found.unsteady.len(),
            found.different.len(),
        ]
    }

    #[test]
    fn only_agreeing_direct_runs_judge_the_proxy() {
        assert_eq!(count([PASSED, PASSED], &[PASSED]), [1, 0, 0, 0, 0]);
        assert_eq!(count([FAILED, FAILED], &[FAILED]), [1, 1, 0, 0, 0]);
        assert_eq!(count([PASSED, PASSED], &[FAILED]), [0, 0, 0, 0, 1]);
        assert_eq!(count([FAILED, FAILED], &[PASSED]), [0, 0, 0, 0, 1]);
        assert_eq!(count([PASSED, FAILED], &[PASSED]), [0, 0, 1, 0, 0]);
        assert_eq!(count([FAILED, PASSED], &[FAILED]), [0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_difference_that_comes_and_goes_is_told_apart() {
        assert_eq!(count([PASSED, PASSED], &[FAILED, PASSED]), [0, 0, 0, 1, 0]);
        assert_eq!(count([PASSED, PASSED], &[FAILED, FAILED]), [0, 0, 0, 0, 1]);
        assert_eq!(count([PASSED, FAILED], &[FAILED, PASSED]), [0, 0, 1, 0, 0]);
        assert_eq!(compare([PASSED, PASSED], &[FAILED, PASSED]).compared(), 1);
    }

    #[test]
    fn a_case_that_only_some_runs_have_differs() {
        assert_eq!(count([PASSED, PASSED], &[""]), [0, 0, 0, 0, 1]);
        assert_eq!(count(["", ""], &[PASSED]), [0, 0, 0, 0, 1]);
        assert_eq!(count(["", PASSED], &[PASSED]), [0, 0, 1, 0, 0]);
        let found = compare([PASSED, PASSED], &[""]);
        assert_eq!(found.different[0].proxy, [Told::Absent]);
    }

    #[test]
    fn what_was_not_reached_differs() {
        let passed = [Log::read(&format!("{PASSED}{DONE}"))];
        let found = Comparison::new("unit/a", &passed, &[Log::read("")]);
        let reason = "it ended early".to_owned();
        assert_eq!(found.different[0].proxy, [Told::NotReached(reason)]);
        assert_eq!(found.compared(), 1);
    }

    #[test]
    fn messages_need_not_be_equal() {
        let other = "[err]: a in tests/unit/a.tcl\nExpected 2\n";
        assert_eq!(count([FAILED, FAILED], &[other]), [1, 1, 0, 0, 0]);
    }
}
