//! Settings of a proxy.

use std::net::SocketAddr;
use std::time::Duration;

use crate::error::Error;

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
    /// How long a request may wait for a primary, at most. Default 5 s: longer than a failover,
    /// shorter than the patience of common clients.
    pub hold: Duration,
    /// How long a server that is not the primary any more may still refuse what it was sent, so that
    /// it can be sent to the next one. Default 100 ms: in a switchover such refusals are on their
    /// way. A session that waits for an answer of a former primary that hangs waits so much longer.
    pub linger: Duration,
    /// How long connecting to a server may take, name resolution included. Default 1 s.
    pub connect_timeout: Duration,
    /// Clients that may be connected at one time, over all workers; more are refused with Redis's
    /// own error. Default 10,000, as Redis's `maxclients`.
    pub max_clients: usize,
    /// Whether clients of other machines are refused with Redis's own error, as in its protected
    /// mode. Default no.
    pub local_only: bool,
    /// Bytes of one session that may wait in each direction: requests for the server, and replies
    /// for the client. Beyond, the proxy stops reading from the other side. Default 1 MiB, at
    /// least 128 KiB. One read, at most 64 KiB, may come on top.
    pub session_buffer: usize,
    /// Bytes of requests that were sent and not answered, kept in each session to be sent again
    /// if the server refuses them. Beyond, a refusal is delivered as it is. Default 1 MiB.
    pub replay_buffer: usize,
    /// Bytes of requests of one worker that may wait for a primary. Beyond, the worker stops
    /// reading from sessions that have none. Default 64 MiB.
    pub worker_buffer: usize,
}

impl ProxyConfig {
    /// The defaults, with this address to listen on.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            listen,
            workers: if cores <= 2 { 1 } else { cores / 2 },
            hold: Duration::from_secs(5),
            linger: Duration::from_millis(100),
            connect_timeout: Duration::from_secs(1),
            max_clients: 10_000,
            local_only: false,
            session_buffer: 1 << 20,
            replay_buffer: 1 << 20,
            worker_buffer: 64 << 20,
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
