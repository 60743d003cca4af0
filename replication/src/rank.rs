//! How servers are ordered when one of them is to become primary (safety rule 4).

use bellwether_election::{Rank, Term};

use crate::{Inspection, Relation};

/// The rank of a candidate: data over none, then the later lineage, then the greater offset, then
/// Redis's priority. Offsets compare within one lineage; what this cannot see, such as a descendant
/// whose agent restarted and lost its lineage, the winner finds by inspecting its peers.
pub(crate) fn candidate(inspection: &Inspection, lineage: Term) -> Rank {
    let mut rank = vec![u8::from(inspection.has_data()), 0];
    rank.extend(lineage.0.to_be_bytes());
    rank.extend(inspection.position.offset.to_be_bytes());
    rank.extend((u32::MAX - inspection.priority).to_be_bytes());
    Rank(rank)
}

/// The rank of a leader that serves, compared with another leader's: data over none, then the number
/// of members that follow it, so that after a partition the larger side keeps its writes. Greater
/// than a leader's that does not serve yet and stands with its rank as a candidate.
pub(crate) fn leader(has_data: bool, followers: usize) -> Rank {
    let mut rank = vec![u8::from(has_data), 1];
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
pub(crate) fn ahead(
    (theirs, their_lineage): (&Inspection, Term),
    (ours, our_lineage): (&Inspection, Term),
    offsets: Offsets,
) -> bool {
    if theirs.has_data() != ours.has_data() {
        return theirs.has_data();
    }
    match theirs.position.relation(&ours.position) {
        Relation::Ahead => {
            let one_history = theirs.position.replication_id == ours.position.replication_id;
            !one_history || offsets == Offsets::Settled
        }
        Relation::Same | Relation::Behind => false,
        Relation::Diverged | Relation::Unrelated => their_lineage > our_lineage,
    }
}
