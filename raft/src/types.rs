//! The library's types, as this crate chooses them. None of them is public.

use bytes::Bytes;
use openraft::{
    EntryPayload, OptionalSend, RaftTypeConfig, TokioRuntime, impls, impls::leader_id_std,
};

use crate::{Commands, Member, NodeId};

/// The library's configuration by types.
///
/// Leader ids are the standard ones: at most one leader a term, so that a term alone is a fencing
/// number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Types;

/// What the state machine answers to the commands of one entry, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replies(pub(crate) Vec<Bytes>);

impl RaftTypeConfig for Types {
    type D = Commands;
    type R = Replies;
    type NodeId = NodeId;
    type Node = Member;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = TokioRuntime;
    type Responder<T>
        = impls::ProgressResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = impls::BoxedErrorSource;
}

pub(crate) type LeaderId = leader_id_std::LeaderId<u64, NodeId>;
pub(crate) type CommittedLeader = <LeaderId as openraft::vote::RaftLeaderId>::Committed;
pub(crate) type Vote = impls::Vote<LeaderId>;
pub(crate) type LogId = openraft::LogId<CommittedLeader>;
pub(crate) type Payload = EntryPayload<Commands, NodeId, Member>;
pub(crate) type Entry = openraft::Entry<CommittedLeader, Payload>;
pub(crate) type Membership = openraft::Membership<NodeId, Member>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeader, NodeId, Member>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeader, NodeId, Member>;
pub(crate) type Snapshot<D> = openraft::Snapshot<CommittedLeader, NodeId, Member, D>;

/// A log id from its parts.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeader::from(term), index)
}

/// A vote from its parts.
pub(crate) fn vote(term: u64, node: NodeId, committed: bool) -> Vote {
    if committed {
        Vote::new_committed(term, node)
    } else {
        Vote::new(term, node)
    }
}
