//! The Raft leader looks for the one that shall lead.

use std::{cmp::Reverse, time::Duration};

use crate::raft::{
    core::{Action, Core, Facts},
    table::{Command, Holder, Voter},
};

impl Core {
    /// Takes the lead, or brings Raft's leadership to whom it belongs.
    pub(super) fn find_leader(&mut self, facts: &Facts<'_>, raft_term: u64) -> Option<Action> {
        let after = facts.table.spells;
        let since = match self.vote {
            Some((term, spell, since)) if (term, spell) == (raft_term, after) => since,
            _ => facts.now,
        };
        self.vote = Some((raft_term, after, since));
        let waited = facts.now.saturating_duration_since(since);
        let chosen = match self.heir(facts, waited) {
            Some(heir) => heir,
            None if self.is_open(facts, waited) => return None,
            None => self.fittest(facts)?,
        };
        if chosen != self.me {
            // Whom the vote has chosen need not ask everybody again.
            return Some(if facts.table.heir == Some(chosen) {
                Action::Transfer(chosen)
            } else {
                let heir = chosen;
                Action::Write(Command::Appoint { after, heir })
            });
        }
        let voter = self.me;
        let holder = Holder { voter, raft_term };
        let stands = stands(facts, self.me);
        stands.then_some(Action::Write(Command::Take { holder, after }))
    }

    /// Whom the others let go first, for a while.
    fn heir(&self, facts: &Facts<'_>, waited: Duration) -> Option<Voter> {
        let heir = facts.table.heir?;
        let ready = heir == self.me || self.can_take_over(facts, heir);
        (ready && waited < self.timing.handover_timeout).then_some(heir)
    }

    /// Whether somebody has to be waited for who may still say that it stands.
    fn is_open(&self, facts: &Facts<'_>, waited: Duration) -> bool {
        if waited >= self.timing.vote_timeout {
            return false;
        }
        let waits_for = |voter: &Voter| {
            let answers = facts.answering.contains(voter) || waited < self.timing.settle;
            answers && facts.table.word(*voter).is_none()
        };
        facts.members.iter().any(waits_for)
    }

    /// The one with the highest rank among those who stand and could lead, then of smallest name.
    fn fittest(&self, facts: &Facts<'_>) -> Option<Voter> {
        let candidates = facts.table.members.keys().copied();
        candidates
            .filter(|voter| stands(facts, *voter))
            .filter(|voter| *voter == self.me || self.can_take_over(facts, *voter))
            .max_by_key(|voter| {
                let rank = facts.table.word(*voter).map(|word| &word.candidacy);
                let name = facts.table.members.get(voter).map(|entry| &entry.node);
                (rank, Reverse(name))
            })
    }

    fn can_take_over(&self, facts: &Facts<'_>, voter: Voter) -> bool {
        facts.voters.contains(&voter)
            && facts.answering.contains(&voter)
            && !self.refused.contains_key(&voter)
    }
}

fn stands(facts: &Facts<'_>, voter: Voter) -> bool {
    let word = facts.table.word(voter);
    word.is_some_and(|word| word.candidacy.is_some())
}
