//! Who is connected, who is lost, and whom to dial: the part of the core that knows of connections.

#![deny(clippy::disallowed_methods)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

mod dial;

use crate::{
    NodeId,
    timestamp::{
        Flaw,
        config::Timing,
        core::Action,
        message::{Address, State},
    },
};

use dial::{RETRY_FOREIGN, Route, leads_to};

/// Peers and named addresses beyond this number are turned away.
pub(crate) const MAX_PEERS: usize = 64;

/// How many connections one peer may have: one that each end dialled, and as many that end.
const MAX_CONNECTIONS: usize = 4;

/// Names a connection within one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// A connection whose two ends have told each other who they are.
#[derive(Clone, Debug)]
pub(crate) struct Greeting {
    pub(crate) connection: ConnectionId,
    /// When this end said hello. What comes over the connection was said after that.
    pub(crate) began: Instant,
    /// The address that this end dialled; `None` if the other end did.
    pub(crate) dialled: Option<Address>,
    /// Who is at the other end.
    pub(crate) node: NodeId,
    /// Where the other end says that it can be dialled.
    pub(crate) address: Address,
}

/// Why a dial came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The machine answers, and nobody listens there.
    Refused,
    /// No answer, or none in time.
    Silent,
    /// What answers does not belong to this group.
    Foreign,
}

/// A member that is not lost.
#[derive(Debug)]
pub(crate) struct Link {
    address: Address,
    connections: BTreeMap<ConnectionId, Connection>,
    heard: Instant,
    /// Its latest snapshot; none before the first.
    pub(crate) state: Option<State>,
    /// When that came.
    pub(crate) state_at: Instant,
}

#[derive(Debug)]
struct Connection {
    dialled_here: bool,
    opened: Instant,
    heard: Instant,
    /// A snapshot came over it.
    proven: bool,
}

#[derive(Debug)]
pub(crate) struct Mesh {
    me: NodeId,
    timing: Timing,
    flaw: Option<Flaw>,
    named: BTreeSet<Address>,
    routes: BTreeMap<Address, Route>,
    links: BTreeMap<NodeId, Link>,
    /// Since when this process has run without a long stop.
    awake: Instant,
    /// The node that was last complained about, so that it is said once.
    warned: Option<NodeId>,
    jitter: u64,
}

impl Mesh {
    pub(crate) fn new(me: NodeId, timing: Timing, now: Instant, flaw: Option<Flaw>) -> Self {
        // Any odd number will do; different members should vary differently.
        let jitter = me.incarnation.as_u64_pair().0 | 1;
        Self {
            me,
            timing,
            flaw,
            named: BTreeSet::new(),
            routes: BTreeMap::new(),
            links: BTreeMap::new(),
            awake: now,
            warned: None,
            jitter,
        }
    }

    /// The members that are not lost, by name.
    pub(crate) fn links(&self) -> impl Iterator<Item = (&NodeId, &Link)> + Clone {
        self.links.iter()
    }

    pub(crate) fn link(&self, node: &NodeId) -> Option<&Link> {
        self.links.get(node)
    }

    /// The members that are not lost and have said something.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&NodeId, &State)> {
        self.links
            .iter()
            .filter_map(|(node, link)| Some((node, link.state.as_ref()?)))
    }

    /// Whether every member that discovery names has been heard. A list that names nobody else is
    /// not complete: discovery may just have begun.
    pub(crate) fn is_complete(&self) -> bool {
        let others = |address: &&Address| !self.is_self(address);
        self.named.iter().any(|address| others(&address))
            && self.named.iter().filter(others).all(|address| {
                let node = self
                    .routes
                    .get(address)
                    .and_then(|route| route.node.as_ref());
                node.is_some_and(|node| self.links.get(node).is_some_and(|l| l.state.is_some()))
            })
    }

    /// Whether every member that is not lost has been heard since the last restart.
    pub(crate) fn is_fresh(&self) -> bool {
        self.links.values().all(|link| link.state.is_some())
    }

    /// Takes over what discovery says.
    pub(crate) fn name(&mut self, now: Instant, members: BTreeSet<Address>) {
        if members.len() > MAX_PEERS {
            tracing::warn!(
                named = members.len(),
                "only the first {MAX_PEERS} members are dialled"
            );
        }
        self.named = members.into_iter().take(MAX_PEERS).collect();
        self.reroute(now);
    }

    /// Takes a new connection, or answers with the order to close it.
    pub(crate) fn open(&mut self, now: Instant, greeting: Greeting) -> Option<Action> {
        let Greeting {
            connection,
            began,
            dialled,
            node,
            address,
        } = greeting;
        let refusal = Some(Action::Close(connection));
        if let Some(route) = dialled
            .as_ref()
            .and_then(|address| self.routes.get_mut(address))
        {
            route.node = Some(node.clone());
            route.due = Some(now);
        }
        if node == self.me {
            return refusal;
        }
        if began < self.awake {
            // What it says may be from before a stop of this process.
            return refusal;
        }
        if let Some(conflict) = self.namesake(&node) {
            if self.warned.as_ref() != Some(&node) {
                tracing::error!(
                    member = node.member, elder = %conflict.incarnation, later = %node.incarnation,
                    "two living processes have the same member name; the later one is turned \
                     away: give each its own name"
                );
                self.warned = Some(node);
            }
            self.postpone(now, dialled.as_ref(), RETRY_FOREIGN);
            return refusal;
        }
        let node = if self.has(Flaw::MixesUpLives) {
            let former = self.links.keys().find(|known| known.member == node.member);
            former.unwrap_or(&node).clone()
        } else {
            self.forget_former_lives(now, &node);
            node
        };
        if !self.links.contains_key(&node) && self.links.len() >= MAX_PEERS {
            tracing::warn!(%node, "turned away: there are {MAX_PEERS} peers already");
            self.postpone(now, dialled.as_ref(), RETRY_FOREIGN);
            return refusal;
        }
        if let Some(route) = self.routes.get_mut(&address) {
            route.node = Some(node.clone());
        }
        let link = self.links.entry(node.clone()).or_insert_with(|| {
            tracing::info!(%node, "connected");
            Link {
                address: address.clone(),
                connections: BTreeMap::new(),
                heard: now,
                state: None,
                state_at: now,
            }
        });
        if link.connections.len() >= MAX_CONNECTIONS {
            return refusal;
        }
        link.address = address;
        link.heard = now;
        link.connections.insert(
            connection,
            Connection {
                dialled_here: dialled.is_some(),
                opened: now,
                heard: now,
                proven: false,
            },
        );
        self.reroute(now);
        None
    }

    /// Takes a snapshot that came over a connection; answers whose it is, if it is news.
    pub(crate) fn hear(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        state: State,
    ) -> Option<NodeId> {
        let (node, link) =
            (self.links.iter_mut()).find(|(_, link)| link.connections.contains_key(&connection))?;
        link.heard = now;
        if let Some(connection) = link.connections.get_mut(&connection) {
            connection.heard = now;
            connection.proven = true;
        }
        if (link.state.as_ref()).is_some_and(|known| known.sequence >= state.sequence) {
            return None;
        }
        link.state = Some(state);
        link.state_at = now;
        Some(node.clone())
    }

    /// A connection is gone: its member is redialled at once, and lost only if that fails. One
    /// that brought nothing was turned away at the other end, which need not be asked so often.
    pub(crate) fn close(&mut self, now: Instant, connection: ConnectionId) {
        let draw = self.draw();
        for (node, link) in &mut self.links {
            let Some(closed) = link.connections.remove(&connection) else {
                continue;
            };
            if link.connections.is_empty() {
                tracing::debug!(%node, "disconnected");
                if link.state.is_none() && self.warned.as_ref() != Some(node) {
                    tracing::warn!(
                        %node,
                        "closes a connection before it says anything: does another process have \
                         this member's name?"
                    );
                    self.warned = Some(node.clone());
                }
                let routes = self.routes.iter_mut();
                for (_, route) in routes.filter(|(at, route)| leads_to(at, route, node, link)) {
                    let pause = if closed.proven {
                        route.failures = 0;
                        Duration::ZERO
                    } else {
                        route.back_off(draw)
                    };
                    route.due = route.due.map(|_| now + pause);
                }
            }
        }
    }

    /// The member says goodbye.
    pub(crate) fn part(&mut self, now: Instant, node: &NodeId) -> Vec<Action> {
        self.lose(now, node, "it leaves")
    }

    /// Closes what is silent or superfluous, loses who is silent, and dials who is missing.
    pub(crate) fn maintain(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = self.close_silent(now);
        let silent: Vec<NodeId> = (self.links.iter())
            .filter(|(_, link)| now >= link.heard + self.timing.lost_after)
            .map(|(node, _)| node.clone())
            .collect();
        for node in silent {
            actions.extend(self.lose(now, &node, "it is silent"));
        }
        actions.extend(self.collapse());
        actions.extend(self.dial(now));
        actions
    }

    /// After a stop of this process: nothing that was heard before counts as present. All members
    /// must be heard over new connections, or are lost.
    pub(crate) fn restart(&mut self, now: Instant) -> Vec<Action> {
        self.awake = now;
        let mut actions = Vec::new();
        for link in self.links.values_mut() {
            let connections = std::mem::take(&mut link.connections);
            actions.extend(connections.into_keys().map(Action::Close));
            link.heard = now;
            link.state = None;
        }
        for route in self.routes.values_mut() {
            route.due = route.due.map(|_| now);
        }
        actions
    }

    /// This process was stopped for a while: silence during that time is not the peers'.
    pub(crate) fn excuse(&mut self, now: Instant) {
        for link in self.links.values_mut() {
            link.heard = now;
            for connection in link.connections.values_mut() {
                connection.heard = now;
            }
        }
    }

    /// When [`maintain`](Self::maintain) has something to do next.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let silences = self.links.values().flat_map(|link| {
            let connections = link.connections.values().map(|connection| connection.heard);
            connections
                .chain([link.heard])
                .map(|heard| heard + self.timing.lost_after)
        });
        let dials = (self.routes.iter())
            .filter(|(_, route)| !self.is_reached(route))
            .filter_map(|(_, route)| route.due);
        silences.chain(dials).min()
    }

    fn has(&self, flaw: Flaw) -> bool {
        cfg!(test) && self.flaw == Some(flaw)
    }

    /// A living member of the same name.
    fn namesake(&self, node: &NodeId) -> Option<&NodeId> {
        if node.member == self.me.member {
            return Some(&self.me);
        }
        (self.links.iter())
            .find(|(known, link)| {
                known.member == node.member && *known != node && !link.connections.is_empty()
            })
            .map(|(known, _)| known)
    }

    fn forget_former_lives(&mut self, now: Instant, node: &NodeId) {
        let former = |known: &&NodeId| known.member == node.member && *known != node;
        if let Some(former) = self.links.keys().find(former).cloned() {
            self.lose(now, &former, "it has restarted");
        }
    }

    fn lose(&mut self, now: Instant, node: &NodeId, why: &str) -> Vec<Action> {
        let Some(link) = self.links.remove(node) else {
            return Vec::new();
        };
        tracing::info!(%node, why, "lost");
        for route in self.routes.values_mut() {
            if route.node.as_ref() == Some(node) {
                route.node = None;
            }
        }
        self.reroute(now);
        link.connections.into_keys().map(Action::Close).collect()
    }

    fn close_silent(&mut self, now: Instant) -> Vec<Action> {
        let lost_after = self.timing.lost_after;
        let mut actions = Vec::new();
        for link in self.links.values_mut() {
            link.connections.retain(|id, connection| {
                let keep = now < connection.heard + lost_after;
                if !keep {
                    actions.push(Action::Close(*id));
                }
                keep
            });
        }
        actions
    }

    /// Of several connections to one member keeps one. Only the smaller of the two decides, so
    /// that they never close each other's choice; and only once the one that stays was heard after
    /// the other had opened, so that no dead one is kept.
    fn collapse(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (node, link) in &mut self.links {
            if self.me > *node || link.connections.len() < 2 {
                continue;
            }
            let preferred = (link.connections.iter())
                .min_by_key(|(id, connection)| (!connection.dialled_here, **id))
                .map(|(id, connection)| (*id, connection.heard));
            let Some((kept, heard)) = preferred else {
                continue;
            };
            link.connections.retain(|id, connection| {
                let keep = *id == kept || heard <= connection.opened;
                if !keep {
                    actions.push(Action::Close(*id));
                }
                keep
            });
        }
        actions
    }
}
