//! What a Lease says, as far as an election is decided by it, and the versions of a Lease.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use uuid::Uuid;

use crate::{NodeId, Term};

/// A microsecond's count since 1970, by the clock of whoever wrote it. Written for people and for
/// others' programs; never judged here.
pub(crate) type Wall = i64;

/// Terms from here on are no terms: somebody wrote nonsense, and counting on would overflow.
pub(crate) const TERM_LIMIT: u64 = 1 << 62;

/// Times from here on, some 3,000 years ahead, are no times: counting on would leave the calendar.
pub(crate) const WALL_LIMIT: Wall = 100_000_000_000_000_000;

/// The claimant of a Lease that was made where there was none: there may have been one, which was
/// deleted under its holder.
pub(crate) const UNKNOWN: &str = "unknown";

/// A list of members is at most this long as it is written, in bytes: 64 of the longest names.
pub(crate) const MAX_LIST: usize = 64 * 256;

/// What a Lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Who holds it; `None` while it is free.
    pub(crate) holder: Option<String>,
    /// For how long it has to stay unchanged before others may take it.
    pub(crate) duration: Duration,
    /// When this holder took it.
    pub(crate) acquired: Option<Wall>,
    /// When it was last renewed. Two writes of one holder never say the same.
    pub(crate) renewed: Option<Wall>,
    /// How often it changed hands.
    pub(crate) transitions: i32,
    /// The term of the latest spell under which one of us held it.
    pub(crate) term: Option<Term>,
    /// Whoever of us holds it, or did and did not release it: may lead while `holder` is empty.
    pub(crate) claimant: Option<String>,
    /// The claimant's card.
    pub(crate) card: Bytes,
    /// Whom the last holder wished to follow it.
    pub(crate) successor: Option<String>,
    /// The name of the member that held it last: kept when it is released.
    pub(crate) last: Option<String>,
    /// Whether an operator wants that nobody takes it over by itself. Whoever holds the Lease leaves
    /// that as it is.
    pub(crate) paused: bool,
    /// The names of all members whom its holder asks, itself included, when the API does not answer:
    /// while it is held, nobody else takes it over. `None`: it lasts no longer than it is renewed.
    pub(crate) listed: Option<BTreeSet<String>>,
}

impl Record {
    /// Whether a member of this name may take the Lease although it is paused: it held it last, or
    /// whoever did named it. In whichever life, so that its restart is no failover.
    pub(crate) fn is_left_to(&self, member: &str) -> bool {
        let successor = self.successor.as_deref().map(node);
        self.last.as_deref() == Some(member)
            || successor.is_some_and(|successor| successor.member == member)
    }

    /// The card of whoever holds the Lease: a card that a former claimant left counts for nothing.
    pub(crate) fn holders_card(&self) -> Bytes {
        if self.holder == self.claimant {
            self.card.clone()
        } else {
            Bytes::new()
        }
    }

    /// Whether whoever held it has given it up, of which it follows that nobody leads.
    pub(crate) fn is_released(&self) -> bool {
        self.holder.is_none() && self.claimant.is_none()
    }

    /// Whether a member of this name may be asked to confirm that the holder still leads, and so
    /// knows when it does no more. Others cannot know, however long the Lease stays as it is.
    pub(crate) fn tells(&self, member: &str) -> bool {
        let listed = self.listed.as_ref().filter(|_| !self.is_released());
        listed.is_none_or(|listed| listed.contains(member))
    }
}

/// What a list looks like in a Lease.
pub(crate) fn write_list(listed: &BTreeSet<String>) -> String {
    let names: Vec<&str> = listed.iter().map(String::as_str).collect();
    names.join(",")
}

/// A list as it was written. One that no member writes lists nobody: it was perhaps damaged, and who
/// could be in it then does not take the Lease.
pub(crate) fn read_list(text: &str) -> BTreeSet<String> {
    let names = || text.split(',').map(str::trim);
    let sane = text.len() <= MAX_LIST && names().all(|name| !name.is_empty());
    if sane {
        names().map(str::to_owned).collect()
    } else {
        BTreeSet::new()
    }
}

/// A Lease at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) version: Version,
    /// Its `metadata.uid`: a Lease that was deleted and made again is another one, whatever it says.
    pub(crate) object: String,
    pub(crate) record: Box<Record>,
}

/// What the API gives each state of an object: its `resourceVersion`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version(pub(crate) String);

impl Version {
    /// The version as a number. Kubernetes promises since 1.35 that it is a decimal one which grows
    /// over all objects of a kind; before that it was one in practice. Whatever rests on it has to
    /// be right also if it is `None`.
    pub(crate) fn number(&self) -> Option<u64> {
        self.0.parse().ok().filter(|number| *number < TERM_LIMIT)
    }

    /// Whether this state came before the other; `None` if that cannot be told.
    pub(crate) fn is_before(&self, other: &Self) -> Option<bool> {
        Some(self.number()? < other.number()?)
    }
}

/// A term as it was written; `None` if it is none.
pub(crate) fn read_term(text: &str) -> Option<Term> {
    text.parse()
        .ok()
        .filter(|term| *term < TERM_LIMIT)
        .map(Term)
}

/// How a member is called in a Lease: by its name alone if its incarnation is not known (nil).
pub(crate) fn identity(node: &NodeId) -> String {
    if node.incarnation.is_nil() {
        return node.member.clone();
    }
    format!("{}_{}", node.member, node.incarnation)
}

/// Who that is. A holder that is none of us is a member of that whole name, without incarnation.
pub(crate) fn node(identity: &str) -> NodeId {
    let ours = identity
        .rsplit_once('_')
        .and_then(|(member, life)| Some((member, Uuid::parse_str(life).ok()?)));
    let (member, incarnation) = ours.unwrap_or((identity, Uuid::nil()));
    NodeId {
        member: member.into(),
        incarnation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_names_one_life_of_a_member() {
        let me = NodeId {
            member: "redis_0".into(),
            incarnation: Uuid::from_u128(7),
        };
        assert_eq!(node(&identity(&me)), me);
        let other = node("controller-7d9f_leader");
        assert_eq!(other.member, "controller-7d9f_leader");
        assert_eq!(other.incarnation, Uuid::nil());
    }

    #[test]
    fn versions_order_only_as_numbers() {
        let version = |text: &str| Version(text.into());
        assert_eq!(version("9").is_before(&version("10")), Some(true));
        assert_eq!(version("10").is_before(&version("9")), Some(false));
        assert_eq!(version("x9").is_before(&version("10")), None);
    }

    #[test]
    fn nonsense_is_no_term() {
        assert_eq!(read_term("7"), Some(Term(7)));
        for nonsense in ["", "-1", "seven", "18446744073709551615"] {
            assert_eq!(read_term(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_list_is_read_as_it_was_written_and_nonsense_lists_nobody() {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let three: BTreeSet<String> = list(&["redis-0", "redis-1", "redis-2"]);
        assert_eq!(read_list(&write_list(&three)), three);
        assert_eq!(
            read_list(" redis-1, redis-0"),
            list(&["redis-0", "redis-1"])
        );
        for nonsense in [",", "a,,b", &"x".repeat(MAX_LIST + 1)] {
            assert!(read_list(nonsense).is_empty());
        }
    }

    #[test]
    fn a_list_counts_for_as_long_as_the_lease_is_not_released() {
        let mut record = Record {
            claimant: Some("a_1".into()),
            listed: Some(read_list("a,b")),
            ..Record::default()
        };
        assert!(record.tells("b") && !record.tells("c"));
        record.claimant = None;
        assert!(record.tells("c"), "whoever held it gave it up");
        record.holder = Some("a_1".into());
        record.listed = None;
        assert!(record.tells("c"));
    }
}
