use std::fmt;

use bellwether_election::Term;
use serde::{Deserialize, Serialize};

/// Whose a dataset is, and how late in the group's history it was made what it is.
///
/// It is written into the dataset itself at each promotion, so that it goes where the data goes: to
/// replicas, into RDB and AOF files, and over the restart of every process. Whoever holds a
/// passport has everything that was in the dataset when that passport was written. This orders
/// datasets whose positions do not compare: a server that restarts with an append-only file has its
/// data, and has forgotten in which history they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passport {
    /// The group that the data belongs to.
    pub group: String,
    /// Grows with each promotion: the term of that leadership, or one more than the highest that was
    /// found in any dataset, because some elections begin to count anew when everything restarts.
    pub term: Term,
    /// Grows within a term, each time the primary loses a replica: what that one has from then on is
    /// older.
    #[serde(default)]
    pub mark: u64,
    /// Whether the dataset was blank when it was promoted, and had no keys since: nothing is lost
    /// with it.
    #[serde(default)]
    pub blank: bool,
}

impl fmt::Display for Passport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} of {:?}", self.term, self.mark, self.group)
    }
}

/// How two passports of one group compare: the term first, then the mark. A dataset without a
/// passport comes before every other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Issue {
    pub(crate) term: Term,
    pub(crate) mark: u64,
}

impl Passport {
    pub(crate) fn issue(&self) -> Issue {
        Issue {
            term: self.term,
            mark: self.mark,
        }
    }
}

/// What is known of a dataset's passport.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Papers {
    /// The server did not say: it loads, or the user of the control connection may not ask.
    #[default]
    Unknown,
    /// It has none: nobody was ever promoted with this dataset, or somebody removed it.
    None,
    /// It has this one.
    Passport(Passport),
}

impl Papers {
    /// The passport, if there is one.
    #[must_use]
    pub fn passport(&self) -> Option<&Passport> {
        match self {
            Self::Passport(passport) => Some(passport),
            Self::Unknown | Self::None => None,
        }
    }
}
