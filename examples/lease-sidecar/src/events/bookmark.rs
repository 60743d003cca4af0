//! How far the decisions were looked at.

use bellwether_replication::Decided;

/// The number of the latest decision that was looked at.
#[derive(Debug, Default)]
pub(crate) struct Bookmark(u64);

impl Bookmark {
    /// The decisions that are new among those that are kept, and how many came and went since the last
    /// look: while one call to the API lasts, more may be decided than are kept.
    pub(crate) fn turn<'a>(&mut self, kept: &'a [Decided]) -> (u64, &'a [Decided]) {
        let new = &kept[kept.partition_point(|decided| decided.number <= self.0)..];
        let (Some(first), Some(last)) = (new.first(), new.last()) else {
            return (0, new);
        };
        let missed = first.number - self.0 - 1;
        self.0 = last.number;
        (missed, new)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use bellwether_replication::Kind;

    use super::*;

    fn kept(numbers: RangeInclusive<u64>) -> Vec<Decided> {
        let decided = |number| Decided {
            number,
            at_ms: number,
            kind: Kind::Wait,
            what: "wait".into(),
            why: String::new(),
        };
        numbers.map(decided).collect()
    }

    #[test]
    fn each_decision_is_new_once_and_those_that_are_gone_are_counted() {
        let mut bookmark = Bookmark::default();
        for (numbers, missed, new) in [
            (1..=3, 0, vec![1, 2, 3]),
            (1..=3, 0, vec![]),
            (2..=5, 0, vec![4, 5]),
            (6..=8, 0, vec![6, 7, 8]),
            // 9 to 41 passed.
            (42..=44, 33, vec![42, 43, 44]),
            (43..=45, 0, vec![45]),
        ] {
            let kept = kept(numbers.clone());
            let (gone, found) = bookmark.turn(&kept);
            let found: Vec<_> = found.iter().map(|decided| decided.number).collect();
            assert_eq!((gone, found), (missed, new), "{numbers:?}");
        }
        assert_eq!(bookmark.turn(&[]).0, 0);
    }

    /// The first look may come late, too.
    #[test]
    fn what_was_decided_before_the_first_look_is_missed() {
        let mut bookmark = Bookmark::default();
        let kept = kept(9..=40);
        let (missed, new) = bookmark.turn(&kept);
        assert_eq!((missed, new.len()), (8, 32));
    }
}
