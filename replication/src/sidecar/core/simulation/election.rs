//! An election that keeps its contract and nothing more: it leads whom a real one could lead, at
//! any time at which a real one could, and tells it late.

use std::{cmp::Reverse, collections::BTreeMap, time::Instant};

use bellwether_election::{Leadership, NodeId, Peer, Rank, Term};
use bytes::Bytes;

use super::world::{Happening, MS, SECOND, Time, World, name_of};

/// How long a leader may act after its last renewal, in worlds with leases.
pub(super) const LEASE: Time = 700 * MS;
/// When a vote no longer waits for those who have not spoken.
const VOTE_TIMEOUT: Time = 500 * MS;
/// How long a named successor has the right of way.
const RIGHT_OF_WAY: Time = SECOND;
/// How long a newcomer waits for the others before it may lead.
const FORMING: Time = 400 * MS;

/// A step of the election.
#[derive(Clone, Copy, Debug)]
pub(super) enum Vote {
    /// Leases are renewed, what is late is noticed.
    Beat,
    Decide,
    /// Two agents find each other, or lose each other.
    Link {
        a: usize,
        b: usize,
        stamp: u64,
    },
    TellLeadership {
        node: usize,
        life: u64,
    },
    TellPeers {
        node: usize,
        life: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Vacant,
    Following {
        leader: NodeId,
        card: Bytes,
        term: Term,
    },
    Leading(Term),
}

/// What an election knows of one member.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) role: Role,
    pub(super) since: Time,
    pub(super) card: Bytes,
    pub(super) candidacy: Option<(Rank, Time)>,
    pub(super) spoke: bool,
    pub(super) highest: Term,
    pub(super) forming_until: Time,
    pub(super) renewed: Time,
    pub(super) minority_since: Option<Time>,
    pub(super) handover: Option<Handover>,
    pub(super) telling: bool,
    pub(super) told: Leadership,
    /// Whether that says that the leader's server is a primary.
    pub(super) told_serving: bool,
    /// Whether the application has resigned since.
    pub(super) resigned: bool,
    pub(super) telling_peers: bool,
    pub(super) told_peers: BTreeMap<NodeId, Peer>,
}

#[derive(Clone, Debug)]
pub(super) struct Handover {
    successor: NodeId,
    until: Time,
}

impl Seat {
    pub(super) fn new(now: Time) -> Self {
        Self {
            role: Role::Vacant,
            since: now,
            card: Bytes::new(),
            candidacy: None,
            spoke: false,
            highest: Term(0),
            forming_until: now + FORMING,
            renewed: now,
            minority_since: None,
            handover: None,
            telling: false,
            told: Leadership::Vacant,
            told_serving: false,
            resigned: false,
            telling_peers: false,
            told_peers: BTreeMap::new(),
        }
    }

    pub(super) fn leads(&self) -> bool {
        matches!(self.role, Role::Leading(_))
    }

    /// Since when it sees nobody lead, if it does; or when it last did.
    pub(super) fn since(&self) -> Time {
        self.since
    }

    /// Whether the application leads at this moment, as far as it was told.
    pub(super) fn may_lead_at(&self, local: Instant) -> bool {
        match &self.told {
            Leadership::Leading { until, .. } => until.is_none_or(|until| local < until),
            _ => false,
        }
    }

    fn strength(&self, now: Time) -> Option<(Rank, Time)> {
        let (rank, since) = self.candidacy.clone()?;
        Some((rank, now - since))
    }
}

impl World {
    pub(super) fn seat(&mut self, node: usize) -> &mut Seat {
        &mut self.nodes[node].agent.as_mut().expect("it is there").seat
    }

    pub(super) fn runs(&self, node: usize) -> bool {
        self.nodes[node]
            .agent
            .as_ref()
            .is_some_and(|agent| !agent.stopped)
    }

    // What the applications want.

    pub(super) fn campaign(&mut self, node: usize, rank: Rank) {
        if let Some(flock) = &mut self.flock {
            return flock.campaign(node, rank);
        }
        let now = self.now;
        let seat = self.seat(node);
        let since = seat.candidacy.as_ref().map_or(now, |(_, since)| *since);
        seat.candidacy = Some((rank, since));
        seat.spoke |= seat.role == Role::Vacant;
        self.decide_soon();
    }

    pub(super) fn resign(&mut self, node: usize, successor: Option<NodeId>) {
        if let Some(flock) = &mut self.flock {
            flock.resign(node, successor);
            self.seat(node).resigned = true;
            return;
        }
        let until = self.now + RIGHT_OF_WAY;
        let led = self.seat(node).leads();
        if led {
            self.become_vacant(node);
        }
        let connected = successor.filter(|successor| {
            (0..self.nodes.len()).any(|other| {
                let agent = self.nodes[other].agent.as_ref();
                agent.is_some_and(|agent| is_called(&agent.id, successor))
                    && self.mesh.connects(node, other)
            })
        });
        let seat = self.seat(node);
        seat.resigned = true;
        seat.candidacy = None;
        seat.spoke |= seat.role == Role::Vacant;
        if led {
            seat.handover = connected.map(|successor| Handover { successor, until });
        }
        self.decide_soon();
    }

    pub(super) fn announce(&mut self, node: usize, card: Bytes) {
        if let Some(flock) = &mut self.flock {
            return flock.announce(node, card);
        }
        self.seat(node).card = card;
        self.tell_peers_of(node);
        self.decide_soon();
    }

    /// What was heard before a long stop no longer counts.
    pub(super) fn unstall(&mut self, node: usize, stopped_for: Time) {
        if stopped_for < LEASE || self.flock.is_some() {
            return;
        }
        let leads_on = !self.plan.lease && !self.plan.quorum && self.rng.bool();
        self.seat(node).forming_until = self.now + FORMING;
        if self.seat(node).leads() && !leads_on {
            self.become_vacant(node);
        }
    }

    // The election itself.

    pub(super) fn vote(&mut self, vote: Vote) {
        match vote {
            Vote::Beat => self.beat(),
            Vote::Decide => {
                self.voting = false;
                for group in self.groups() {
                    self.settle(&group);
                }
            }
            Vote::Link { a, b, stamp } => {
                let (should, now) = (self.should_connect(a, b), self.now);
                let link = self.mesh.link(a, b);
                if link.stamp == stamp {
                    link.up = should;
                    link.since = now;
                    let state = if should {
                        "hear each other"
                    } else {
                        "lose each other"
                    };
                    self.note(|_| format!("{} and {} {state}", name_of(a), name_of(b)));
                    if should {
                        self.ledger.met(a, b, now);
                    }
                    self.tell_peers(a);
                    self.tell_peers(b);
                    self.decide_soon();
                }
            }
            Vote::TellLeadership { node, life } => self.deliver_leadership(node, life),
            Vote::TellPeers { node, life } => self.deliver_peers(node, life),
        }
    }

    fn beat(&mut self) {
        self.after(100 * MS, Happening::Vote(Vote::Beat));
        for node in 0..self.nodes.len() {
            if self.plan.lease
                && self.runs(node)
                && self.seat(node).leads()
                && self.has_quorum(node)
            {
                self.seat(node).renewed = self.now;
                self.tell(node);
            }
        }
        self.decide_soon();
    }

    fn has_quorum(&self, node: usize) -> bool {
        let linked = (0..self.nodes.len()).filter(|other| self.mesh.connects(node, *other));
        !self.plan.quorum || (linked.count() + 1) * 2 > self.nodes.len()
    }

    pub(super) fn decide_soon(&mut self) {
        if !self.voting && self.flock.is_none() {
            self.voting = true;
            let delay = self.delay();
            self.after(delay, Happening::Vote(Vote::Decide));
        }
    }

    fn settle(&mut self, group: &[usize]) {
        let now = self.now;
        if group.is_empty() {
            return;
        }
        if self.plan.quorum && group.len() * 2 <= self.nodes.len() {
            for &node in group {
                let since = *self.seat(node).minority_since.get_or_insert(now);
                if self.runs(node) && now >= since + LEASE && self.seat(node).role != Role::Vacant {
                    self.become_vacant(node);
                }
            }
            return;
        }
        for &node in group {
            self.seat(node).minority_since = None;
        }
        let leaders: Vec<usize> = group
            .iter()
            .copied()
            .filter(|n| self.seat(*n).leads())
            .collect();
        match leaders[..] {
            [] => self.fill_vacancy(group),
            [leader] => self.follow(group, leader),
            _ => self.duel(group, &leaders),
        }
    }

    fn highest(&mut self, group: &[usize]) -> Term {
        group
            .iter()
            .map(|node| self.seat(*node).highest)
            .max()
            .unwrap_or_default()
    }

    fn follow(&mut self, group: &[usize], leader: usize) {
        let highest = self.highest(group);
        let id = self.nodes[leader]
            .agent
            .as_ref()
            .expect("it leads")
            .id
            .clone();
        let Role::Leading(mut term) = self.seat(leader).role else {
            return;
        };
        if self.runs(leader) && highest > term {
            term = highest.next();
            self.lead(leader, term);
        }
        let card = self.seat(leader).card.clone();
        for &node in group {
            if node == leader || !self.runs(node) {
                continue;
            }
            let role = Role::Following {
                leader: id.clone(),
                card: card.clone(),
                term,
            };
            let held = self.seat(node).role.clone();
            let changes = matches!(&held, Role::Following { leader, .. } if *leader != id);
            if changes && self.rng.u8(..3) == 0 {
                self.become_vacant(node);
                self.decide_soon();
            } else if held != role {
                let seat = self.seat(node);
                seat.highest = seat.highest.max(term);
                self.take_role(node, role);
            }
        }
    }

    fn duel(&mut self, group: &[usize], leaders: &[usize]) {
        if leaders.iter().any(|node| !self.runs(*node)) {
            return;
        }
        let now = self.now;
        let strongest = leaders.iter().copied().max_by_key(|node| {
            let strength = self.nodes[*node]
                .agent
                .as_ref()
                .map(|a| a.seat.strength(now));
            (strength, Reverse(*node))
        });
        let winner = strongest.expect("there are leaders");
        let term = self.highest(group).next();
        self.note(|_| format!("{} wins over {leaders:?}", name_of(winner)));
        for &loser in leaders.iter().filter(|node| **node != winner) {
            self.become_vacant(loser);
        }
        self.lead(winner, term);
        if self.rng.bool() {
            // The losers need not be told of a vacancy: only the latest state counts.
            self.follow(group, winner);
        }
        self.decide_soon();
    }

    fn fill_vacancy(&mut self, group: &[usize]) {
        if self.hand_over(group) {
            return;
        }
        for &node in group {
            if self.runs(node) && self.seat(node).role != Role::Vacant {
                self.become_vacant(node);
            }
        }
        let now = self.now;
        let ripe = group.iter().all(|node| {
            let seat = self.seat(*node);
            seat.role == Role::Vacant && (seat.spoke || now >= seat.since + VOTE_TIMEOUT)
        });
        let missing = group.len() < self.nodes.len();
        let forming = missing
            && group
                .iter()
                .any(|node| now < self.seat(*node).forming_until);
        if !ripe || forming {
            return;
        }
        let stands = |node: usize| {
            let agent = self.nodes[node].agent.as_ref()?;
            let votes = !agent.stopped && agent.seat.spoke;
            Some((agent.seat.strength(now).filter(|_| votes)?, Reverse(node)))
        };
        let strongest = group.iter().copied().filter_map(stands).max();
        if let Some((_, Reverse(winner))) = strongest {
            let term = self.highest(group).next();
            self.lead(winner, term);
            self.decide_soon();
        }
    }

    /// A resigned leader's successor leads at once, without a vacancy; true while it may.
    fn hand_over(&mut self, group: &[usize]) -> bool {
        let now = self.now;
        for &node in group {
            let Some(Handover { successor, until }) = self.seat(node).handover.clone() else {
                continue;
            };
            let found = group.iter().copied().find(|other| {
                self.nodes[*other]
                    .agent
                    .as_ref()
                    .is_some_and(|agent| is_called(&agent.id, &successor))
            });
            match found {
                Some(found) if now < until => {
                    if self.runs(found) && self.seat(found).candidacy.is_some() {
                        self.seat(node).handover = None;
                        let term = self.highest(group).next();
                        self.lead(found, term);
                        self.decide_soon();
                    }
                    return true;
                }
                _ => self.seat(node).handover = None,
            }
        }
        false
    }

    fn lead(&mut self, node: usize, term: Term) {
        let now = self.now;
        self.note(|_| format!("{} leads in term {term}", name_of(node)));
        let seat = self.seat(node);
        seat.highest = term;
        seat.renewed = now;
        seat.handover = None;
        self.take_role(node, Role::Leading(term));
    }

    fn become_vacant(&mut self, node: usize) {
        self.note(|_| format!("{} sees nobody lead", name_of(node)));
        let now = self.now;
        let seat = self.seat(node);
        seat.spoke = false;
        seat.since = now;
        self.take_role(node, Role::Vacant);
    }

    fn take_role(&mut self, node: usize, role: Role) {
        self.seat(node).role = role;
        self.tell(node);
        self.tell_peers_of(node);
    }
}

/// Whether this is the member that was named, perhaps without its incarnation.
fn is_called(node: &NodeId, named: &NodeId) -> bool {
    node == named || named.incarnation.is_nil() && node.member == named.member
}
