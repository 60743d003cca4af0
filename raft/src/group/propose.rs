//! Proposals on their way into the log: those that wait at the same time share an entry.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use openraft::{
    errors::{ClientWriteError, ForwardReason, ForwardToLeader},
    impls::ProgressResponder,
    raft::ClientWriteResult,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use crate::{
    Commands, Config, Error, Peer, StateMachine, commands::OVERHEAD, group::Group, net::Raft,
    types::Types,
};

/// So many bytes of commands may be under way; what comes then waits.
const UNDER_WAY: usize = 64 * 1024 * 1024;

pub(crate) type Outcome = Result<Vec<Bytes>, Error>;

/// Commands that belong together, and who waits for their replies.
#[derive(Debug)]
pub(crate) struct Proposal {
    commands: Vec<Bytes>,
    bytes: usize,
    reply: oneshot::Sender<Outcome>,
}

/// Where proposals are handed in.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    pub(super) config: Arc<Config>,
    pub(super) queue: mpsc::Sender<Proposal>,
}

impl Intake {
    /// Proposes, and waits for the outcome until the deadline. Nothing, if the node has ended.
    pub(crate) async fn propose(&self, commands: Vec<Bytes>) -> Option<Outcome> {
        let bytes = match checked_size(&commands, &self.config) {
            Ok(bytes) => bytes,
            Err(error) => return Some(Err(error)),
        };
        let deadline = Instant::now() + self.config.proposal_timeout;
        let (reply, outcome) = oneshot::channel();
        let proposal = Proposal {
            commands,
            bytes,
            reply,
        };
        match timeout_at(deadline, self.queue.reserve()).await {
            Ok(Ok(slot)) => slot.send(proposal),
            Ok(Err(_)) => return None,
            // It never left the queue of callers.
            Err(_) => return Some(Err(Error::NoQuorum)),
        }
        Some(match timeout_at(deadline, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(Error::Unknown),
        })
    }
}

/// Proposes at this node.
pub(super) async fn propose<M: StateMachine>(group: &Group<M>, commands: Vec<Bytes>) -> Outcome {
    let outcome = group.intake.propose(commands).await;
    outcome.unwrap_or_else(|| Err(ended(group)))
}

fn checked_size(commands: &[Bytes], config: &Config) -> Result<usize, Error> {
    let too_large = |bytes, bound| Err(Error::TooLarge { bytes, bound });
    if let Some(large) = commands.iter().find(|c| c.len() > config.max_proposal) {
        return too_large(large.len(), config.max_proposal);
    }
    // A single command always fits: `max_proposal` is its only bound.
    let bytes = commands.iter().map(|c| c.len() + OVERHEAD).sum();
    if commands.len() > 1 && bytes > config.max_batch {
        return too_large(bytes, config.max_batch);
    }
    Ok(bytes)
}

fn ended<M: StateMachine>(group: &Group<M>) -> Error {
    let why = group.metrics().running_state.err();
    Error::Ended(why.map_or_else(|| "it was shut down".into(), |error| error.to_string()))
}

/// Gathers proposals into entries and brings each its replies. Works until it is dropped.
pub(super) async fn gather<M: StateMachine>(
    raft: Raft<M>,
    config: Arc<Config>,
    mut queue: mpsc::Receiver<Proposal>,
) {
    let mut under_way = FuturesUnordered::new();
    let mut bytes = 0;
    // One that did not fit into the last entry.
    let mut left_over = None;
    loop {
        let first = tokio::select! {
            biased;
            Some(settled) = under_way.next() => {
                bytes -= settled;
                continue;
            }
            first = next(&mut left_over, &mut queue), if bytes < UNDER_WAY => first,
        };
        let Some(first) = first else { return };
        let mut batch = vec![first];
        left_over = fill(&mut batch, &mut queue, &config);
        let size: usize = batch.iter().map(|proposal| proposal.bytes).sum();
        bytes += size;
        let outcome = write(&raft, &batch).await;
        under_way.push(async move {
            settle(batch, outcome).await;
            size
        });
    }
}

async fn next(
    left_over: &mut Option<Proposal>,
    queue: &mut mpsc::Receiver<Proposal>,
) -> Option<Proposal> {
    match left_over.take() {
        Some(proposal) => Some(proposal),
        None => queue.recv().await,
    }
}

/// Adds what waits, as far as it fits; the one that no longer did.
fn fill(
    batch: &mut Vec<Proposal>,
    queue: &mut mpsc::Receiver<Proposal>,
    config: &Config,
) -> Option<Proposal> {
    let mut bytes: usize = batch.iter().map(|proposal| proposal.bytes).sum();
    let mut count: usize = batch.iter().map(|proposal| proposal.commands.len()).sum();
    loop {
        let proposal = queue.try_recv().ok()?;
        bytes += proposal.bytes;
        count += proposal.commands.len();
        if bytes > config.max_batch || count > config.max_batch_commands {
            return Some(proposal);
        }
        batch.push(proposal);
    }
}

type Written = tokio::sync::oneshot::Receiver<ClientWriteResult<Types>>;

/// Hands an entry to the library; nothing, if the node has ended.
async fn write<M: StateMachine>(raft: &Raft<M>, batch: &[Proposal]) -> Option<Written> {
    let commands = batch.iter().flat_map(|proposal| &proposal.commands);
    let commands = Commands::gather(commands);
    let (responder, written) = ProgressResponder::complete_only();
    let taken = raft.client_write_ff(commands, Some(responder)).await;
    taken.is_ok().then_some(written)
}

/// Brings each proposal of an entry its replies, or why there are none.
async fn settle(batch: Vec<Proposal>, written: Option<Written>) {
    let outcome = match written {
        None => Err(Refusal::Ended),
        // The library drops the sender when it ends: the entry may be in the log.
        Some(written) => written.await.map_or(Err(Refusal::Unknown), |written| {
            written
                .map(|response| response.data.0)
                .map_err(|error| refusal(&error))
        }),
    };
    let mut outcome = outcome.map(Vec::into_iter);
    for proposal in batch {
        let outcome = match &mut outcome {
            Ok(replies) => Ok(replies.take(proposal.commands.len()).collect()),
            Err(refusal) => Err(refusal.error()),
        };
        // Who no longer waits has told its caller so.
        let _ = proposal.reply.send(outcome);
    }
}

/// Why an entry was not written, for each who has a part in it.
#[derive(Debug)]
enum Refusal {
    NotLeader(Option<Peer>),
    NoQuorum,
    Unknown,
    Ended,
}

impl Refusal {
    fn error(&self) -> Error {
        match self {
            Self::NotLeader(leader) => Error::NotLeader {
                leader: leader.clone(),
            },
            Self::NoQuorum => Error::NoQuorum,
            Self::Unknown => Error::Unknown,
            Self::Ended => Error::Ended("its log or its state machine failed".into()),
        }
    }
}

fn refusal(error: &ClientWriteError<Types>) -> Refusal {
    match error {
        ClientWriteError::ForwardToLeader(forward) => match forward.reason {
            ForwardReason::NotLeader => Refusal::NotLeader(leader(forward)),
            ForwardReason::LeadershipTransfer | ForwardReason::LeaseExpired => Refusal::NoQuorum,
        },
        ClientWriteError::LogEntryDiscarded(_) => Refusal::Unknown,
        ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_) => {
            unreachable!("commands change no membership and have no precondition")
        }
    }
}

pub(super) fn leader(forward: &ForwardToLeader<Types>) -> Option<Peer> {
    Some(Peer {
        id: forward.leader_id?,
        member: forward.leader_node.clone()?,
    })
}

/// How long a wait of the library's may last before the caller's own deadline.
pub(super) fn rest(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
