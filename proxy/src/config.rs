//! Settings of a proxy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::error::Error;

/// Which servers answer reads.
///
/// A replica is fit if it says, each [`probe_interval`](ProxyConfig::probe_interval), that it is in
/// sync with the primary and its link is up, and lags by no more than
/// [`max_lag_bytes`](ProxyConfig::max_lag_bytes). One that refuses a read, loses a connection, or says
/// nothing for [`connect_timeout`](ProxyConfig::connect_timeout) gets no reads until it says so again,
/// and its reads are answered by others. One that does not tell the proxy how it is (NOAUTH,
/// NOPERM) is judged by its answers to reads alone.
///
/// A read never overtakes a write that the same client sent before and that is not answered. What
/// may write, and what is not known, goes to the primary, and so do the reads of a client that has
/// state in its connection. While reads are split, cursors of the SCAN family carry a mark of the
/// server that issued them, below 2^62; if that server is gone or unfit, the scan begins again on the
/// primary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// The primary, always.
    #[default]
    Primary,
    /// A replica that is fit and connected, else the primary. Such reads may be stale.
    PreferReplica,
    /// A replica as long as one is fit, even if its connection must be waited for; only without
    /// one the primary. Such reads may be stale.
    Replicas,
}

/// Which of several replicas answers a read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Balance {
    /// Each in its turn.
    #[default]
    RoundRobin,
    /// The one that this worker awaits the fewest answers from.
    LeastPending,
}

/// What becomes of clients whose primary is lost.
///
/// It is lost when a topology names none, when [`until`](crate::Topology::until) has passed, and when
/// a topology names another server (by name, host or port) or a higher term. A primary that cannot be
/// reached is not lost as long as the topology names it: commands wait for it, either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Orphans {
    /// They stay: what they ask waits for the next primary, and goes there.
    #[default]
    Hold,
    /// All are closed, and so is at once, without a word, whoever connects while there is no primary.
    /// For a port that serves only while its node leads: behind a Kubernetes Service, say, clients
    /// come back by way of the Service, which knows the next leader.
    ///
    /// Answers that were read before go out first; who has not taken them within 5 s, or when the next
    /// primary is lost, is cut. What may have run gets an error that says that its outcome is unknown,
    /// as far as the client wants answers at all, and so does what stands before it. The rest gets no
    /// answer: it did not run, or only read. So client libraries that send again what a closed
    /// connection left unanswered, as many do, run nothing twice. After half a reply nothing can be
    /// said.
    ///
    /// Nothing is held for the next primary or sent to it, nothing that was read later is forwarded
    /// or delivered, and [`ProxyConfig::linger`] does not count.
    Close,
}

/// A password, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Who the proxy is to its servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// An ACL user; `None`: the default one.
    pub user: Option<String>,
    /// Its password.
    pub password: Password,
}

/// A session must be able to hold the longest line of the protocol and a little more.
const LEAST_BUFFER: usize = 128 << 10;

/// How a [`Proxy`](crate::Proxy) listens, waits and bounds its memory.
///
/// ```
/// let mut config = bellwether_proxy::ProxyConfig::new(([127, 0, 0, 1], 0).into());
/// config.hold = std::time::Duration::from_secs(2);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProxyConfig {
    /// Where clients connect. Port 0 takes a free one, see
    /// [`Proxy::local_addr`](crate::Proxy::local_addr).
    pub listen: SocketAddr,
    /// Threads that serve clients, each with sessions of its own. Default: one on two cores or
    /// fewer, because Redis needs the other one; else half of the cores.
    pub workers: usize,
    /// What becomes of clients whose primary is lost. Default: they stay, and wait for the next one.
    pub orphans: Orphans,
    /// How long a request may wait for a primary, at most. Default 5 s: longer than a failover,
    /// shorter than the patience of common clients.
    pub hold: Duration,
    /// How long a server that is not the primary any more may still refuse what it was sent, so that
    /// it can be sent to the next one. Default 100 ms: in a switchover such refusals are on their
    /// way. A session that waits for an answer of a former primary that hangs waits so much longer.
    pub linger: Duration,
    /// How long connecting to a server may take, name resolution included, and how long a server
    /// that is asked how it is may be silent. Default 1 s.
    pub connect_timeout: Duration,
    /// Clients that may be connected at one time, over all workers; more are refused with Redis's
    /// own error. Default 10,000, as Redis's `maxclients`.
    pub max_clients: usize,
    /// Whether clients of other machines are refused with Redis's own error, as in its protected
    /// mode. Default no.
    pub local_only: bool,
    /// Bytes of requests of one client that may wait. Beyond, the proxy stops reading from it.
    /// Default 1 MiB, at least 128 KiB. One read, at most 128 KiB, may come on top.
    pub session_buffer: usize,
    /// Bytes of replies that one client may leave unread before the proxy stops reading from it. From
    /// [`session_buffer`](Self::session_buffer) on its commands run one at a time only. Default
    /// 64 MiB: some clients write a long pipeline before they read.
    pub session_output: usize,
    /// Bytes of requests that were sent and not answered, kept for each connection to a server, to
    /// be sent again if the server refuses them or is lost. Of requests beyond, a refusal is
    /// delivered as it is, and a loss as an unknown outcome. Default 8 MiB.
    pub replay_buffer: usize,
    /// Bytes of requests of one worker that may wait for a primary. Beyond, the worker stops
    /// reading from sessions that have none. Default 64 MiB.
    pub worker_buffer: usize,
    /// Bytes of replies of one worker that may wait for clients that read slowly. Beyond, the
    /// client that is most behind is cut. Default 256 MiB.
    pub output_buffer: usize,
    /// How long a client may say nothing before it is closed, unless it waits for something, as
    /// Redis's `timeout`. Default: for ever.
    pub idle_timeout: Option<Duration>,
    /// Connections of one worker that wait to be lent to a client that needs one for itself,
    /// beyond which one that is given back is closed. Default 32.
    pub pool_idle: usize,
    /// How many of them are connected before they are needed. Default 2.
    pub pool_warm: usize,
    /// Connections of one worker that may be lent at a time. Beyond, commands that need one wait,
    /// up to [`hold`](Self::hold). Default 4,096, less than half of Redis's own `maxclients`.
    pub pool_max: usize,
    /// Which servers answer reads. Default: the primary.
    pub read_from: ReadFrom,
    /// Which of several replicas does. Default: each in its turn.
    pub balance: Balance,
    /// A replica that is more bytes of the history behind its primary is left out, as one is that
    /// syncs, loads or has lost its primary. Default: any lag will do.
    pub max_lag_bytes: Option<u64>,
    /// How often replicas are asked how they are, if reads go to them. Default 1 s.
    pub probe_interval: Duration,
    /// What clients must know to be served, by AUTH or HELLO; their AUTH does not reach the server
    /// then. Default none: AUTH is the server's, and each user has connections of its own.
    pub password: Option<Password>,
    /// Who the proxy is to its servers, as long as a client has not authenticated there itself.
    /// Default: nobody.
    pub upstream_credentials: Option<Credentials>,
    /// Names that `rename-command` gave to commands: the server's name, and Redis's own. An empty
    /// own name says that the server's name is nothing that is known.
    pub renames: BTreeMap<String, String>,
    /// Whether worker threads run under the scheduler's batch policy: they do not interrupt others
    /// when they wake up, which saves CPU where clients, proxy and server share few cores, and
    /// can cost a client some latency where cores are many and busy. Default yes.
    pub batch: bool,
}

impl ProxyConfig {
    /// The defaults, with this address to listen on.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            listen,
            workers: if cores <= 2 { 1 } else { cores / 2 },
            orphans: Orphans::Hold,
            hold: Duration::from_secs(5),
            linger: Duration::from_millis(100),
            connect_timeout: Duration::from_secs(1),
            max_clients: 10_000,
            local_only: false,
            session_buffer: 1 << 20,
            session_output: 64 << 20,
            replay_buffer: 8 << 20,
            worker_buffer: 64 << 20,
            output_buffer: 256 << 20,
            idle_timeout: None,
            pool_idle: 32,
            pool_warm: 2,
            pool_max: 4096,
            read_from: ReadFrom::Primary,
            balance: Balance::RoundRobin,
            max_lag_bytes: None,
            probe_interval: Duration::from_secs(1),
            password: None,
            upstream_credentials: None,
            renames: BTreeMap::new(),
            batch: true,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let problem = if self.workers == 0 {
            "workers must be at least 1"
        } else if self.connect_timeout.is_zero() {
            "connect_timeout must be longer than zero"
        } else if self.session_buffer < LEAST_BUFFER {
            "session_buffer must be at least 131072 bytes"
        } else if self.worker_buffer < self.session_buffer {
            "worker_buffer must not be smaller than session_buffer"
        } else if self.session_output < self.session_buffer {
            "session_output must not be smaller than session_buffer"
        } else if self.output_buffer < self.session_output {
            "output_buffer must not be smaller than session_output"
        } else if self.pool_max == 0 {
            "pool_max must be at least 1"
        } else if self.pool_warm > self.pool_idle || self.pool_idle > self.pool_max {
            "pool_warm must not exceed pool_idle, nor that pool_max"
        } else if self.probe_interval.is_zero() {
            "probe_interval must be longer than zero"
        } else if self.idle_timeout.is_some_and(|timeout| timeout.is_zero()) {
            "idle_timeout must be longer than zero, or none"
        } else if self
            .password
            .as_ref()
            .is_some_and(|password| password.0.is_empty())
        {
            "password must not be empty"
        } else {
            return Ok(());
        };
        Err(Error::Config(problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_named() {
        let mut config = ProxyConfig::new(([127, 0, 0, 1], 0).into());
        assert!(config.check().is_ok());
        config.worker_buffer = config.session_buffer - 1;
        let message = config.check().unwrap_err().to_string();
        assert!(message.contains("worker_buffer") && message.contains("session_buffer"));
    }
}
