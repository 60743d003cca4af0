//! What a proxy has done so far, and how its servers are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::metrics::{BUCKETS, Latencies, Metrics};

/// Counts since the proxy started, and how much of something there is now, summed over the
/// workers.
///
/// Workers publish what is counted once per turn, so it may be some microseconds old. What says
/// "now" in its last word may be a second old.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Clients connected now.
    pub clients: u64,
    /// Clients accepted.
    pub accepted: u64,
    /// Requests received, without those of sessions that became plain relays.
    pub requests: u64,
    /// Requests that had to wait because there was no primary to send them to.
    pub held: u64,
    /// Requests that a server refused, and reads that were lost with it, that were sent again.
    pub replayed: u64,
    /// Requests that were sent and whose outcome nobody knows; each was answered with an error.
    pub unknown: u64,
    /// Requests that were answered with an error because no primary took them in time. They did
    /// not run.
    pub refused: u64,
    /// How often a primary began to refuse commands before a topology named another one.
    pub suspected: u64,
    /// Connections to servers that were begun.
    pub connects: u64,
    /// How often a command that needs a connection for itself found all of them lent.
    pub pool_exhausted: u64,
    /// Clients that were cut because they read too slowly.
    pub cut: u64,
    /// Clients that were closed because there was no primary, or another one.
    pub orphaned: u64,
    /// How often subscriptions were made again on another server.
    pub resubscribed: u64,
    /// Bytes read from clients.
    pub client_bytes_in: u64,
    /// Bytes written to clients.
    pub client_bytes_out: u64,
    /// Bytes read from servers.
    pub server_bytes_in: u64,
    /// Bytes written to servers.
    pub server_bytes_out: u64,
    /// Clients that wait for a primary, a connection to it or room in one: now.
    pub waiting: u64,
    /// Bytes of requests that wait in the proxy: now.
    pub waiting_bytes: u64,
    /// Bytes of replies that wait for their clients to read: now.
    pub output_bytes: u64,
    /// Connections to servers that plain commands share: now.
    pub links_shared: u64,
    /// Connections to servers that one client has for itself: now.
    pub links_leased: u64,
    /// Connections to servers that wait to be lent: now.
    pub links_idle: u64,
}

/// How long servers took to answer the commands of one of Redis's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FamilyStats {
    /// Redis's name of the group, such as `string` or `sorted-set`.
    pub name: &'static str,
    /// Requests that a server answered, as of a second ago.
    pub requests: u64,
    /// How long their answers took in all, from when the request was given to a connection.
    pub total: Duration,
    /// The same requests by how long each took, in rising order.
    pub buckets: Vec<Bucket>,
}

/// Requests whose answers took about as long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bucket {
    /// Each took less than this, and not less than the bucket before says. In the last one, which
    /// says [`Duration::MAX`], they took longer than all others.
    pub below: Duration,
    /// How many.
    pub requests: u64,
}

/// One server, as the proxy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamStats {
    /// As in the [`Topology`](crate::Topology).
    pub name: String,
    /// As in the topology.
    pub host: String,
    /// As in the topology.
    pub port: u16,
    /// What the topology says that it is.
    pub role: UpstreamRole,
    /// Whether it gets commands; of several workers, what troubles one of them.
    pub state: UpstreamState,
    /// How far it is behind the primary in the history, if reads are split and both have said
    /// where they are.
    pub lag_bytes: Option<u64>,
    /// Requests that it was given and has not answered.
    pub pending: u64,
    /// Connections to it.
    pub links: u64,
}

/// What a server is, as far as the proxy was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UpstreamRole {
    /// It takes writes.
    Primary,
    /// It is a copy, and may answer reads.
    Replica,
}

/// Whether a server gets commands. Ordered by how bad that is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum UpstreamState {
    /// Nothing needed a connection to it so far.
    Unused,
    /// It gets commands.
    Connected,
    /// It will, once it can be connected.
    Connecting,
    /// A primary that has just refused commands: they wait.
    Suspect,
    /// A replica that gets no reads, and why.
    Unfit(String),
}

impl UpstreamRole {
    /// In one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

impl UpstreamState {
    /// In one word, without a reason.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Connected => "connected",
            Self::Connecting => "connecting",
            Self::Suspect => "suspect",
            Self::Unfit(_) => "unfit",
        }
    }
}

impl FamilyStats {
    fn new(name: &'static str, latencies: &Latencies) -> Self {
        let below = |place: usize| match place {
            _ if place + 1 == BUCKETS => Duration::MAX,
            _ => Duration::from_micros(1 << place),
        };
        let buckets = latencies.buckets.iter().enumerate();
        Self {
            name,
            requests: latencies.buckets.iter().sum(),
            total: Duration::from_micros(latencies.micros),
            buckets: buckets
                .map(|(place, &requests)| Bucket {
                    below: below(place),
                    requests,
                })
                .collect(),
        }
    }
}

impl UpstreamStats {
    fn is(&self, other: &Self) -> bool {
        (&self.name, &self.host, self.port, self.role)
            == (&other.name, &other.host, other.port, other.role)
    }

    /// What another worker says of the same server.
    fn add(&mut self, other: Self) {
        self.state = self.state.clone().max(other.state);
        self.lag_bytes = self.lag_bytes.max(other.lag_bytes);
        self.pending += other.pending;
        self.links += other.links;
    }
}

/// What the workers of a proxy publish, for readers on any thread: each writes its own part.
#[derive(Debug)]
pub(crate) struct Board {
    workers: Vec<Published>,
}

/// What a worker publishes once a second.
#[derive(Debug, Default)]
struct Snapshot {
    metrics: Metrics,
    upstreams: Vec<UpstreamStats>,
}

impl Board {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| Published::default()).collect(),
        }
    }

    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Only the worker itself publishes its counts, so plain stores suffice.
    #[inline]
    pub(crate) fn count(&self, worker: usize, stats: &Stats) {
        self.workers[worker].counts.store(stats);
    }

    pub(crate) fn publish(
        &self,
        worker: usize,
        stats: &Stats,
        metrics: &Metrics,
        upstreams: Vec<UpstreamStats>,
    ) {
        let worker = &self.workers[worker];
        worker.counts.store(stats);
        worker.gauges.store(stats);
        let mut snapshot = worker.snapshot();
        snapshot.metrics.clone_from(metrics);
        snapshot.upstreams = upstreams;
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for worker in &self.workers {
            worker.counts.add_to(&mut sum);
            worker.gauges.add_to(&mut sum);
        }
        sum
    }

    pub(crate) fn families(&self) -> Vec<FamilyStats> {
        let mut sum = Metrics::default();
        for worker in &self.workers {
            sum.add(&worker.snapshot().metrics);
        }
        let families = sum.families();
        families
            .map(|(family, latencies)| FamilyStats::new(family.name(), latencies))
            .collect()
    }

    pub(crate) fn upstreams(&self) -> Vec<UpstreamStats> {
        let mut all: Vec<UpstreamStats> = Vec::new();
        for worker in &self.workers {
            for upstream in worker.snapshot().upstreams.clone() {
                match all.iter_mut().find(|known| known.is(&upstream)) {
                    Some(known) => known.add(upstream),
                    None => all.push(upstream),
                }
            }
        }
        all
    }
}

/// The part of one worker.
#[derive(Debug, Default)]
struct Published {
    counts: Counts,
    gauges: Gauges,
    snapshot: Mutex<Snapshot>,
}

impl Published {
    fn snapshot(&self) -> MutexGuard<'_, Snapshot> {
        self.snapshot
            .lock()
            .expect("nothing panics while it is locked")
    }
}

macro_rules! published {
    ($of:ident: $($name:ident)*) => {
        #[derive(Debug, Default)]
        struct $of { $($name: AtomicU64),* }

        impl $of {
            #[inline]
            fn store(&self, stats: &Stats) {
                $(self.$name.store(stats.$name, Ordering::Relaxed);)*
            }

            fn add_to(&self, sum: &mut Stats) {
                $(sum.$name += self.$name.load(Ordering::Relaxed);)*
            }
        }
    };
}

published!(Counts:
    clients accepted requests held replayed unknown refused suspected connects pool_exhausted cut
    orphaned resubscribed client_bytes_in client_bytes_out server_bytes_in server_bytes_out);

published!(Gauges:
    waiting waiting_bytes output_bytes links_shared links_leased links_idle);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::Family;

    fn upstream(state: UpstreamState, lag_bytes: Option<u64>) -> UpstreamStats {
        UpstreamStats {
            name: "a".into(),
            host: "10.0.0.1".into(),
            port: 6379,
            role: UpstreamRole::Replica,
            state,
            lag_bytes,
            pending: 2,
            links: 1,
        }
    }

    #[test]
    fn workers_are_summed_and_their_troubles_told() {
        let board = Board::new(2);
        let stats = Stats {
            requests: 3,
            waiting: 1,
            ..Stats::default()
        };
        let mut metrics = Metrics::default();
        metrics.answered(Family::String, 100, 2);
        let unfit = UpstreamState::Unfit("it is syncing".into());
        let seen = [
            upstream(UpstreamState::Connected, None),
            upstream(unfit.clone(), Some(7)),
        ];
        for (worker, seen) in seen.into_iter().enumerate() {
            board.publish(worker, &stats, &metrics, vec![seen]);
        }
        let sum = board.stats();
        assert_eq!((sum.requests, sum.waiting), (6, 2));
        let mut both = upstream(unfit, Some(7));
        (both.pending, both.links) = (4, 2);
        assert_eq!(board.upstreams(), [both]);
        let strings = board.families().swap_remove(Family::String as usize);
        assert_eq!((strings.name, strings.requests), ("string", 4));
        assert_eq!(strings.total, Duration::from_micros(400));
    }

    #[test]
    fn gauges_wait_for_the_whole_snapshot() {
        let board = Board::new(1);
        let stats = Stats {
            requests: 3,
            waiting: 1,
            ..Stats::default()
        };
        board.count(0, &stats);
        let sum = board.stats();
        assert_eq!((sum.requests, sum.waiting), (3, 0));
    }
}
