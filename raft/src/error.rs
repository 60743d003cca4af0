use std::{io, path::PathBuf};

use crate::Peer;

/// Why a group did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot work: fix what it says. Trying again does not help.
    #[error("{0}")]
    Config(String),
    /// The address for peers cannot be listened on: free it or choose another.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address as it was configured.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The data directory cannot be used as it is; what it holds is left there. Somebody has to look:
    /// it belongs to another group or member, or it is damaged in a way that no crash explains.
    #[error("{path}: {what}")]
    Data {
        /// The file, or the directory.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The data directory cannot be read or written.
    #[error("{path}: cannot be read or written")]
    Storage {
        /// The file, or the directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Refused, nothing was proposed or read: this node does not lead. Ask the leader, if one is
    /// known.
    #[error("this node does not lead{}", leader_or_none(leader.as_ref()))]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<Peer>,
    },
    /// Refused, nothing was proposed or read: no majority has been heard for a lease, or the
    /// present leader is handing over. Try again later.
    #[error("no majority of the group can be reached")]
    NoQuorum,
    /// It is not known whether what was proposed is or will be applied. Look before trying again.
    #[error("not confirmed in time: what was proposed may or may not take effect")]
    Unknown,
    /// Refused, nothing was proposed: it is larger than the group's bound.
    #[error("a proposal of {bytes} bytes is larger than max_proposal, {bound} bytes")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound that it breaks.
        bound: usize,
    },
    /// Refused, nothing was changed: there is no such node, or it is not fit for what was asked.
    #[error("{0}")]
    Unfit(String),
    /// The node has ended, by [`shutdown`](crate::Group::shutdown) or because its log or its state
    /// machine failed. Local reads go on.
    #[error("this node has ended: {0}")]
    Ended(String),
}

fn leader_or_none(leader: Option<&Peer>) -> String {
    leader.map_or_else(
        || ", and no leader is known".into(),
        |peer| format!(", but {peer} does"),
    )
}
