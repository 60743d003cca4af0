//! The other members: who they are, where their servers are, and what was told to them.

use std::collections::BTreeMap;

use bellwether_election::{NodeId, Peer};

use super::{Action, Core, Inspection, Phase, Respondent};
use crate::{Address, Card, Kind, Link, Role, Server, Whose};

/// How many members are remembered, those that left included.
const MAX_MEMBERS: usize = 64;

use std::time::Instant;

#[derive(Debug)]
pub(crate) struct Member {
    /// Its agent, while the election is connected to it.
    pub(crate) agent: Option<NodeId>,
    /// Whom its agent holds for the leader.
    pub(crate) leader: Option<NodeId>,
    /// What its agent says, while the election is connected to it.
    pub(crate) card: Option<Card>,
    /// Where its server is: as its agent says, while one is known; else as discovery does.
    pub(crate) address: Address,
    /// Whether discovery knows of it.
    pub(crate) listed: bool,
    pub(crate) respondent: Respondent,
    /// Whether its server has a dataset of another group: then it is none of ours.
    pub(crate) foreign: bool,
    /// Whether its address leads to the own server, as it was last told.
    pub(crate) elsewhere: bool,
    /// Since when its server claims to be primary although it should not.
    pub(crate) rogue_since: Option<Instant>,
    pub(crate) fencing: bool,
}

impl Member {
    /// What its server said, if it was asked no earlier than `since` and answered.
    pub(super) fn answer_since(&self, since: Instant) -> Option<&Inspection> {
        let answer = self.respondent.answered_since(since)?.as_ref().ok();
        answer.filter(|_| !self.foreign)
    }

    /// The newest answer of its server, unless that failed.
    pub(super) fn latest(&self) -> Option<&Inspection> {
        self.respondent.latest().filter(|_| !self.foreign)
    }

    /// Whether its agent claims to lead.
    pub(super) fn leads_itself(&self) -> bool {
        self.agent.is_some() && self.agent == self.leader
    }

    /// Whether its agent says that the server does not answer.
    pub(super) fn says_down(&self) -> bool {
        self.card.as_ref().is_some_and(|card| !card.up)
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.card.as_ref().is_some_and(|card| card.leaving)
    }

    /// Whether it is there, as far as anybody knows: an agent speaks for it, or discovery does.
    pub(super) fn is_expected(&self) -> bool {
        self.agent.is_some() || self.listed
    }

    /// How the election knows its agent; by the member's name if no agent is known.
    pub(super) fn node(&self, name: &str) -> NodeId {
        self.agent.clone().unwrap_or_else(|| NodeId {
            member: name.to_owned(),
            incarnation: Default::default(),
        })
    }
}

impl Core {
    pub(super) fn absorb_peers(&mut self, peers: BTreeMap<NodeId, Peer>) {
        for member in self.members.values_mut() {
            member.agent = None;
            member.leader = None;
            member.card = None;
        }
        for (node, peer) in peers {
            let Some(card) = Card::decode(&peer.card) else {
                continue;
            };
            let name = node.member.clone();
            if let Some(member) = self.member_entry(&name, &card.redis) {
                member.agent = Some(node);
                member.leader = peer.leader;
                member.card = Some(card);
            }
        }
        self.relocate();
    }

    /// Discovery says who there is, and where their servers are.
    pub(super) fn absorb_members(&mut self, mut listed: BTreeMap<String, Address>) {
        self.awaits_members &= listed.is_empty();
        // The own server under another name would be taken for a rival.
        listed.retain(|_, address| *address != self.config.server.address);
        self.listed = listed;
        for (name, address) in self.listed.clone() {
            self.member_entry(&name, &address);
        }
        self.relocate();
    }

    /// Makes the leader a known member even if only others are connected to it.
    pub(super) fn absorb_leader(&mut self) {
        if let Phase::Following(following) = &self.phase
            && let Some(card) = &following.card
        {
            let (name, address) = (following.leader.member.clone(), card.redis.clone());
            self.member_entry(&name, &address);
        }
    }

    fn member_entry(&mut self, name: &str, address: &Address) -> Option<&mut Member> {
        if name == self.config.server.name {
            return None;
        }
        let has_room = self.members.len() < MAX_MEMBERS || self.members.contains_key(name);
        if !has_room && !self.forget_one() {
            return None;
        }
        Some(
            self.members
                .entry(name.to_owned())
                .or_insert_with(|| Member {
                    agent: None,
                    leader: None,
                    card: None,
                    address: address.clone(),
                    listed: false,
                    respondent: Respondent::default(),
                    foreign: false,
                    elsewhere: false,
                    rogue_since: None,
                    fencing: false,
                }),
        )
    }

    fn forget_one(&mut self) -> bool {
        let gone = self.members.iter().find(|(_, m)| !m.is_expected());
        let name = gone.map(|(name, _)| name.clone());
        name.is_some_and(|name| self.members.remove(&name).is_some())
    }

    /// Whoever speaks for a member knows best where its server is; a member that nobody speaks for
    /// any more stays where it was.
    pub(super) fn relocate(&mut self) {
        let led = match &self.phase {
            Phase::Following(following) => following.card.as_ref().map(|card| {
                let leader = following.leader.member.as_str();
                (leader, &card.redis)
            }),
            _ => None,
        };
        for (name, member) in &mut self.members {
            let listed = self.listed.get(name);
            member.listed = listed.is_some();
            let said = member.card.as_ref().map(|card| &card.redis);
            let led = led.filter(|(leader, _)| leader == name).map(|(_, at)| at);
            if let Some(address) = said.or(led).or(listed)
                && member.address != *address
            {
                member.address = address.clone();
                member.respondent = Respondent::default();
                member.foreign = false;
                member.elsewhere = false;
            }
        }
        // A newcomer is looked at soon, not at the next interval.
        if self.members.values().any(|m| m.respondent.answer.is_none()) {
            self.next_survey = self.now;
        }
    }

    pub(super) fn absorb_fenced(&mut self, name: &str, result: Result<(), String>) {
        if let Some(member) = self.members.get_mut(name) {
            member.fencing = false;
            member.rogue_since = None;
        }
        self.spell_fenced(name, result.is_ok());
        match result {
            Ok(()) => self.explain(
                Kind::Fence {
                    whose: Whose::Other,
                },
                format!("fenced the server of {name}"),
                "it claimed to be primary",
            ),
            Err(error) => {
                let what = format!("could not fence the server of {name}");
                self.explain(Kind::Fail, what, error);
            }
        }
    }

    /// Fences a member's server, once at a time.
    pub(super) fn fence_member(&mut self, name: &str) {
        if let Some(member) = self.members.get_mut(name)
            && !member.fencing
        {
            member.fencing = true;
            self.out.push(Action::FenceMember {
                member: name.to_owned(),
                address: member.address.clone(),
            });
        }
    }

    /// How many connected members hold this one for the leader.
    pub(super) fn followers(&self) -> usize {
        let follows_me = |leader: &NodeId| leader.member == self.config.server.name;
        self.members
            .values()
            .filter(|m| m.agent.is_some() && m.leader.as_ref().is_some_and(follows_me))
            .count()
    }

    pub(super) fn replicas_of(&self, primary: &Server) -> Vec<Server> {
        let copies = |inspection: &Inspection| match &inspection.role {
            Role::Replica { of, link } => *of == primary.address && *link == Link::Up,
            Role::Primary => false,
        };
        let mut replicas: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| member.respondent.latest().is_some_and(copies))
            .map(|(name, member)| Server {
                name: name.clone(),
                address: member.address.clone(),
            })
            .collect();
        if self.own.latest().is_some_and(copies) {
            replicas.push(self.config.server.clone());
        }
        replicas.sort();
        replicas
    }
}
