use std::fmt;

use serde::Serialize;

/// How far a dataset is in which history of writes.
///
/// Redis numbers the bytes of its replication stream and names the stream by a replication id,
/// which a promoted replica replaces while it remembers the former one and where it ended
/// (`master_replid2`, `second_repl_offset`; Redis documentation, "Replication ID explained").
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Position {
    /// The history that the dataset belongs to now.
    pub replication_id: String,
    /// The last byte of that history which the dataset contains.
    pub offset: u64,
    /// The history before, and the first byte that is no longer shared with it.
    pub previous: Option<(String, u64)>,
}

/// How one position stands to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same point of the same history.
    Same,
    /// Contains all that the other contains, and more or a later history.
    Ahead,
    /// All of it is contained in the other.
    Behind,
    /// A shared history, then writes on both sides that the other does not have.
    Diverged,
    /// No history in common is known.
    Unrelated,
}

impl Relation {
    /// The same relation seen from the other side.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::Ahead => Self::Behind,
            Self::Behind => Self::Ahead,
            other => other,
        }
    }
}

impl Position {
    /// How `self` stands to `other`, by the rule of PSYNC: a server continues the stream of
    /// another if it is in the same history, or in the one before and not beyond its end.
    #[must_use]
    pub fn relation(&self, other: &Self) -> Relation {
        if self.replication_id == other.replication_id {
            return match self.offset.cmp(&other.offset) {
                std::cmp::Ordering::Equal => Relation::Same,
                std::cmp::Ordering::Greater => Relation::Ahead,
                std::cmp::Ordering::Less => Relation::Behind,
            };
        }
        if let Some(relation) = self.descends_from(other) {
            return relation;
        }
        if let Some(relation) = other.descends_from(self) {
            return relation.reversed();
        }
        match (&self.previous, &other.previous) {
            (Some((mine, _)), Some((theirs, _))) if mine == theirs => Relation::Diverged,
            _ => Relation::Unrelated,
        }
    }

    /// How many bytes of this dataset a server at `other` does not have, where that is known.
    #[must_use]
    pub fn bytes_beyond(&self, other: &Self) -> Option<u64> {
        if self.replication_id == other.replication_id {
            return Some(self.offset.saturating_sub(other.offset));
        }
        let before = |end: &u64| end.saturating_sub(1);
        let common = match (&self.previous, &other.previous) {
            (_, Some((id, end))) if *id == self.replication_id => before(end),
            (Some((id, end)), _) if *id == other.replication_id => before(end).min(other.offset),
            (Some((mine, my_end)), Some((theirs, their_end))) if mine == theirs => {
                before(my_end).min(before(their_end))
            }
            _ => return None,
        };
        Some(self.offset.saturating_sub(common))
    }

    fn descends_from(&self, other: &Self) -> Option<Relation> {
        let (id, end) = self.previous.as_ref()?;
        (*id == other.replication_id).then_some(if other.offset < *end {
            Relation::Ahead
        } else {
            Relation::Diverged
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id: String = self.replication_id.chars().take(8).collect();
        write!(f, "{id}:{}", self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(id: &str, offset: u64, previous: Option<(&str, u64)>) -> Position {
        Position {
            replication_id: id.into(),
            offset,
            previous: previous.map(|(id, end)| (id.into(), end)),
        }
    }

    #[test]
    fn one_history_orders_by_offset() {
        assert_eq!(at("a", 5, None).relation(&at("a", 5, None)), Relation::Same);
        assert_eq!(
            at("a", 6, None).relation(&at("a", 5, None)),
            Relation::Ahead
        );
        assert_eq!(
            at("a", 4, None).relation(&at("a", 5, None)),
            Relation::Behind
        );
    }

    #[test]
    fn a_promoted_replica_descends_from_what_it_had() {
        let promoted = at("b", 10, Some(("a", 11)));
        assert_eq!(promoted.relation(&at("a", 10, None)), Relation::Ahead);
        assert_eq!(at("a", 10, None).relation(&promoted), Relation::Behind);
        assert_eq!(promoted.relation(&at("a", 11, None)), Relation::Diverged);
        assert_eq!(at("a", 99, None).relation(&promoted), Relation::Diverged);
    }

    #[test]
    fn siblings_diverge_and_strangers_do_not_compare() {
        let (b, c) = (at("b", 10, Some(("a", 11))), at("c", 10, Some(("a", 11))));
        assert_eq!(b.relation(&c), Relation::Diverged);
        assert_eq!(b.relation(&at("x", 10, None)), Relation::Unrelated);
    }

    #[test]
    fn what_would_be_dropped_is_counted() {
        let promoted = at("b", 10, Some(("a", 11)));
        assert_eq!(at("a", 15, None).bytes_beyond(&promoted), Some(5));
        assert_eq!(at("a", 10, None).bytes_beyond(&promoted), Some(0));
        assert_eq!(at("x", 10, None).bytes_beyond(&promoted), None);
        // The other way round: a promoted replica goes back to the primary that it left.
        let later = at("b", 25, Some(("a", 11)));
        assert_eq!(later.bytes_beyond(&at("a", 99, None)), Some(15));
        assert_eq!(later.bytes_beyond(&at("a", 8, None)), Some(17));
        // And between siblings.
        assert_eq!(later.bytes_beyond(&at("c", 50, Some(("a", 21)))), Some(15));
        assert_eq!(later.bytes_beyond(&at("c", 50, Some(("a", 6)))), Some(20));
    }
}
