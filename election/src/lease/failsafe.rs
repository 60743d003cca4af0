//! What failsafe is given, what it tells, and how members ask each other.

mod post;
mod seal;
mod wire;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{MAX_CARD, NodeId, Term, lease::record::TERM_LIMIT};
pub(crate) use post::{Mail, Post};

/// Whom to ask, and where to be asked, when the API does not answer: for
/// [`LeaseConfig::failsafe`](crate::LeaseConfig::failsafe).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failsafe {
    /// Where the other members' questions are listened for.
    pub listen: SocketAddr,
    /// All members by name, with the host and port where each listens for questions; this one may be
    /// among them or not. While it names nobody else, a leader is not kept through an outage.
    pub members: watch::Receiver<BTreeMap<String, (String, u16)>>,
    /// What only members know, the same for all, and not empty. Who asks and who answers prove that
    /// they know it, without telling it. Who listens to them can try guesses at leisure: it should be
    /// too long to be guessed. Members with another secret, or none, neither confirm this one nor are
    /// confirmed. Default `None`: whoever reaches the port is believed.
    pub secret: Option<SecretString>,
}

impl Failsafe {
    /// Listens here, and asks there, without a secret.
    #[must_use]
    pub fn new(
        listen: SocketAddr,
        members: watch::Receiver<BTreeMap<String, (String, u16)>>,
    ) -> Self {
        Self {
            listen,
            members,
            secret: None,
        }
    }
}

/// How failsafe stands: for readiness, metrics and people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Confirming {
    /// Who has to confirm this member if the API is away, itself included, while it leads. Empty: it
    /// would not be kept through an outage, since it does not lead, or the Lease does not name them
    /// yet.
    pub members: Vec<String>,
    /// The API does not acknowledge, and this member leads for as long as all confirm.
    pub asking: bool,
    /// Who did not confirm when all were asked last.
    pub silent: Vec<String>,
    /// The leader to which this member has promised not to take the Lease.
    pub promised_to: Option<String>,
}

/// A leader's question: to confirm that it leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) leader: NodeId,
    pub(crate) term: Term,
    /// What the leader announces.
    pub(crate) card: Bytes,
    /// For how long who confirms takes the Lease from nobody.
    pub(crate) promise: Duration,
}

/// What a member answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    Confirmed,
    Refused(Refusal),
}

/// Why a member does not confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it belongs to another group")]
    Group,
    #[error("it is another member")]
    Member,
    #[error("it leads itself")]
    Leads,
    #[error("it is about to take the Lease")]
    Takes,
    #[error("it knows of a later leader (term {0})")]
    Superseded(Term),
    #[error("it demands the secret of the group, and this member has none")]
    Unsealed,
    #[error("it has no secret, and this member has one")]
    Sealed,
    #[error("it has another secret, or somebody changed what was said")]
    Forged,
}

impl Refusal {
    /// Whether it is for want of a common secret, so that its words cannot be sealed.
    fn is_of_seals(self) -> bool {
        matches!(self, Self::Unsealed | Self::Sealed | Self::Forged)
    }
}

impl Ask {
    /// Whether an honest member may have sent this.
    fn is_sane(&self) -> bool {
        let name = &self.leader.member;
        (1..=255).contains(&name.len())
            && !name.chars().any(char::is_control)
            && self.card.len() <= MAX_CARD
            // Who confirms it counts on from there.
            && self.term.0 < TERM_LIMIT / 2
            && self.promise <= crate::lease::config::MAX_TIME
    }
}
