//! Who takes part in a group, and under which names.

use std::fmt;

/// Names one log: a node for as long as it has its log, and never another one.
///
/// A node that keeps its log in memory has a new id after each start, since it comes back without
/// what it had acknowledged. One with a data directory keeps the id that it finds there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<u64> for NodeId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

/// A member of a group: a name that stays over restarts, and where it can be dialled.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Unique in the group. 1 to 255 bytes.
    pub name: String,
    /// A host name or an address. 1 to 255 bytes.
    pub host: String,
    /// The port at which it listens for its peers.
    pub port: u16,
}

impl Member {
    /// A member by its parts.
    pub fn new(name: impl Into<String>, host: impl Into<String>, port: u16) -> Self {
        Self {
            name: name.into(),
            host: host.into(),
            port,
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}:{})", self.name, self.host, self.port)
    }
}

/// A node of the group: a member and the log that it has at present.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// The log.
    pub id: NodeId,
    /// Whose it is.
    pub member: Member,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}", self.member, self.id)
    }
}
