//! What is told to others: the card, the view, and why something was decided.

use bellwether_election::Term;

use super::{Action, Core, Decision, Handover, Phase};
use crate::{Card, Kind, View, Whose};

/// The own server is fenced because it should not be writable.
pub(super) const FENCE: Kind = Kind::Fence { whose: Whose::Own };

impl Core {
    pub(super) fn explain(&mut self, kind: Kind, what: impl Into<String>, why: impl Into<String>) {
        self.push_decision(kind, what.into(), why.into(), false);
    }

    pub(super) fn explain_grave(
        &mut self,
        kind: Kind,
        what: impl Into<String>,
        why: impl Into<String>,
    ) {
        self.push_decision(kind, what.into(), why.into(), true);
    }

    fn push_decision(&mut self, kind: Kind, what: String, why: String, grave: bool) {
        let decision = Decision {
            kind,
            what,
            why,
            grave,
        };
        if self.last_decision.as_ref() != Some(&decision) {
            self.last_decision = Some(decision.clone());
            self.out.push(Action::Explain(decision));
        }
    }

    pub(super) fn publish(&mut self) {
        let card = Card {
            redis: self.config.server.address.clone(),
            up: self.own.latest().is_some(),
            serving: self.serving(),
            lineage: self.own_term(),
            leaving: self.leaving,
        };
        if self.card.as_ref() != Some(&card) {
            self.card = Some(card.clone());
            // Before anything else: whoever hears of a resignation hears of its cause.
            self.out.insert(0, Action::Announce(card));
        }
        let view = self.current_view();
        if let Some(primary) = &view.primary {
            self.note_primary(primary);
        }
        if view.primary.is_some() && self.kept.is_none() {
            self.unserved_since = self.now;
            self.gave_way = None;
            self.doubt = None;
        }
        if self.view != view {
            self.view = view.clone();
            self.out.push(Action::Publish(view));
        }
    }

    /// The term of the own dataset's passport, as far as it is known.
    fn own_term(&self) -> Term {
        let own = self.own.latest().and_then(|own| own.papers.passport());
        own.map_or(Term(0), |passport| passport.term)
    }

    /// What an operator must look at before the own server can lead, or while it serves, if anything.
    pub(crate) fn trouble(&self) -> Option<String> {
        if let Some(group) = &self.shunned {
            return Some(format!("its dataset is of another group, {group:?}"));
        }
        if let Some(doubt) = &self.doubt {
            return Some(doubt.clone());
        }
        let troubles: Vec<_> = [self.guard_trouble(), self.stamp_trouble()]
            .into_iter()
            .flatten()
            .collect();
        (!troubles.is_empty()).then(|| troubles.join("; "))
    }

    pub(super) fn serving(&self) -> Option<Term> {
        match &self.phase {
            Phase::Leading(spell) if !spell.resigned => spell.serving(),
            _ => None,
        }
    }

    fn current_view(&mut self) -> View {
        let serving = match &self.phase {
            Phase::Leading(spell) => {
                // From the fence of a hand-over on it is only shown for clients to wait by.
                let fenced = self.handover.as_ref().is_some_and(Handover::is_fenced);
                let until = spell.until.filter(|_| !fenced);
                self.serving()
                    .map(|term| (term, until, self.config.server.clone()))
            }
            Phase::Following(following) => following
                .serving()
                .zip(following.server())
                .map(|(term, server)| (term, None, server)),
            Phase::Vacant(_) => None,
        };
        if serving.is_some() {
            self.kept = None;
        }
        let kept = self
            .kept
            .clone()
            .map(|(term, server, _)| (term, None, server));
        let (term, until, primary) = match serving.or(kept) {
            Some((term, until, server)) => (term, until, Some(server)),
            None => (self.view.term, None, None),
        };
        let replicas = primary
            .as_ref()
            .map_or_else(Vec::new, |p| self.replicas_of(p));
        View {
            term,
            until,
            primary,
            replicas,
        }
    }
}
