use std::time::Instant;

/// The leader that shall be announced: this node, once it leads and has verified its promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The name of this node's pod.
    pub member: String,
    /// The fencing number of this spell of leadership. What a higher term has announced is never
    /// overwritten, so terms must grow with each spell, and no two leaders may share one.
    pub term: u64,
    /// From here on nothing is written for this leader, unless it is told anew with a later end.
    /// `None`: its leadership has no lease.
    pub until: Option<Instant>,
}

impl Leader {
    pub(crate) fn leads_at(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Whether only the lease may differ.
    pub(crate) fn same_spell(&self, other: &Self) -> bool {
        self.term == other.term && self.member == other.member
    }
}

/// How far the announcement of this node has come, for readiness and metrics.
///
/// Deliberately exhaustive: a new state must break those who decide by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Announcement {
    /// There is nothing to announce: this node does not lead, or the end of its lease has passed.
    #[default]
    Idle,
    /// The first calls for this term are under way, or a repair is.
    Pending {
        /// The term to be announced.
        term: u64,
    },
    /// It is not announced, or was changed by someone; this is tried again.
    Retrying {
        /// The term to be announced.
        term: u64,
        /// What stands in the way, in one line for people.
        reason: String,
    },
    /// All that was asked for points at this node, as far as is known.
    Announced {
        /// The announced term.
        term: u64,
        /// Since when it is known to be so.
        at: Instant,
        /// Why a change by someone else would be noticed late at present, in one line for people;
        /// `None` while the API is heard.
        hindrance: Option<String>,
    },
    /// A higher term was announced: this node's leadership is over, whether it knows or not. Nothing
    /// is written unless that higher term goes away.
    Superseded {
        /// This node's term.
        term: u64,
        /// The term found in its place.
        higher: u64,
    },
}

impl Announcement {
    /// What two parts, such as a Service and the labels of pods, come to together.
    pub(crate) fn with(self, other: Self) -> Self {
        let (worse, better) = if self.gravity() >= other.gravity() {
            (self, other)
        } else {
            (other, self)
        };
        match (worse, better) {
            (
                Self::Announced {
                    term,
                    at,
                    hindrance,
                },
                Self::Announced {
                    at: since,
                    hindrance: second,
                    ..
                },
            ) => Self::Announced {
                term,
                at: at.max(since),
                hindrance: hindrance.or(second),
            },
            (worse, _) => worse,
        }
    }

    fn gravity(&self) -> u8 {
        match self {
            Self::Announced { .. } => 0,
            Self::Idle => 1,
            Self::Pending { .. } => 2,
            Self::Retrying { .. } => 3,
            Self::Superseded { .. } => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_worse_part_counts() {
        let at = Instant::now();
        let announced = |at, hindrance: Option<&str>| Announcement::Announced {
            term: 3,
            at,
            hindrance: hindrance.map(Into::into),
        };
        let pending = Announcement::Pending { term: 3 };
        let retrying = Announcement::Retrying {
            term: 3,
            reason: "away".into(),
        };
        let superseded = Announcement::Superseded { term: 3, higher: 4 };
        let later = at + Duration::from_secs(1);
        for (one, two, both) in [
            (announced(at, None), pending.clone(), pending.clone()),
            (pending.clone(), retrying.clone(), retrying.clone()),
            (superseded.clone(), retrying, superseded),
            (
                announced(later, None),
                announced(at, Some("deaf")),
                announced(later, Some("deaf")),
            ),
        ] {
            assert_eq!(one.clone().with(two.clone()), both);
            assert_eq!(two.with(one), both);
        }
    }
}
