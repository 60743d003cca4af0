use std::time::Instant;

use bellwether_election::Term;
use serde::Serialize;

use crate::Address;

/// A server of the group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Server {
    /// The name of its member.
    pub name: String,
    /// Where the others reach it.
    pub address: Address,
}

/// Whom clients may be brought to, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The term in which the primary was promoted. The same server with a higher term was promoted
    /// anew: what was sent to it before may be lost.
    pub term: Term,
    /// From here on, act as if there were no primary. `None`: no bound is known.
    pub until: Option<Instant>,
    /// The server that was promoted and verified; `None` while there is none.
    pub primary: Option<Server>,
    /// The servers that copy it with a working link.
    pub replicas: Vec<Server>,
}
