//! Reads, from the cheapest to the freshest.

use openraft::{
    ReadPolicy,
    errors::{ForwardReason, LinearizableReadError, RaftError},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    Error, Leadership, Peer, StateMachine,
    codec::Reader,
    group::{
        Group,
        propose::{leader, rest},
    },
    net::{self, Purpose, Question},
    types::Types,
};

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// What this node has applied, at once and on any node, with or without a majority. It may be
    /// behind, and after a change of the node that is asked it may be further behind than before.
    Local,
    /// All that was acknowledged before the read, at once and without asking anybody, on the leader
    /// only, while it has its lease. **Rests on clocks**: those of no two nodes may drift apart by
    /// more than a tenth.
    Lease,
    /// All that was acknowledged before the read, whatever the clocks do: the leader asks a
    /// majority whether it still leads. On any node: others ask the leader first.
    Linearizable,
}

pub(super) async fn read<M: StateMachine, T>(
    group: &Group<M>,
    consistency: Consistency,
    look: impl FnOnce(&M) -> T,
) -> Result<T, Error> {
    let deadline = Instant::now() + group.config.proposal_timeout;
    match consistency {
        Consistency::Local => {}
        Consistency::Lease => leased(group).await?,
        Consistency::Linearizable => {
            let caught_up = timeout_at(deadline, catch_up(group, deadline));
            caught_up.await.unwrap_or(Err(Error::NoQuorum))?;
        }
    }
    let machine = group.machine.read();
    let machine = machine.ok_or_else(|| Error::Ended("the state machine has panicked".into()))?;
    Ok(look(&machine.machine))
}

/// Whether this node may answer alone.
async fn leased<M: StateMachine>(group: &Group<M>) -> Result<(), Error> {
    match &*group.helm.leadership.borrow() {
        Leadership::Leading { until, .. } if Instant::now().into_std() < *until => {}
        Leadership::Leading { .. } => return Err(Error::NoQuorum),
        Leadership::Following { leader, .. } => {
            let leader = Some(leader.clone());
            return Err(Error::NotLeader { leader });
        }
        Leadership::Vacant => return Err(Error::NotLeader { leader: None }),
    }
    // Also waits until the entries of former leaders are applied.
    let ready = group.raft.ensure_linearizable(ReadPolicy::LeaseRead).await;
    ready.map(drop).map_err(|error| refused(&error))
}

/// Waits until all is applied that was acknowledged before.
async fn catch_up<M: StateMachine>(group: &Group<M>, deadline: Instant) -> Result<(), Error> {
    let reader = group.raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
    let index = match reader {
        Ok(reader) => reader.read_log_id().index(),
        Err(error) => {
            let Error::NotLeader {
                leader: Some(leader),
            } = refused(&error)
            else {
                return Err(refused(&error));
            };
            ask(group, leader, deadline).await?
        }
    };
    let applied = group.raft.wait(Some(rest(deadline)));
    let applied = applied.applied_index_at_least(Some(index), "a read");
    applied.await.map(drop).map_err(|_| Error::NoQuorum)
}

/// Up to which entry must be applied, by word of the leader.
async fn ask<M: StateMachine>(
    group: &Group<M>,
    leader: Peer,
    deadline: Instant,
) -> Result<u64, Error> {
    let within = rest(deadline).min(group.config.peer_timeout);
    let answer = net::ask(
        &group.dialler,
        (leader.id, &leader.member),
        (Purpose::Call, within),
        |to| net::put_question(to, &Question::ReadIndex),
    );
    let index = match answer.await {
        Ok(answer) => net::read_index(Reader(answer)),
        Err(fault) => {
            tracing::debug!(%leader, %fault, "does not say how far a read must be");
            return Err(Error::NoQuorum);
        }
    };
    match index {
        Ok(Some(id)) => Ok(id.index()),
        // It no longer leads, or is cut off itself.
        Ok(None) | Err(_) => Err(Error::NoQuorum),
    }
}

fn refused(error: &RaftError<Types, LinearizableReadError<Types>>) -> Error {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => {
            match forward.reason {
                ForwardReason::NotLeader => Error::NotLeader {
                    leader: leader(forward),
                },
                ForwardReason::LeadershipTransfer | ForwardReason::LeaseExpired => Error::NoQuorum,
            }
        }
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => Error::NoQuorum,
        RaftError::Fatal(fatal) => Error::Ended(fatal.to_string()),
    }
}
