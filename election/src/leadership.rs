use std::{fmt, time::Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One member during one life of its process.
///
/// A member that restarts keeps its name and gets a fresh incarnation, so that what was said of its
/// former life never applies to the new one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId {
    /// The member's name: unique in its group, stable over restarts.
    pub member: String,
    /// Drawn at random when the process starts.
    pub incarnation: Uuid,
}

impl NodeId {
    /// A new life of this member.
    #[must_use]
    pub fn fresh(member: impl Into<String>) -> Self {
        Self {
            member: member.into(),
            incarnation: Uuid::new_v4(),
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.member)
    }
}

/// The fencing number: grows with each spell of leadership that a member has seen.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Term(pub u64);

impl Term {
    /// The term of the next spell of leadership.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How fit a candidate is, as the application sees it: compared byte by byte, bigger is fitter.
///
/// A backend compares ranks and knows nothing of what they mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rank(pub Vec<u8>);

/// Who leads, as far as this member knows.
///
/// Deliberately exhaustive: a new state must break those who decide by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Nobody is known to lead. Each time this state begins, an election expects the application to
    /// speak anew: [`campaign`](crate::Participant::campaign) or
    /// [`resign`](crate::Participant::resign).
    Vacant,
    /// Another member leads.
    Following {
        /// The member that leads.
        leader: NodeId,
        /// What the leader last announced.
        card: Bytes,
        /// The leader's term.
        term: Term,
    },
    /// This member leads.
    Leading {
        /// This spell's term.
        term: Term,
        /// From here on, act as if not leading. `None`: this backend has no lease.
        until: Option<Instant>,
    },
}

impl Leadership {
    /// The term of the spell that this state belongs to.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        match self {
            Self::Vacant => None,
            Self::Following { term, .. } | Self::Leading { term, .. } => Some(*term),
        }
    }
}
