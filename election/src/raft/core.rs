//! Decides: a pure state machine, see [`Core::step`].

#![deny(clippy::disallowed_methods)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bellwether_raft as raft;

use crate::{
    Intent, Leadership, NodeId, Peer, Term,
    raft::table::{Command, Entry, Holder, Table, Voter, Word},
};

#[cfg(test)]
mod tests;
mod vote;

/// The times that matter here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// A new Raft leader waits so long for members that have not answered it yet.
    pub(crate) settle: Duration,
    pub(crate) vote_timeout: Duration,
    pub(crate) handover_timeout: Duration,
    pub(crate) forget_after: Duration,
}

/// All that is known at an instant.
#[derive(Clone, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) now: Instant,
    pub(crate) intent: &'a Intent,
    /// Whether the application has spoken in the vacancy last published.
    pub(crate) spoke: bool,
    /// Who leads the Raft group.
    pub(crate) raft: &'a raft::Leadership,
    pub(crate) voters: BTreeSet<Voter>,
    /// All members of the Raft group, voters or not.
    pub(crate) members: BTreeSet<Voter>,
    /// While this node leads the Raft group: who answers it, itself included.
    pub(crate) answering: BTreeSet<Voter>,
    pub(crate) table: &'a Table,
}

/// An order from the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Tell the application who leads.
    Publish(Leadership),
    /// Tell the application about its peers.
    PublishPeers(BTreeMap<NodeId, Peer>),
    /// Bring this into the table; asked for again for as long as it is not there.
    Write(Command),
    /// Hand the Raft leadership over, and report a failure by [`Core::failed`].
    Transfer(Voter),
}

/// What one node of the election thinks.
#[derive(Debug)]
pub(crate) struct Core {
    me: Voter,
    node: NodeId,
    timing: Timing,
    shown: Leadership,
    shown_peers: BTreeMap<NodeId, Peer>,
    /// What the application has said in the present vacancy.
    word: Option<Word>,
    /// This vacancy began with a resignation: who does not stand again has thereby spoken.
    resigned: bool,
    /// The resignations that are known of.
    resignations: u64,
    /// The last spell that this node led and no longer leads.
    ended: u64,
    /// Since when this node has to find a leader, and in which Raft term and after which spell.
    vote: Option<(u64, u64, Instant)>,
    /// When each member last answered this Raft leader.
    heard: BTreeMap<Voter, Instant>,
    /// Who did not take the Raft leadership, and when that was.
    refused: BTreeMap<Voter, Instant>,
}

impl Core {
    pub(crate) fn new(me: Voter, node: NodeId, timing: Timing) -> Self {
        Self {
            me,
            node,
            timing,
            shown: Leadership::Vacant,
            shown_peers: BTreeMap::new(),
            word: None,
            resigned: false,
            resignations: 0,
            ended: 0,
            vote: None,
            heard: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Decides from what is known; what was missed or seen twice makes no difference.
    #[must_use]
    pub(crate) fn step(&mut self, facts: &Facts<'_>) -> Vec<Action> {
        self.listen(facts);
        let mut actions = Vec::new();
        let leadership = self.leadership(facts);
        if leadership != self.shown {
            self.turn(facts, &leadership);
            self.shown.clone_from(&leadership);
            actions.push(Action::Publish(leadership));
        }
        self.resignations = facts.intent.resignations;
        let peers = self.peers(facts.table);
        if peers != self.shown_peers {
            self.shown_peers.clone_from(&peers);
            actions.push(Action::PublishPeers(peers));
        }
        // What the application says to a vacancy it can only say once it knows of it.
        if !matches!(actions.first(), Some(Action::Publish(Leadership::Vacant))) {
            self.hear_application(facts);
        }
        actions.extend(self.order(facts));
        actions
    }

    /// A hand-over to this node came to nothing.
    pub(crate) fn failed(&mut self, now: Instant, successor: Voter) {
        self.refused.insert(successor, now);
    }

    /// The last words of a node that leaves, in order.
    #[must_use]
    pub(crate) fn leave(&self, table: &Table) -> Vec<Command> {
        let vacate = Command::Vacate {
            spell: table.spells,
            heir: None,
        };
        let holds = table.holder.is_some_and(|holder| holder.voter == self.me);
        let vacate = holds.then_some(vacate);
        vacate
            .into_iter()
            .chain([Command::Forget(self.me)])
            .collect()
    }

    /// Keeps in mind who answers.
    fn listen(&mut self, facts: &Facts<'_>) {
        if !matches!(facts.raft, raft::Leadership::Leading { .. }) {
            self.heard.clear();
            return;
        }
        for voter in &facts.members {
            // Who has not answered yet is given its time, too.
            let heard = self.heard.entry(*voter).or_insert(facts.now);
            if facts.answering.contains(voter) {
                *heard = facts.now;
            }
        }
        let timing = self.timing;
        self.heard.retain(|voter, _| facts.members.contains(voter));
        self.refused
            .retain(|_, at| facts.now < *at + timing.vote_timeout);
    }

    /// Who leads: the Raft leader, once it is in the table that it has taken the lead in this term
    /// of Raft's.
    fn leadership(&self, facts: &Facts<'_>) -> Leadership {
        let table = facts.table;
        let term = Term(table.spells);
        match facts.raft {
            raft::Leadership::Vacant => Leadership::Vacant,
            raft::Leadership::Following {
                leader,
                term: raft_term,
            } => {
                let voter = leader.id.0;
                let raft_term = *raft_term;
                let holds = table.holder == Some(Holder { voter, raft_term });
                match table.members.get(&voter) {
                    Some(entry) if holds => Leadership::Following {
                        leader: entry.node.clone(),
                        card: entry.card.clone(),
                        term,
                    },
                    _ => Leadership::Vacant,
                }
            }
            raft::Leadership::Leading {
                term: raft_term,
                until,
            } => {
                let fresh = table.spells > self.ended && facts.now < *until;
                let stands = facts.spoke && facts.intent.candidacy.is_some();
                let stands = stands && facts.intent.resignations == self.resignations;
                if self.holds(table, *raft_term) && fresh && stands {
                    let until = Some(*until);
                    return Leadership::Leading { term, until };
                }
                Leadership::Vacant
            }
        }
    }

    /// Whether the table says that this node leads, as the Raft leader of this term.
    fn holds(&self, table: &Table, raft_term: u64) -> bool {
        let voter = self.me;
        table.holder == Some(Holder { voter, raft_term })
    }

    /// What another leadership means for this node.
    fn turn(&mut self, facts: &Facts<'_>, next: &Leadership) {
        if let (Leadership::Leading { term, .. }, Leadership::Vacant) = (&self.shown, next) {
            // It may still be in the table; to lead again is another spell.
            self.ended = term.0;
            self.resigned = facts.intent.resignations != self.resignations;
        }
        if *next != Leadership::Vacant {
            self.resigned = false;
            self.word = None;
        }
    }

    fn hear_application(&mut self, facts: &Facts<'_>) {
        let vacant = self.shown == Leadership::Vacant;
        let withdrew = self.resigned && facts.intent.candidacy.is_none();
        self.word = (vacant && (facts.spoke || withdrew)).then(|| Word {
            after: facts.table.spells,
            candidacy: facts.intent.candidacy.clone(),
        });
    }

    /// The others, by their last word; they follow whom this node follows, since the table is the
    /// same for all.
    fn peers(&self, table: &Table) -> BTreeMap<NodeId, Peer> {
        let leader = match &self.shown {
            Leadership::Vacant => None,
            Leadership::Following { leader, .. } => Some(leader),
            Leadership::Leading { .. } => Some(&self.node),
        };
        let others = table.members.iter().filter(|(voter, _)| **voter != self.me);
        let peer = |entry: &Entry| Peer {
            card: entry.card.clone(),
            leader: leader.cloned(),
        };
        others
            .map(|(_, entry)| (entry.node.clone(), peer(entry)))
            .collect()
    }

    /// The one thing that has to be done next, if there is something.
    fn order(&mut self, facts: &Facts<'_>) -> Option<Action> {
        let table = facts.table;
        if *facts.raft == raft::Leadership::Vacant {
            return None;
        }
        let me = Entry {
            node: self.node.clone(),
            card: facts.intent.card.clone(),
            word: self.word.clone(),
        };
        if table.members.get(&self.me) != Some(&me) {
            return Some(Action::Write(Command::Tell(self.me, me)));
        }
        let raft::Leadership::Leading { term, .. } = *facts.raft else {
            self.vote = None;
            return None;
        };
        if let Some(gone) = self.gone(facts) {
            return Some(Action::Write(Command::Forget(gone)));
        }
        if matches!(self.shown, Leadership::Leading { .. }) {
            self.vote = None;
            return None;
        }
        if self.holds(table, term) {
            let heir = facts.intent.successor.as_ref().filter(|_| self.resigned);
            let known = |heir: &NodeId| {
                let mut members = table.members.iter();
                members.find(|(_, entry)| entry.node == *heir).map(|m| *m.0)
            };
            let (spell, heir) = (table.spells, heir.and_then(known));
            return Some(Action::Write(Command::Vacate { spell, heir }));
        }
        self.find_leader(facts, term)
    }

    /// A member of the table that has left the group or has been silent for long.
    fn gone(&self, facts: &Facts<'_>) -> Option<Voter> {
        let silent = |voter: Voter| match self.heard.get(&voter) {
            Some(at) => facts.now >= *at + self.timing.forget_after,
            None => true,
        };
        let others = facts.table.members.keys().copied();
        others
            .filter(|voter| *voter != self.me)
            .find(|voter| silent(*voter))
    }
}
