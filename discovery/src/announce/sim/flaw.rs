//! Bugs that a world plants, one at a time, to prove that it would find them.

use super::super::plan::{Plan, Subject};
use super::super::seen::{Mark, Seen, View};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Its patches do not test the resourceVersion.
    NoVersionTest,
    /// It overwrites a higher term.
    NoTermCheck,
    /// It goes on after the end of its lease.
    NoEnd,
    /// It does not mark pods that have the right label already.
    MarksOnlyChanges,
    /// It labels the leader's pod before the others.
    PromotesFirst,
    /// Somebody who has changed it back is not noticed.
    Deaf,
}

/// A subject with a bug, or without.
#[derive(Clone)]
pub(super) struct Flawed<S> {
    pub(super) subject: S,
    pub(super) flaw: Option<Flaw>,
}

impl<S: Subject> Subject for Flawed<S> {
    type Object = S::Object;

    const RESOURCE: &'static str = S::RESOURCE;

    fn see(&self, object: S::Object) -> Seen {
        self.subject.see(object)
    }

    fn plan(&self, view: &View, pod: &str, term: u64) -> Plan {
        let mut view = view.clone();
        match self.flaw {
            Some(Flaw::NoTermCheck) => {
                for seen in view.values_mut().filter(|it| it.mark.term() > Some(term)) {
                    seen.mark = Mark::None;
                }
            }
            Some(Flaw::MarksOnlyChanges) => {
                for seen in view.values_mut().filter(|it| it.name != pod) {
                    if seen.mark.term().is_some_and(|mark| mark < term) {
                        seen.mark = Mark::Term(term);
                    }
                }
            }
            Some(Flaw::PromotesFirst) => {
                let alone = view.iter().filter(|(name, _)| *name == pod);
                let alone: View = alone
                    .map(|(name, seen)| (name.clone(), seen.clone()))
                    .collect();
                let first = self.subject.plan(&alone, pod, term);
                if matches!(first, Plan::Write(_)) {
                    return first;
                }
            }
            Some(Flaw::NoVersionTest | Flaw::NoEnd | Flaw::Deaf) | None => {}
        }
        let mut plan = self.subject.plan(&view, pod, term);
        if let (Some(Flaw::NoVersionTest), Plan::Write(write)) = (self.flaw, &mut plan) {
            write.patch.0.remove(0);
        }
        plan
    }
}
