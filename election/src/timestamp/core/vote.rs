//! Votes. Every member has one vote for a term, and who is chosen leads once all that are connected
//! have voted for it: so among members that hear each other two never lead, not even for as long
//! as a message takes. The smallest name judges, the others vote as it does: so that near ties do
//! not split the vote.

use std::time::Instant;

use super::{Core, Role, is_better};
use crate::{
    NodeId, Term,
    timestamp::{
        Flaw,
        message::{Candidacy, Stance, State, Vote},
    },
};

impl Core {
    pub(super) fn vote(&mut self, now: Instant) {
        // Who leads under a term that is too low will rise; who named a successor waits for it.
        if self.claims().next().is_some() || self.handover.is_some() || self.leaving {
            return;
        }
        self.drop_void_vote(now);
        self.cast_vote(now);
        if self.is_elected(now) {
            self.claim();
        }
    }

    /// Leads under the next term.
    pub(super) fn claim(&mut self) {
        let term = match self.has(Flaw::KeepsTermOnClaim) {
            true => self.highest.max(Term(1)),
            false => self.highest.next(),
        };
        self.lead(term);
    }

    /// A vote is void when its term is over, or when its choice is gone, no longer stands, or does
    /// not come forward; then the next term is voted for.
    fn drop_void_vote(&mut self, now: Instant) {
        let Role::Vacant {
            vote: Some((vote, at)),
            ..
        } = &self.role
        else {
            return;
        };
        let over = vote.term != self.highest.next();
        let failed = now >= *at + self.timing.vote_timeout * 2 || !self.can_lead(&vote.choice);
        if !over && failed {
            self.highest = vote.term;
        }
        if (over || failed)
            && let Role::Vacant { vote, .. } = &mut self.role
        {
            *vote = None;
        }
    }

    fn cast_vote(&mut self, now: Instant) {
        let Role::Vacant {
            since,
            vote: None,
            waits,
            ..
        } = &self.role
        else {
            return;
        };
        let own = || {
            let may_judge = self.forming.is_none() && self.is_ripe(now, *since);
            may_judge.then(|| self.best(now)).flatten()
        };
        let (choice, waits) = match self.teller() {
            None => (own(), None),
            Some(teller) => {
                let told = self.vote_of(teller).filter(|node| self.may_be_chosen(node));
                let own = if told.is_none() { own() } else { None };
                let known = waits.clone().filter(|(node, _)| node == teller);
                let waits = own
                    .is_some()
                    .then(|| known.unwrap_or((teller.clone(), now)));
                let patience = self.timing.vote_timeout * 2;
                let overdue = waits
                    .as_ref()
                    .is_some_and(|(_, since)| now >= *since + patience);
                (told.or(own.filter(|_| overdue)), waits)
            }
        };
        let ballot = choice.map(|choice| Vote {
            term: self.highest.next(),
            choice,
        });
        if let Role::Vacant {
            vote, waits: known, ..
        } = &mut self.role
        {
            *known = waits;
            *vote = ballot.map(|ballot| (ballot, now));
        }
    }

    /// Whether this member is chosen by all that are connected, or at least by those that voted in
    /// time. Of two that hear each other and chose themselves, the smaller name goes first.
    fn is_elected(&self, now: Instant) -> bool {
        let Role::Vacant {
            vote: Some((vote, at)),
            ..
        } = &self.role
        else {
            return false;
        };
        let chosen_by = |node, choice| self.vote_of(node).as_ref() == Some(choice);
        let links = self.mesh.links().map(|(node, _)| node);
        let unanimous = || links.clone().all(|node| chosen_by(node, &self.me));
        let yields = || {
            links
                .clone()
                .any(|node| *node < self.me && chosen_by(node, node))
        };
        let overdue = now >= *at + self.timing.vote_timeout;
        vote.choice == self.me
            && self.forming.is_none()
            && self.can_lead(&self.me)
            && (unanimous() || overdue && !yields() || self.has(Flaw::LeadsWithoutVotes))
    }

    /// Whose judgement counts; `None` for this member's own.
    fn teller(&self) -> Option<&NodeId> {
        if self.has(Flaw::LeadsWithoutVotes) {
            return None;
        }
        let smallest = self.mesh.links().map(|(node, _)| node).min()?;
        (*smallest < self.me).then_some(smallest)
    }

    /// The present vote of a member that is connected.
    fn vote_of(&self, node: &NodeId) -> Option<NodeId> {
        match &self.mesh.link(node)?.state.as_ref()?.stance {
            Stance::Vacant {
                vote: Some(vote), ..
            } if vote.term == self.highest.next() => Some(vote.choice.clone()),
            _ => None,
        }
    }

    /// Whether all have spoken, or had time to.
    fn is_ripe(&self, now: Instant, since: Instant) -> bool {
        let has_spoken = |state: &State| {
            state.highest() >= self.highest
                && matches!(state.stance, Stance::Vacant { spoke: true, .. })
        };
        now >= since + self.timing.vote_timeout
            || self.has(Flaw::VotesUnheard)
            || self.spoke()
                && (self.mesh.links()).all(|(_, link)| link.state.as_ref().is_some_and(has_spoken))
    }

    fn best(&self, now: Instant) -> Option<NodeId> {
        let mine = self.candidacy(now).filter(|_| self.can_lead(&self.me));
        let mut best: Option<(Candidacy, NodeId)> = mine.map(|mine| (mine, self.me.clone()));
        for (node, state) in self.mesh.states() {
            if !state.stands() && !self.has(Flaw::ElectsTheUnwilling) {
                continue;
            }
            let theirs = self.candidacy_of(now, node).unwrap_or_default();
            let beaten = |(candidacy, known): &(Candidacy, NodeId)| {
                is_better((&theirs, node), (candidacy, known))
            };
            if best.as_ref().is_none_or(beaten) {
                best = Some((theirs, node.clone()));
            }
        }
        best.map(|(_, node)| node)
    }

    /// Whether a member that is heard stands in this vacancy.
    fn can_lead(&self, node: &NodeId) -> bool {
        if self.has(Flaw::ElectsTheUnwilling) {
            return true;
        }
        if *node == self.me {
            return self.spoke() && self.intent.candidacy.is_some();
        }
        let state = self.mesh.link(node).and_then(|link| link.state.as_ref());
        state.is_some_and(State::stands)
    }

    /// Whether to vote as the teller does. While this member is forming it knows too little to
    /// lead, and enough to leave it to another.
    fn may_be_chosen(&self, node: &NodeId) -> bool {
        self.can_lead(node) && (*node != self.me || self.forming.is_none())
    }

    fn spoke(&self) -> bool {
        matches!(self.role, Role::Vacant { spoke: true, .. })
    }
}
