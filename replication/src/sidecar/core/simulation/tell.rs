//! What the applications are told of the election: the latest state, late.

use std::collections::BTreeMap;

use bellwether_election::{Leadership, Peer};

use super::{
    election::{LEASE, Role, Vote},
    world::{Happening, World, name_of},
};
use crate::{Card, sidecar::core::Event};

impl World {
    pub(super) fn tell(&mut self, node: usize) {
        let life = self.nodes[node].agent.as_ref().expect("it is there").life;
        if !std::mem::replace(&mut self.seat(node).telling, true) {
            let delay = self.delay();
            self.after(delay, Happening::Vote(Vote::TellLeadership { node, life }));
        }
    }

    pub(super) fn deliver_leadership(&mut self, node: usize, life: u64) {
        if self.agent(node, life).is_none() {
            return;
        }
        if self.flock.is_some() {
            self.seat(node).telling = false;
            if let Some(leadership) = self.deliver_by_lease(node, life) {
                self.hear(node, life, leadership);
            }
            return;
        }
        let (lease, renewed) = (self.plan.lease, self.seat(node).renewed);
        let until = lease.then(|| self.local(node, renewed + LEASE));
        let seat = self.seat(node);
        seat.telling = false;
        let leadership = match &seat.role {
            Role::Vacant => Leadership::Vacant,
            Role::Following { leader, card, term } => Leadership::Following {
                leader: leader.clone(),
                card: card.clone(),
                term: *term,
            },
            Role::Leading(term) => Leadership::Leading { term: *term, until },
        };
        self.hear(node, life, leadership);
    }

    fn hear(&mut self, node: usize, life: u64, leadership: Leadership) {
        if self.agent(node, life).is_none() {
            return;
        }
        let seat = self.seat(node);
        // Also when it is what it was before: a watch tells of a change that was undone.
        seat.told = leadership.clone();
        seat.resigned = false;
        let serves = |card: &[u8]| Card::decode(card).is_some_and(|card| card.serving.is_some());
        // What its own former life said is over.
        seat.told_serving = matches!(
            &leadership,
            Leadership::Following { leader, card, .. } if leader.member != name_of(node) && serves(card)
        );
        self.step(node, life, Event::Leadership(leadership));
    }

    pub(super) fn tell_peers_of(&mut self, node: usize) {
        for other in 0..self.nodes.len() {
            if other != node && self.mesh.connects(node, other) {
                self.tell_peers(other);
            }
        }
    }

    pub(super) fn tell_peers(&mut self, node: usize) {
        let Some(agent) = &mut self.nodes[node].agent else {
            return;
        };
        let life = agent.life;
        if !std::mem::replace(&mut agent.seat.telling_peers, true) {
            let delay = self.delay();
            self.after(delay, Happening::Vote(Vote::TellPeers { node, life }));
        }
    }

    pub(super) fn deliver_peers(&mut self, node: usize, life: u64) {
        if self.agent(node, life).is_none() || self.flock.is_some() {
            return;
        }
        let mut peers = BTreeMap::new();
        for other in 0..self.nodes.len() {
            let Some(agent) = &self.nodes[other].agent else {
                continue;
            };
            if other == node || !self.mesh.connects(node, other) {
                continue;
            }
            let leader = match &agent.seat.role {
                Role::Vacant => None,
                Role::Following { leader, .. } => Some(leader.clone()),
                Role::Leading(_) => Some(agent.id.clone()),
            };
            let card = agent.seat.card.clone();
            peers.insert(agent.id.clone(), Peer { card, leader });
        }
        let seat = self.seat(node);
        seat.telling_peers = false;
        if seat.told_peers != peers {
            seat.told_peers = peers.clone();
            self.step(node, life, Event::Peers(peers));
        }
    }
}
