//! Which servers there are: the seam to whoever decides about it.

use std::time::Instant;

/// One server behind the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// What the server is called in logs. Nothing is decided by it, except that with
    /// [`Orphans::Close`](crate::Orphans::Close) another name is another primary.
    pub name: String,
    /// A host name or an IP address, resolved at each connect.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// What the proxy acts on. A whole snapshot is published at each change, by
/// [`watch`](tokio::sync::watch).
///
/// A topology begins to count when a worker sees it. The proxy then treats every reply that it
/// reads from the former primary as stale: it delivers none of them as a success.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// The fencing number. A higher one with the same primary means a new spell of leadership:
    /// connections of the former spell are not used any more.
    pub term: u64,
    /// From this moment on the proxy acts as if `primary` were `None`. `None`: no end.
    ///
    /// Extending it costs nothing: connections stay as long as `term` and `primary` do.
    pub until: Option<Instant>,
    /// Where commands go. `None`: nowhere; they wait, or their clients are
    /// [closed](crate::Orphans).
    pub primary: Option<Upstream>,
    /// The other servers. They answer reads, as far as [`ReadFrom`](crate::ReadFrom) says.
    pub replicas: Vec<Upstream>,
}
