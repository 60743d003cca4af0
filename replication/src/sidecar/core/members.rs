//! The other members and what their servers say.

use std::{collections::BTreeMap, time::Instant};

use bellwether_election::{NodeId, Peer};

use super::{Action, Core, Flaw, Inspection, Respondent, Who};
use crate::{
    Card, Link, Relation, Role, Server,
    rank::{self, Offsets},
};

/// How many members are remembered, those that left included.
const MAX_MEMBERS: usize = 64;

#[derive(Debug)]
pub(crate) struct Member {
    /// Its agent, while the election is connected to it.
    pub(crate) agent: Option<NodeId>,
    /// Whom its agent holds for the leader.
    pub(crate) leader: Option<NodeId>,
    pub(crate) card: Card,
    pub(crate) respondent: Respondent,
    /// Since when its server claims to be primary although it should not.
    pub(crate) rogue_since: Option<Instant>,
    pub(crate) fencing: bool,
}

impl Member {
    /// What its server said, if it was asked no earlier than `since` and answered.
    pub(super) fn answer_since(&self, since: Instant) -> Option<&Inspection> {
        self.respondent.answered_since(since)?.as_ref().ok()
    }

    /// Whether its agent claims to lead.
    pub(super) fn leads_itself(&self) -> bool {
        self.agent.is_some() && self.agent == self.leader
    }
}

impl Core {
    pub(super) fn absorb_peers(&mut self, peers: BTreeMap<NodeId, Peer>) {
        for member in self.members.values_mut() {
            member.agent = None;
            member.leader = None;
        }
        for (node, peer) in peers {
            let Some(card) = Card::decode(&peer.card) else {
                continue;
            };
            let name = node.member.clone();
            if name == self.config.server.name {
                continue;
            }
            let Some(member) = self.member_entry(&name, &card) else {
                continue;
            };
            if member.card.redis != card.redis {
                member.respondent = Respondent::default();
            }
            member.agent = Some(node);
            member.leader = peer.leader;
            member.card = card;
        }
        // A newcomer is looked at soon, not at the next interval.
        if self.members.values().any(|m| m.respondent.answer.is_none()) {
            self.next_survey = self.now;
        }
    }

    /// Makes the leader a known member even if only others are connected to it.
    pub(super) fn note_leader(&mut self, leader: &NodeId, card: &Card) {
        if leader.member != self.config.server.name {
            self.member_entry(&leader.member, card);
        }
    }

    fn member_entry(&mut self, name: &str, card: &Card) -> Option<&mut Member> {
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
                    card: card.clone(),
                    respondent: Respondent::default(),
                    rogue_since: None,
                    fencing: false,
                }),
        )
    }

    fn forget_one(&mut self) -> bool {
        let gone = self.members.iter().find(|(_, m)| m.agent.is_none());
        let name = gone.map(|(name, _)| name.clone());
        name.is_some_and(|name| self.members.remove(&name).is_some())
    }

    pub(super) fn absorb_fenced(&mut self, name: &str, result: Result<(), String>) {
        if let Some(member) = self.members.get_mut(name) {
            member.fencing = false;
            member.rogue_since = None;
        }
        self.spell_fenced(name, result.is_ok());
        match result {
            Ok(()) => self.explain(
                format!("fenced the server of {name}"),
                "it claimed to be primary",
            ),
            Err(error) => self.explain(format!("could not fence the server of {name}"), error),
        }
    }

    /// Asks those whose newest answer is from before `since`; true once nobody's is awaited. These
    /// are the members with a living agent and server, of whom one could lead instead.
    pub(super) fn survey(&mut self, since: Instant) -> bool {
        let mut settled = true;
        for (name, member) in &mut self.members {
            let counts = member.agent.is_some() && member.card.up;
            if counts && member.respondent.answered_since(since).is_none() {
                settled = false;
                ask(&mut self.out, name, member);
            }
        }
        settled
    }

    /// As [`Self::survey`], for every server that is known, whoever runs beside it.
    pub(super) fn survey_everybody(&mut self, since: Instant) -> bool {
        let names: Vec<String> = self.members.keys().cloned().collect();
        let ask = |settled, name: &String| self.survey_one(name, since) && settled;
        names.iter().fold(true, ask)
    }

    /// Whether all who may have data have been asked; all have if the own server has some
    /// (rule 7).
    pub(super) fn surveyed_for_data(&mut self, own: &Inspection, since: Instant) -> bool {
        own.has_data() || self.survey_everybody(since.min(self.unled_since))
    }

    /// As [`Self::survey`], for the server that last served, whoever runs beside it. Where a living
    /// agent says that it does not answer, it is asked but not waited for.
    pub(super) fn survey_last_primary(&mut self, since: Instant) -> bool {
        let Some(name) = self.last_primary.as_ref().map(|last| last.name.clone()) else {
            return true;
        };
        let says_down = |member: &Member| member.agent.is_some() && !member.card.up;
        let down = self.members.get(&name).is_some_and(says_down);
        self.survey_one(&name, since) || down
    }

    /// As [`Self::survey`], for one server.
    pub(super) fn survey_one(&mut self, name: &str, since: Instant) -> bool {
        let Some(member) = self.members.get_mut(name) else {
            return true;
        };
        let settled = member.respondent.answered_since(since).is_some();
        if !settled {
            ask(&mut self.out, name, member);
        }
        settled
    }

    pub(super) fn ask_member(&mut self, name: &str) {
        if let Some(member) = self.members.get_mut(name) {
            ask(&mut self.out, name, member);
        }
    }

    /// Looks at every member's server now and then, without waiting.
    pub(super) fn survey_at_intervals(&mut self) {
        if self.now < self.next_survey {
            return;
        }
        self.next_survey = self.now + self.config.survey_interval;
        for (name, member) in &mut self.members {
            ask(&mut self.out, name, member);
        }
    }

    /// A dataset that contains another's is of its lineage. Without this, preferring some by their
    /// history and others by their lineage could go round in a circle.
    pub(super) fn inherit_lineage(&mut self, own: &Inspection, since: Instant) {
        let contained = |member: &&Member| {
            member.answer_since(since).is_some_and(|theirs| {
                let relation = own.position.relation(&theirs.position);
                theirs.has_data() && matches!(relation, Relation::Same | Relation::Ahead)
            })
        };
        let lineages = self.members.values().filter(contained);
        let most = lineages.map(|member| member.card.lineage).max();
        if own.has_data() {
            self.lineage = self.lineage.max(most.unwrap_or_default());
        }
    }

    /// A member, with a living agent and a server fit to lead, whose dataset must be preferred to
    /// the own one.
    pub(super) fn who_is_ahead(
        &self,
        own: &Inspection,
        since: Instant,
        offsets: Offsets,
    ) -> Option<(NodeId, Inspection)> {
        if self.flawed(Flaw::IgnoresData) {
            return None;
        }
        let mut best: Option<(&Member, &Inspection)> = None;
        for member in self.members.values() {
            let Some(theirs) = member.answer_since(since) else {
                continue;
            };
            if member.agent.is_none() || theirs.fit().is_err() {
                continue;
            }
            let theirs_and_lineage = (theirs, member.card.lineage);
            let ahead_of = |other| rank::ahead(theirs_and_lineage, other, offsets);
            // Preference is not transitive: the best of all need not be ahead of the own one.
            if ahead_of((own, self.lineage))
                && best.is_none_or(|(m, inspection)| ahead_of((inspection, m.card.lineage)))
            {
                best = Some((member, theirs));
            }
        }
        let (member, inspection) = best?;
        Some((member.agent.clone()?, inspection.clone()))
    }

    /// A reachable server that has data or is about to, while the own one has none.
    pub(super) fn who_has_data(&self, own: &Inspection, since: Instant) -> Option<String> {
        let ignored = self.config.allow_data_loss || self.flawed(Flaw::IgnoresData);
        if own.has_data() || ignored {
            return None;
        }
        let since = since.min(self.unled_since);
        let has = |member: &Member| {
            member
                .answer_since(since)
                .is_some_and(|theirs| theirs.has_data() || theirs.loading)
        };
        let found = self.members.iter().find(|(_, member)| has(member));
        found.map(|(name, _)| name.clone())
    }

    /// Another server that claims to be primary, unless its agent is seen and knows of no leader:
    /// with that one, a vote decides.
    pub(super) fn who_is_primary(&self, since: Instant) -> Option<&String> {
        let claims = |member: &Member| {
            let votes = member.agent.is_some() && member.leader.is_none();
            let answer = member.answer_since(since);
            !votes && answer.is_some_and(Inspection::is_primary)
        };
        let found = self.members.iter().find(|(_, member)| claims(member));
        found.map(|(name, _)| name)
    }

    /// Fences a member's server, once at a time.
    pub(super) fn fence_member(&mut self, name: &str) {
        if let Some(member) = self.members.get_mut(name)
            && !member.fencing
        {
            member.fencing = true;
            self.out.push(Action::FenceMember {
                member: name.to_owned(),
                address: member.card.redis.clone(),
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
                address: member.card.redis.clone(),
            })
            .collect();
        if self.own.latest().is_some_and(copies) {
            replicas.push(self.config.server.clone());
        }
        replicas.sort();
        replicas
    }
}

fn ask(out: &mut Vec<Action>, name: &str, member: &mut Member) {
    if !member.respondent.awaited {
        member.respondent.awaited = true;
        out.push(Action::Ask(Who::Member {
            name: name.to_owned(),
            address: member.card.redis.clone(),
        }));
    }
}
