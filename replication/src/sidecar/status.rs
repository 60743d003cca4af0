use std::collections::BTreeMap;

use bellwether_election::Term;
use serde::Serialize;

use super::{Kind, Tally};
use crate::{Address, Inspection, Server};

/// What a sidecar knows and what it decided of late, for an operator to read.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// `leading`, `following` or `vacant`.
    pub leadership: String,
    /// The member that leads.
    pub leader: Option<String>,
    /// The term of its leadership.
    pub term: Option<Term>,
    /// Whether automatic failover is paused.
    pub paused: bool,
    /// The primary that clients are brought to.
    pub primary: Option<Server>,
    /// The servers that copy it.
    pub replicas: Vec<Server>,
    /// What the own server last said.
    pub server: Option<Inspection>,
    /// Why the own server is not known or cannot be relied on, if so; or what an operator must decide
    /// before it can lead, such as that its dataset is of another group; or what a primary lacks, such
    /// as the passport that it refuses.
    pub trouble: Option<String>,
    /// The other members by name.
    pub members: BTreeMap<String, MemberStatus>,
    /// The latest decisions, oldest first.
    pub decisions: Vec<Decided>,
    /// How often what was decided.
    pub tally: Tally,
}

/// What is known of another member.
#[derive(Clone, Debug, Serialize)]
pub struct MemberStatus {
    /// Where its server is.
    pub redis: Address,
    /// Whether its agent is connected.
    pub connected: bool,
    /// What its server last said.
    pub server: Option<Inspection>,
}

/// A decision, when it was taken, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Decided {
    /// Grows by one with each decision, from 1 on: who looks now and then sees what is new, and how
    /// much was missed.
    pub number: u64,
    /// Milliseconds since 1970, by this machine's clock.
    pub at_ms: u64,
    /// What it is about.
    #[serde(flatten)]
    pub kind: Kind,
    /// What was decided.
    pub what: String,
    /// Why.
    pub why: String,
}
