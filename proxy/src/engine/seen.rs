//! What the engine shows of itself to other threads.

use std::sync::Arc;

use super::Engine;
use super::link::{Link, Owner};
use super::server::{Fitness, ServerId};
use crate::stats::{Board, Stats, UpstreamRole, UpstreamState, UpstreamStats};

impl Engine {
    /// Publishes there, as this worker, from now on.
    pub(crate) fn publish_on(&mut self, board: Arc<Board>, worker: usize) {
        (self.board, self.worker) = (board, worker);
    }

    /// Publishes what is counted: cheap enough for each turn.
    #[inline]
    pub(crate) fn publish_counts(&self) {
        self.board.count(self.worker, &self.stats);
    }

    /// Publishes all there is.
    pub(super) fn publish(&mut self) {
        self.resting = self.is_at_rest();
        self.measure();
        self.board
            .publish(self.worker, &self.stats, &self.metrics, self.upstreams());
    }

    fn measure(&mut self) {
        let stuck =
            |id: &&super::ClientId| self.sessions.get(id.0).is_some_and(|session| session.stuck);
        let count = |fits: fn(Owner) -> bool| {
            self.links.iter().filter(|link| fits(link.owner)).count() as u64
        };
        self.stats = Stats {
            waiting: self.stuck.iter().filter(stuck).count() as u64,
            waiting_bytes: self.bytes as u64,
            output_bytes: self.out_bytes as u64,
            links_shared: count(|owner| matches!(owner, Owner::Shared(_))),
            links_leased: count(|owner| matches!(owner, Owner::Leased(_))),
            links_idle: count(|owner| owner == Owner::Idle),
            ..self.stats
        };
    }

    /// The servers that the topology names.
    fn upstreams(&self) -> Vec<UpstreamStats> {
        let primary = self.primary.map(|id| (id, UpstreamRole::Primary));
        let replicas = self.replicas.iter().map(|id| (*id, UpstreamRole::Replica));
        let all = primary.into_iter().chain(replicas);
        all.map(|(id, role)| self.upstream(id, role)).collect()
    }

    fn upstream(&self, id: ServerId, role: UpstreamRole) -> UpstreamStats {
        let server = self.server(id);
        let links = || self.links.iter().filter(|link| link.server == id);
        let ready = links().any(Link::is_ready);
        let primary = self.primary.and_then(|primary| self.server(primary).offset);
        let behind = |offset| primary.map(|primary| primary.saturating_sub(offset));
        UpstreamStats {
            name: server.upstream.name.clone(),
            host: server.upstream.host.clone(),
            port: server.upstream.port,
            role,
            state: match (role, &server.fitness) {
                (UpstreamRole::Primary, _) if self.suspect.is_some() => UpstreamState::Suspect,
                (UpstreamRole::Replica, _) if !self.splits_reads() => UpstreamState::Unused,
                (UpstreamRole::Replica, Fitness::Unfit(why)) => {
                    UpstreamState::Unfit((*why).to_owned())
                }
                (UpstreamRole::Primary, _) | (_, Fitness::Fit) if ready => UpstreamState::Connected,
                _ => UpstreamState::Connecting,
            },
            lag_bytes: server
                .offset
                .filter(|_| role == UpstreamRole::Replica)
                .and_then(behind),
            pending: links().map(|link| link.entries.len() as u64).sum(),
            links: links().count() as u64,
        }
    }
}
