//! The servers behind the proxy, and which of them takes commands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::link::{Lane, Owner, Phase};
use super::planted::{Bug, planted};
use super::probe::Health;
use super::profile::Profile;
use super::scan::Mark;
use super::{Engine, LinkId};
use crate::topology::{Topology, Upstream};

/// How long to wait before connecting again, doubling up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// How long a replica is not tried again for a profile that it did not let in.
const REJECTED: Duration = Duration::from_secs(5);

/// A server in one role and, as primary, one spell of leadership. Numbers may be used again when
/// no link of it is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServerId(pub(super) u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Primary { term: u64 },
    Replica,
}

/// What is known of a replica's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fitness {
    /// It was not asked yet.
    Unknown,
    Fit,
    /// Why it is left out.
    Unfit(&'static str),
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) upstream: Upstream,
    pub(super) role: Role,
    /// Whether the topology names it still.
    pub(super) current: bool,
    /// The shared link of each profile and lane.
    pub(super) shared: Vec<(Arc<Profile>, Lane, LinkId)>,
    /// Links that wait to be lent.
    pub(super) idle: Vec<LinkId>,
    /// All links.
    pub(super) links: usize,
    backoff: Duration,
    connect_at: Option<Instant>,
    /// It was asked for its commands.
    pub(super) overlaid: bool,
    pub(super) fitness: Fitness,
    /// How far a replica, or the primary, is in the primary's history.
    pub(super) offset: Option<u64>,
    pub(super) probe: Option<LinkId>,
    pub(super) health: Health,
    /// What it is called in cursors.
    pub(super) mark: Mark,
    /// Profiles that it does not let in, as a replica may that has other users or databases: until
    /// then, reads of theirs go elsewhere.
    rejected: Vec<(Arc<Profile>, Instant)>,
}

impl Server {
    fn new(upstream: Upstream, role: Role) -> Self {
        Self {
            mark: Mark::of(&upstream),
            upstream,
            role,
            current: true,
            shared: Vec::new(),
            idle: Vec::new(),
            links: 0,
            backoff: BACKOFF.0,
            connect_at: None,
            overlaid: false,
            fitness: Fitness::Unknown,
            offset: None,
            probe: None,
            health: Health::default(),
            rejected: Vec::new(),
        }
    }

    #[inline]
    pub(super) fn shared(&self, profile: &Arc<Profile>, lane: Lane) -> Option<LinkId> {
        let mut shared = self.shared.iter();
        let same = shared.find(|(of, on, _)| {
            (Arc::ptr_eq(of, profile) || planted(Bug::MixProfiles)) && *on == lane
        });
        same.map(|(_, _, link)| *link)
    }

    fn is_at(&self, upstream: &Upstream) -> bool {
        self.upstream.host == upstream.host && self.upstream.port == upstream.port
    }

    /// When it may be connected again, if that has failed.
    pub(super) fn connect_at(&self) -> Option<Instant> {
        self.connect_at
    }

    /// Until when it does not let this profile in.
    pub(super) fn rejects(&self, now: Instant, profile: &Arc<Profile>) -> Option<Instant> {
        let mut rejected = self.rejected.iter();
        let found = rejected.find(|(other, until)| Arc::ptr_eq(other, profile) && now < *until);
        found.map(|(_, until)| *until)
    }

    pub(super) fn reject(&mut self, now: Instant, profile: Arc<Profile>) {
        self.rejected
            .retain(|(other, until)| now < *until && !Arc::ptr_eq(other, &profile));
        self.rejected.push((profile, now + REJECTED));
    }

    /// Whether to wait before connecting to it.
    pub(super) fn backs_off(&self, now: Instant) -> bool {
        self.connect_at.is_some_and(|at| now < at)
    }

    pub(super) fn failed(&mut self, now: Instant) -> Instant {
        let at = now + self.backoff;
        self.connect_at = Some(at);
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
        at
    }

    pub(super) fn succeeded(&mut self) {
        (self.connect_at, self.backoff) = (None, BACKOFF.0);
    }
}

impl Engine {
    #[inline]
    pub(super) fn server(&self, id: ServerId) -> &Server {
        self.servers[id.0 as usize]
            .as_ref()
            .expect("a server with links or a role")
    }

    #[inline]
    pub(super) fn server_mut(&mut self, id: ServerId) -> &mut Server {
        self.servers[id.0 as usize]
            .as_mut()
            .expect("a server with links or a role")
    }

    /// Acts on a new snapshot, or on the end of the last one.
    pub(super) fn aim(&mut self, now: Instant, topology: &Topology) {
        let primary = topology.primary.as_ref();
        let primary = primary.filter(|_| topology.until.is_none_or(|until| now < until));
        self.until = topology.until.filter(|_| primary.is_some());
        let stays = self.keeps_primary(primary, topology.term);
        if !stays {
            if let Some(old) = self.primary.take() {
                self.close_orphans(now);
                self.replace(old, now + self.settings.linger);
            }
            self.suspect = None;
            self.spell += u32::from(primary.is_some());
            self.primary = primary.map(|upstream| {
                let term = topology.term;
                self.add_server(upstream.clone(), Role::Primary { term })
            });
        }
        self.aim_replicas(now, topology);
        if !stays && self.primary.is_some() {
            self.doubt_replicas();
        }
        self.free_stuck();
        self.warm(now);
        self.probe(now);
    }

    fn keeps_primary(&self, next: Option<&Upstream>, term: u64) -> bool {
        match (self.primary.map(|id| self.server(id)), next) {
            (None, None) => true,
            (Some(old), Some(new)) => {
                let same = old.is_at(new) && old.role >= Role::Primary { term };
                same && (!self.closes_orphans() || old.upstream.name == new.name)
            }
            _ => false,
        }
    }

    /// Whether links to the present primary are of no use once this topology holds.
    pub(crate) fn replaces_primary(&self, topology: &Topology) -> bool {
        !self.keeps_primary(topology.primary.as_ref(), topology.term)
    }

    fn aim_replicas(&mut self, now: Instant, topology: &Topology) {
        for old in std::mem::take(&mut self.replicas) {
            if topology
                .replicas
                .iter()
                .any(|new| self.server(old).is_at(new))
            {
                self.replicas.push(old);
            } else {
                self.retire(old, now + self.settings.hold);
            }
        }
        for new in &topology.replicas {
            if !self.replicas.iter().any(|old| self.server(*old).is_at(new)) {
                let id = self.add_server(new.clone(), Role::Replica);
                self.replicas.push(id);
            }
        }
    }

    fn add_server(&mut self, upstream: Upstream, role: Role) -> ServerId {
        let free = self.servers.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.servers.push(None);
            self.servers.len() - 1
        });
        self.servers[slot] = Some(Server::new(upstream, role));
        ServerId(u32::try_from(slot).expect("fewer servers than 2^32"))
    }

    /// It is not the primary any more: nothing that it says from now on counts as success.
    fn replace(&mut self, server: ServerId, linger_until: Instant) {
        self.leave(server, |phase| match phase {
            Phase::Ready | Phase::Greeting(_) => Phase::Stale(linger_until),
            // Nothing was sent over it.
            Phase::Connecting(_) => Phase::Doomed,
            phase => phase,
        });
    }

    /// It is not one of the replicas any more, but may answer what it was asked.
    fn retire(&mut self, server: ServerId, answer_by: Instant) {
        self.leave(server, |phase| match phase {
            Phase::Ready => Phase::Retiring(answer_by),
            Phase::Greeting(_) | Phase::Connecting(_) => Phase::Doomed,
            phase => phase,
        });
    }

    fn leave(&mut self, id: ServerId, becomes: impl Fn(Phase) -> Phase) {
        let server = self.server_mut(id);
        server.current = false;
        server.shared.clear();
        server.idle.clear();
        server.probe = None;
        let links: Vec<_> = self
            .links
            .iter_mut()
            .filter(|link| link.server == id)
            .map(|link| {
                link.phase = becomes(link.phase);
                if link.owner == Owner::Idle || link.owner == Owner::Probe {
                    link.phase = Phase::Doomed;
                }
                link.id
            })
            .collect();
        for link in links {
            self.touch_link(link);
        }
        self.drop_server(id);
    }

    /// Forgets a server that nothing refers to.
    pub(super) fn drop_server(&mut self, id: ServerId) {
        let server = self.server(id);
        if !server.current && server.links == 0 {
            self.servers[id.0 as usize] = None;
        }
    }

    /// The primary refused something, or was lost: commands wait a moment before they try it again.
    pub(super) fn suspect(&mut self, server: ServerId, until: Instant) {
        if self.primary == Some(server) {
            if self.suspect.is_none() {
                self.stats.suspected += 1;
            }
            self.suspect = Some(until);
        }
    }
}

impl PartialOrd for Role {
    /// By term; a primary and a replica do not compare.
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Self::Primary { term }, Self::Primary { term: other }) => term.partial_cmp(other),
            (Self::Replica, Self::Replica) => Some(std::cmp::Ordering::Equal),
            _ => None,
        }
    }
}
