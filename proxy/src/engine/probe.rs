//! Asks servers how they are, while reads are split: which replicas are fit to answer.

use std::sync::Arc;
use std::time::Instant;

use super::link::{Kind, Owner};
use super::server::{Fitness, ServerId};
use super::Engine;

impl Engine {
    /// Asks each server, unless it still owes an answer.
    pub(super) fn probe(&mut self, now: Instant) {
        if !self.splits_reads() {
            return;
        }
        let servers: Vec<_> = self.replicas.iter().copied().chain(self.primary).collect();
        for server in servers {
            self.probe_server(now, server);
        }
    }

    fn probe_server(&mut self, now: Instant, server: ServerId) {
        let Some(link) = self.server(server).probe else {
            self.unfit(server, "it cannot be connected");
            let profile = Arc::clone(&self.profile);
            self.connect(now, server, profile, Owner::Probe);
            return;
        };
        let link = self.links.get(link.0).expect("a probe's link");
        if link.is_busy() {
            return self.unfit(server, "it does not answer");
        }
        if link.is_ready() {
            let id = link.id;
            let request = super::profile::request(&[b"INFO", b"replication"]);
            self.push_own(now, id, &request, Kind::Probe);
        }
    }

    fn unfit(&mut self, server: ServerId, why: &'static str) {
        self.server_mut(server).fitness = Fitness::Unfit(why);
    }

    /// A server has told how it is.
    pub(super) fn probed(&mut self, _: Instant, id: ServerId, frame: &[u8]) {
        let text = String::from_utf8_lossy(frame);
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        let number = |name: &str| field(name).and_then(|text| text.parse::<u64>().ok());
        let (fitness, offset) = match field("role") {
            Some("master") => (Fitness::Unfit("it is a primary"), number("master_repl_offset")),
            _ if field("master_link_status") != Some("up") => {
                (Fitness::Unfit("it is not linked to its primary"), None)
            }
            _ if field("master_sync_in_progress") == Some("1") => {
                (Fitness::Unfit("it is syncing"), None)
            }
            _ => (Fitness::Fit, number("slave_repl_offset")),
        };
        let server = self.server_mut(id);
        server.fitness = fitness;
        server.offset = offset;
        self.judge_lag(id);
    }

    fn judge_lag(&mut self, id: ServerId) {
        let primary = self.primary.and_then(|primary| self.server(primary).offset);
        let server = self.server(id);
        if let (Some(most), Some(primary), Some(offset)) =
            (self.settings.max_lag_bytes, primary, server.offset)
            && server.fitness == Fitness::Fit
            && primary.saturating_sub(offset) > most
        {
            self.unfit(id, "it lags behind");
        }
    }
}
