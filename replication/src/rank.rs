//! How servers are ordered when one of them is to become primary (safety rule 4).

use bellwether_election::Rank;

use crate::{Inspection, Relation, passport::Issue};

/// What is compared of two servers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dataset<'a> {
    pub(crate) inspection: &'a Inspection,
    /// How late it is; `None` if that is not known.
    pub(crate) issue: Option<Issue>,
    /// Whether nothing would be lost with it.
    pub(crate) blank: bool,
}

/// The rank of a candidate: some dataset over none, then the later passport, then the greater offset,
/// then Redis's priority. Offsets compare under one passport; what this cannot see, such as a
/// passport that is not known, the winner finds by inspecting its peers.
pub(crate) fn candidate(ours: &Dataset<'_>) -> Rank {
    let issue = ours.issue.unwrap_or_default();
    let mut rank = vec![u8::from(!ours.blank), 0];
    rank.extend(issue.term.0.to_be_bytes());
    rank.extend(issue.mark.to_be_bytes());
    rank.extend(ours.inspection.position.offset.to_be_bytes());
    rank.extend((u32::MAX - ours.inspection.priority).to_be_bytes());
    Rank(rank)
}

/// The rank of a leader that serves, compared with another leader's: some dataset over none, then the
/// number of members that follow it, so that after a partition the larger side keeps its writes.
/// Greater than a leader's that does not serve yet and stands with its rank as a candidate.
pub(crate) fn leader(blank: bool, followers: usize) -> Rank {
    let mut rank = vec![u8::from(!blank), 1];
    rank.extend((followers as u64).to_be_bytes());
    Rank(rank)
}

/// Whether two positions of one history count when only the offset differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offsets {
    /// No: writes are still arriving, so the two were not seen at the same moment.
    Moving,
    /// Yes.
    Settled,
}

/// Whether the dataset `theirs` must be preferred to `ours`.
pub(crate) fn ahead(theirs: &Dataset<'_>, ours: &Dataset<'_>, offsets: Offsets) -> bool {
    if theirs.blank || ours.blank {
        return !theirs.blank;
    }
    let (their, our) = (theirs.inspection, ours.inspection);
    match their.position.relation(&our.position) {
        Relation::Ahead => {
            let one_history = their.position.replication_id == our.position.replication_id;
            !one_history || offsets == Offsets::Settled
        }
        Relation::Same | Relation::Behind => false,
        // Of whom it is not known, nobody is preferred.
        Relation::Diverged | Relation::Unrelated => match (theirs.issue, ours.issue) {
            (Some(theirs), Some(ours)) => theirs > ours,
            _ => false,
        },
    }
}
