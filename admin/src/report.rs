use std::time::Instant;

/// What a node says of itself: the whole of it, published anew at each change.
///
/// Dropping the `watch` channel's sender says that the node's main loop is gone: neither live nor
/// ready, and its server neither primary nor replica, whatever the last report said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether the main loop is alive. An orchestrator restarts a node that is not.
    pub live: bool,
    /// Whether clients may be sent here; otherwise why not, in one line.
    pub ready: Result<(), String>,
    /// Whether automatic failover is paused. That changes no answer but the words of `/readyz`.
    pub paused: bool,
    /// What the node's own server is to clients. What `/primary` and `/replica` answer by.
    pub role: Role,
    /// What `/status` shows.
    pub status: serde_json::Value,
}

/// What a node's own server is to clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// None of the others, or not known.
    #[default]
    Neither,
    /// The primary that is published: it was promoted, and may be written to.
    Primary {
        /// From here on, no longer; checked at each request, so that a report that was not renewed
        /// in time does not speak on. `None`: no bound is known.
        until: Option<Instant>,
    },
    /// A replica whose link to the primary works.
    Replica {
        /// How many bytes of the primary's writes it does not have, where that is known.
        lag_bytes: Option<u64>,
    },
}
