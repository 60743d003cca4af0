//! What a unit's three runs say of each of its cases.

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
    /// The direct runs agreed, the one through the proxy did not.
    pub(super) different: Vec<Verdict>,
}

/// One case and what became of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) case: Case,
    pub(super) direct: Told,
    pub(super) proxy: Told,
    pub(super) again: Told,
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
    pub(super) fn new(unit: &str, direct: &Log, proxy: &Log, again: &Log) -> Self {
        let mut comparison = Self {
            unit: unit.to_owned(),
            same: 0,
            failed: 0,
            ignored: direct.ignored,
            set_aside: Vec::new(),
            different: Vec::new(),
        };
        for case in cases([direct, again, proxy]) {
            comparison.judge(Verdict {
                direct: told(direct, &case),
                proxy: told(proxy, &case),
                again: told(again, &case),
                case,
            });
        }
        comparison
    }

    fn judge(&mut self, verdict: Verdict) {
        if !verdict.direct.is_like(&verdict.again) {
            self.set_aside.push(verdict);
        } else if !verdict.direct.is_like(&verdict.proxy) {
            self.different.push(verdict);
        } else {
            self.same += 1;
            self.failed += usize::from(verdict.direct != Told::Ended(Outcome::Passed));
        }
    }

    /// Cases that can be compared.
    pub(super) fn compared(&self) -> usize {
        self.same + self.different.len()
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
fn cases(logs: [&Log; 3]) -> Vec<Case> {
    let mut seen = BTreeSet::new();
    let all = logs.iter().flat_map(|log| &log.cases);
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

    fn log(lines: &str, end: &str) -> Log {
        Log::read(&format!("{lines}{end}"))
    }

    const DONE: &str = "[1/1 done]: unit/a (0 seconds)\n";
    const PASSED: &str = "[ok]: a (1 ms)\n";
    const FAILED: &str = "[err]: a in tests/unit/a.tcl\nExpected 1\n";

    fn count(direct: &Log, proxy: &Log, again: &Log) -> (usize, usize, usize, usize) {
        let found = Comparison::new("unit/a", direct, proxy, again);
        (
            found.same,
            found.failed,
            found.set_aside.len(),
            found.different.len(),
        )
    }

    #[test]
    fn only_agreeing_direct_runs_judge_the_proxy() {
        let (passed, failed) = (log(PASSED, DONE), log(FAILED, DONE));
        assert_eq!(count(&passed, &passed, &passed), (1, 0, 0, 0));
        assert_eq!(count(&failed, &failed, &failed), (1, 1, 0, 0));
        assert_eq!(count(&passed, &failed, &passed), (0, 0, 0, 1));
        assert_eq!(count(&failed, &passed, &failed), (0, 0, 0, 1));
        assert_eq!(count(&passed, &passed, &failed), (0, 0, 1, 0));
        assert_eq!(count(&failed, &failed, &passed), (0, 0, 1, 0));
    }

    #[test]
    fn what_was_not_reached_differs() {
        let (passed, died) = (log(PASSED, DONE), log("", ""));
        let found = Comparison::new("unit/a", &passed, &died, &passed);
        assert_eq!(
            found.different[0].proxy,
            Told::NotReached("it ended early".to_owned())
        );
        assert_eq!(found.compared(), 1);
        assert_eq!(count(&passed, &log("", DONE), &passed), (0, 0, 0, 1));
        assert_eq!(count(&log("", DONE), &passed, &log("", DONE)), (0, 0, 0, 1));
    }

    #[test]
    fn messages_need_not_be_equal() {
        let other = "[err]: a in tests/unit/a.tcl\nExpected 2\n";
        let (one, other) = (log(FAILED, DONE), log(other, DONE));
        assert_eq!(count(&one, &other, &one), (1, 1, 0, 0));
    }
}
