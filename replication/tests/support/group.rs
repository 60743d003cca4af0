//! Sidecars beside real servers, with an election that the test holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bellwether_election::{Leadership, NodeId, Peer, Rank, Seat, Term, seat};
use bellwether_replication::{
    Address, Connect, Handle, Instance, Redis, RedisOptions, Server, Sidecar, SidecarConfig, View,
};
use bellwether_testkit::{self as testkit, Options};
use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::sleep,
};
use uuid::Uuid;

use super::{PATIENCE, address, eventually, start};

/// How candidates are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All see each other's cards, and the best rank wins.
    Vote,
    /// Whoever comes first wins; nobody sees another's card but the leader's, and discovery tells who
    /// there is.
    Race,
}

/// Hands over as a leader asks.
struct Election {
    kind: Kind,
    newcomers: mpsc::UnboundedReceiver<(NodeId, Seat)>,
    seats: Vec<(NodeId, Seat, u64)>,
    leader: Option<NodeId>,
    term: Term,
}

impl Election {
    async fn run(mut self) {
        loop {
            while let Ok((node, seat)) = self.newcomers.try_recv() {
                self.seats.push((node, seat, 0));
            }
            self.seats
                .retain(|(_, seat, _)| seat.intent().has_changed().is_ok());
            self.absorb_resignations();
            if self.leader.is_none() {
                self.elect();
            }
            self.publish();
            sleep(Duration::from_millis(2)).await;
        }
    }

    fn absorb_resignations(&mut self) {
        let mut next = self.leader.clone();
        for (node, seat, seen) in &mut self.seats {
            let intent = seat.intent().borrow().clone();
            let resigned = intent.resignations > std::mem::replace(seen, intent.resignations);
            if resigned && self.leader.as_ref() == Some(node) {
                next = intent.successor;
            }
        }
        // A successor whose agent could not be seen is named without its incarnation.
        let called = |node: &NodeId, leader: &NodeId| {
            node == leader || leader.incarnation.is_nil() && node.member == leader.member
        };
        let next = next.and_then(|leader| {
            let mut nodes = self.seats.iter().map(|(node, _, _)| node);
            nodes.find(|node| called(node, &leader)).cloned()
        });
        if next != self.leader && next.is_some() {
            self.term = self.term.next();
        }
        self.leader = next;
    }

    fn elect(&mut self) {
        let spoken = |(_, seat, _): &(NodeId, Seat, u64)| {
            seat.intent().borrow().spoke_in == seat.vacancies()
        };
        if self.kind == Kind::Vote && !self.seats.iter().all(spoken) {
            return;
        }
        let mut candidates = self.seats.iter().filter_map(|(node, seat, _)| {
            let rank: Rank = seat.intent().borrow().candidacy.clone()?;
            Some((rank, node.clone()))
        });
        let chosen = match self.kind {
            Kind::Vote => candidates.max(),
            Kind::Race => candidates.next(),
        };
        if let Some((_, best)) = chosen {
            self.leader = Some(best);
            self.term = self.term.next();
        }
    }

    fn publish(&self) {
        let cards: BTreeMap<NodeId, Bytes> = self
            .seats
            .iter()
            .map(|(node, seat, _)| (node.clone(), seat.intent().borrow().card.clone()))
            .collect();
        for (node, seat, _) in &self.seats {
            let seen = |other: &NodeId| self.kind == Kind::Vote && other != node;
            let others = cards.iter().filter(|(other, _)| seen(other));
            let peer = |card: &Bytes| Peer {
                card: card.clone(),
                leader: self.leader.clone(),
            };
            seat.publish_peers(
                others
                    .map(|(other, card)| (other.clone(), peer(card)))
                    .collect(),
            );
            let term = self.term;
            seat.publish(match &self.leader {
                None => Leadership::Vacant,
                Some(leader) if leader == node => Leadership::Leading { term, until: None },
                Some(leader) => Leadership::Following {
                    leader: leader.clone(),
                    card: cards[leader].clone(),
                    term,
                },
            });
        }
    }
}

/// Servers, and agents beside them.
pub(crate) struct Group {
    pub(crate) servers: Vec<testkit::Redis>,
    pub(crate) handles: Vec<Handle>,
    pub(crate) sidecars: Vec<JoinHandle<()>>,
    /// Changes what is set by default, for agents that are started from now on.
    pub(crate) configure: fn(&mut SidecarConfig),
    kind: Kind,
    seats: mpsc::UnboundedSender<(NodeId, Seat)>,
    election: JoinHandle<()>,
    members: watch::Sender<BTreeMap<String, Address>>,
}

impl Group {
    /// That many servers, all with an agent.
    pub(crate) fn of(size: usize) -> Self {
        let mut group = Self::without_agents(Kind::Vote, size, &Options::default());
        for number in 0..size {
            group.start_agent(number);
        }
        group
    }

    pub(crate) fn without_agents(kind: Kind, size: usize, options: &Options) -> Self {
        let servers: Vec<_> = (0..size).map(|_| start(options.clone())).collect();
        let all = servers.iter().enumerate();
        let members = all.map(|(number, server)| (name(number), address(server)));
        let members = watch::Sender::new(members.collect());
        let (seats, election) = elect(kind);
        let idle = servers.iter().map(|_| idle());
        let (handles, sidecars) = idle.unzip();
        Self {
            servers,
            handles,
            sidecars,
            configure: |_| {},
            kind,
            seats,
            election,
            members,
        }
    }

    pub(crate) fn start_agent(&mut self, number: usize) {
        let (participant, seat) = seat(Bytes::new());
        let node = NodeId {
            member: name(number),
            incarnation: Uuid::new_v4(),
        };
        self.seats.send((node, seat)).expect("the election runs");
        let server = Server {
            name: name(number),
            address: address(&self.servers[number]),
        };
        let mut config = SidecarConfig::new("flock", server);
        config.survey_interval = Duration::from_millis(200);
        // An overloaded machine must not look like a hung server.
        config.down_after = Duration::from_secs(10);
        config.answer_timeout = Duration::from_secs(10);
        config.handover_timeout = Duration::from_secs(10);
        config.form_timeout = PATIENCE * 2;
        (self.configure)(&mut config);
        let own = control(&config.server.address);
        let connect: Connect = Box::new(control);
        let (sidecar, handle) = Sidecar::new(config, own, connect, participant);
        let sidecar = match self.kind {
            Kind::Vote => sidecar,
            Kind::Race => sidecar.with_members(self.members.subscribe()),
        };
        self.handles[number] = handle;
        self.sidecars[number] = tokio::spawn(sidecar.run());
    }

    pub(crate) fn kill_agent(&self, number: usize) {
        self.sidecars[number].abort();
    }

    /// Everything that was known of leaders and terms is forgotten, as after a power cut.
    pub(crate) fn forget_election(&mut self) {
        self.election.abort();
        (self.seats, self.election) = elect(self.kind);
    }

    /// Waits until all views name one primary, with that many replicas.
    pub(crate) async fn formed(&self, living: &[usize], replicas: usize) -> usize {
        eventually("one primary in all views", || async {
            let views: Vec<View> = living
                .iter()
                .map(|number| self.handles[*number].view().borrow().clone())
                .collect();
            let primary = views[0].primary.clone()?;
            let agreed = views
                .iter()
                .all(|view| view.primary.as_ref() == Some(&primary));
            let followed = views.iter().all(|view| view.replicas.len() == replicas);
            let number = (0..self.servers.len()).find(|number| name(*number) == primary.name)?;
            (agreed && followed).then_some(number)
        })
        .await
    }

    pub(crate) fn primaries(&self) -> BTreeSet<usize> {
        let is_primary = |number: &usize| {
            let role = self.servers[*number].role();
            role.is_ok_and(|role| role.is_primary())
        };
        (0..self.servers.len()).filter(is_primary).collect()
    }

    /// Waits until this agent has decided something for a reason with these words.
    pub(crate) async fn decided(&self, number: usize, words: &str) {
        eventually(words, || async {
            let status = self.handles[number].status().borrow().clone();
            let mut decisions = status.decisions.iter();
            decisions
                .any(|decided| decided.why.contains(words))
                .then_some(())
        })
        .await;
    }
}

fn elect(kind: Kind) -> (mpsc::UnboundedSender<(NodeId, Seat)>, JoinHandle<()>) {
    let (seats, newcomers) = mpsc::unbounded_channel();
    let election = Election {
        kind,
        newcomers,
        seats: Vec::new(),
        leader: None,
        term: Term(0),
    };
    (seats, tokio::spawn(election.run()))
}

/// In place of an agent that was not started yet.
fn idle() -> (Handle, JoinHandle<()>) {
    let address = Address::new(Address::NOWHERE.0, Address::NOWHERE.1);
    let own = control(&address);
    let config = SidecarConfig::new(
        "none",
        Server {
            name: "none".into(),
            address,
        },
    );
    let connect: Connect = Box::new(control);
    let (_, handle) = Sidecar::new(config, own, connect, seat(Bytes::new()).0);
    (handle, tokio::spawn(async {}))
}

pub(crate) fn name(number: usize) -> String {
    format!("node-{number}")
}

pub(crate) fn control(address: &Address) -> Arc<dyn Instance> {
    Arc::new(Redis::new(address.clone(), RedisOptions::default()))
}
