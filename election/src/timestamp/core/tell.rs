//! What the others are sent, and what the application is told.

use std::{collections::BTreeMap, time::Instant};

use super::{Action, Core, Role, Source};
use crate::{
    Leadership, NodeId, Peer,
    timestamp::message::{Stance, State},
};

impl Core {
    /// Sends a snapshot when it differs from the last one, and with each heartbeat.
    pub(super) fn broadcast(&mut self, now: Instant) -> Option<Action> {
        let mut state = self.state(now);
        if let Some((sent, at)) = &self.sent
            && now < *at + self.timing.heartbeat
            && says_the_same(&state, sent)
        {
            return None;
        }
        self.sequence += 1;
        state.sequence = self.sequence;
        self.sent = Some((state.clone(), now));
        Some(Action::Broadcast(state))
    }

    fn state(&self, now: Instant) -> State {
        State {
            sequence: 0,
            highest: self.highest,
            stance: self.stance(),
            candidacy: self.candidacy(now),
            handover: self.handover.as_ref().map(|(handover, _)| handover.clone()),
            overruled: self.overruled(now),
            leaving: self.leaving,
            card: self.intent.card.clone(),
        }
    }

    fn stance(&self) -> Stance {
        match &self.role {
            Role::Vacant { spoke, vote, .. } => Stance::Vacant {
                spoke: *spoke,
                vote: vote.as_ref().map(|(vote, _)| vote.clone()),
            },
            Role::Following {
                spell,
                card,
                source,
                ..
            } => Stance::Following {
                spell: spell.clone(),
                card: (*source == Source::Leader).then(|| card.clone()),
            },
            Role::Leading { term } => Stance::Leading { term: *term },
        }
    }

    pub(super) fn publish(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        let leadership = self.leadership();
        if leadership != self.published {
            self.published = leadership.clone();
            actions.push(Action::Publish(leadership));
        }
        if !self.knows_peers() {
            self.published_peers = self.peers();
            actions.push(Action::PublishPeers(self.published_peers.clone()));
        }
        actions
    }

    fn leadership(&self) -> Leadership {
        match &self.role {
            Role::Vacant { .. } => Leadership::Vacant,
            Role::Following { spell, card, .. } => Leadership::Following {
                leader: spell.leader.clone(),
                card: card.clone(),
                term: spell.term,
            },
            Role::Leading { term } => Leadership::Leading {
                term: *term,
                until: self.lease(),
            },
        }
    }

    /// Whether the application knows the peers as they are.
    fn knows_peers(&self) -> bool {
        let known = |(node, state): (&NodeId, &State)| {
            self.published_peers.get(node).is_some_and(|peer| {
                peer.card == state.card && peer.leader.as_ref() == leader_of(node, state)
            })
        };
        self.mesh.states().count() == self.published_peers.len() && self.mesh.states().all(known)
    }

    fn peers(&self) -> BTreeMap<NodeId, Peer> {
        let peer = |node: &NodeId, state: &State| Peer {
            card: state.card.clone(),
            leader: leader_of(node, state).cloned(),
        };
        let states = self.mesh.states();
        states
            .map(|(node, state)| (node.clone(), peer(node, state)))
            .collect()
    }
}

/// Whom a member holds for the leader.
fn leader_of<'a>(node: &'a NodeId, state: &'a State) -> Option<&'a NodeId> {
    match &state.stance {
        Stance::Vacant { .. } => None,
        Stance::Following { spell, .. } => Some(&spell.leader),
        Stance::Leading { .. } => Some(node),
    }
}

/// Whether the two differ at most in what changes by itself.
fn says_the_same(a: &State, b: &State) -> bool {
    let rank = |state: &State| state.candidacy.as_ref().map(|c| c.rank.clone());
    a.highest == b.highest
        && a.stance == b.stance
        && rank(a) == rank(b)
        && a.handover == b.handover
        && a.overruled == b.overruled
        && a.leaving == b.leaving
        && a.card == b.card
}
