use std::time::Instant;

use crate::{NodeId, Peer};

/// Who leads a group.
///
/// The term grows with each leader, and no two leaders have the same: it is a fencing number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Nobody is known to lead.
    Vacant,
    /// Another node leads.
    Following {
        /// Which one.
        leader: Peer,
        /// Its term.
        term: u64,
    },
    /// This node leads.
    Leading {
        /// Its term.
        term: u64,
        /// From then on, act as if it did not: another node may lead. A majority's answers push it
        /// further. **Check it before each act**, not only when told: a process that was stopped
        /// reads an old value first.
        until: Instant,
    },
}

/// A node as it stands, for whoever looks after it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// This node.
    pub node: Peer,
    /// Who leads.
    pub leadership: Leadership,
    /// The highest term that this node has heard of.
    pub term: u64,
    /// Those whose majority decides.
    pub voters: Vec<Peer>,
    /// Those who are brought up to date to become voters, or have been voters.
    pub learners: Vec<Peer>,
    /// While this node leads: itself, and those who have answered it within a lease.
    pub answering: Vec<NodeId>,
    /// The index of the last entry in this node's log.
    pub last_log: Option<u64>,
    /// The index of the last entry that this node knows to be committed.
    pub committed: Option<u64>,
    /// The index of the last entry that was applied here.
    pub applied: Option<u64>,
    /// The index of the last entry in this node's latest snapshot.
    pub snapshot: Option<u64>,
    /// The index of the last entry that is no longer in the log.
    pub purged: Option<u64>,
    /// Why this node has ended, if it has.
    pub ended: Option<String>,
}
