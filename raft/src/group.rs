mod forward;
pub(crate) mod lead;
pub(crate) mod propose;
mod read;
mod renew;
mod start;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    Config, Error, Leadership, NodeId, Peer, Roster, StateMachine, Status,
    apply::Shared,
    civics::Civics,
    log::{Log, disk::Disk},
    net::{Dialler, Raft},
    shelf::Shelf,
    types::{Membership, Types},
};

use lead::Helm;
use propose::Intake;

pub use read::Consistency;

/// A node that ends waits for so long for what may block.
const LEAVING: Duration = Duration::from_secs(5);

pub(crate) type Metrics = openraft::RaftMetrics<Types>;

/// A node of a group: the handle by which the user proposes, reads and looks after it.
///
/// Any node may be asked anything. What only the leader can do is refused by the others with
/// [`Error::NotLeader`], which names it.
///
/// Dropping the handle ends the node as a crash would; [`shutdown`](Self::shutdown) hands over
/// first.
pub struct Group<M: StateMachine> {
    config: Arc<Config>,
    local_addr: SocketAddr,
    raft: Raft<M>,
    machine: Shared<M>,
    intake: Intake,
    helm: Helm<M>,
    dialler: Dialler,
    log: Log,
    roster: Roster,
    shelf: Shelf,
    civics: Arc<Civics>,
    /// The data directory, which is free for others once all that use it are gone.
    disk: Option<Weak<dyn Disk>>,
    // Ends all tasks when it is dropped.
    tasks: JoinSet<()>,
}

impl<M: StateMachine> Group<M> {
    /// This node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.dialler.identity.id
    }

    /// Where this node listens for its peers.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Who leads, as this node knows it. Its last value is [`Leadership::Vacant`].
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.helm.leadership.clone()
    }

    /// Proposes a command; its reply, once a majority has it and this node has applied it.
    ///
    /// # Errors
    ///
    /// [`Error::NotLeader`], [`Error::NoQuorum`] and [`Error::TooLarge`] mean that nothing was
    /// proposed. [`Error::Unknown`] means what it says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the proposal back.
    pub async fn propose(&self, command: Bytes) -> Result<Bytes, Error> {
        let replies = self.propose_many(vec![command]).await?;
        Ok(replies.into_iter().next().unwrap_or_default())
    }

    /// Proposes a command at whoever leads: here, or by asking the leader to, once.
    ///
    /// It may be applied here only after this returns.
    ///
    /// # Errors
    ///
    /// As [`propose`](Self::propose). [`Error::NotLeader`] means that no leader is known, and a
    /// leader that does not answer makes it [`Error::Unknown`].
    ///
    /// # Cancel safety
    ///
    /// As [`propose`](Self::propose).
    pub async fn submit(&self, command: Bytes) -> Result<Bytes, Error> {
        forward::submit(self, command).await
    }

    /// Proposes commands that are applied together: in this order, all or none of them, and none of
    /// others between them. Their replies are in the same order.
    ///
    /// # Errors
    ///
    /// As [`propose`](Self::propose).
    ///
    /// # Cancel safety
    ///
    /// As [`propose`](Self::propose).
    pub async fn propose_many(&self, commands: Vec<Bytes>) -> Result<Vec<Bytes>, Error> {
        propose::propose(self, commands).await
    }

    /// Reads the state, as fresh as is asked for.
    ///
    /// # Errors
    ///
    /// [`Error::NotLeader`], [`Error::NoQuorum`] and [`Error::Ended`], see [`Consistency`]. Nothing
    /// was read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn read<T>(
        &self,
        consistency: Consistency,
        look: impl FnOnce(&M) -> T,
    ) -> Result<T, Error> {
        read::read(self, consistency, look).await
    }

    /// Hands leadership over to a voter, and waits until it leads.
    ///
    /// Proposals are refused meanwhile; if the successor does not take over, whoever wins the next
    /// election leads, this node included.
    ///
    /// # Errors
    ///
    /// [`Error::NotLeader`] if this node does not lead, [`Error::Unfit`] if there is no such voter
    /// or it does not answer or is behind: then nothing has changed. [`Error::NoQuorum`] if the
    /// successor did not take over in time.
    ///
    /// # Cancel safety
    ///
    /// Once begun, a hand-over goes on.
    pub async fn transfer(&self, to: NodeId) -> Result<(), Error> {
        self.helm.transfer(to).await
    }

    /// How this node stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        Status {
            node: Peer {
                id: self.id(),
                member: self.me(membership),
            },
            leadership: self.helm.leadership.borrow().clone(),
            term: metrics.current_term,
            voters: peers(membership, membership.voter_ids()),
            learners: peers(membership, membership.learner_ids()),
            answering: lead::answering(&metrics, self.config.election_max),
            last_log: metrics.last_log_index,
            committed: metrics.local_committed.map(|id| id.index()),
            applied: metrics.last_applied.map(|id| id.index()),
            snapshot: metrics.snapshot.map(|id| id.index()),
            purged: metrics.purged.map(|id| id.index()),
            ended: metrics.running_state.err().map(|error| error.to_string()),
        }
    }

    /// Makes this node the only one of a new group, with all that it has, when the majority of its
    /// group is lost for good. The other members that discovery names are admitted once they come
    /// without data.
    ///
    /// **What was acknowledged may be lost**: entries that this node does not have. What was never
    /// acknowledged may take effect: entries that only it has. And if the others are not lost but
    /// cut off, **there are two groups from then on**; they never mix, and one of them has to be
    /// given up. Of several nodes that are left, take the one with the highest
    /// [`last_log`](Status::last_log) of the highest [`term`](Status::term).
    ///
    /// # Errors
    ///
    /// [`Error::Unfit`] if this node belongs to no group yet; [`Error::Storage`] if it cannot write.
    /// After any error the node has ended. It may be started again, and this tried again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the node as a crash would.
    pub async fn force_new_group(self) -> Result<Self, Error> {
        renew::renew(self).await
    }

    /// Ends this node. A leader hands over to the voter that is furthest, if one answers; that takes
    /// at most twice `election_max`. Afterwards the data directory is free for another.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the node as a crash would.
    pub async fn shutdown(mut self) {
        self.helm.hand_over().await;
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "the node did not end cleanly");
        }
        if let Err(error) = self.log.flush().await {
            tracing::error!(%error, "the log was not written to its end");
        }
        self.tasks.shutdown().await;
        let disk = self.disk.take();
        drop(self);
        let free = || disk.as_ref().is_none_or(|disk| disk.strong_count() == 0);
        let deadline = Instant::now() + LEAVING;
        while !free() && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
        if !free() {
            tracing::warn!("a snapshot is still being written; the data directory is not free yet");
        }
    }

    fn metrics(&self) -> Metrics {
        self.helm.metrics()
    }

    fn me(&self, membership: &Membership) -> crate::Member {
        let known = membership.get_node(&self.id()).cloned();
        known.unwrap_or_else(|| {
            let host = self.local_addr.ip().to_string();
            crate::Member::new(&self.config.member, host, self.local_addr.port())
        })
    }
}

impl<M: StateMachine> std::fmt::Debug for Group<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("group", &self.config.group)
            .field("member", &self.config.member)
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// These nodes with their members.
fn peers(membership: &Membership, ids: impl IntoIterator<Item = NodeId>) -> Vec<Peer> {
    let peer = |id| Peer {
        id,
        member: membership.get_node(&id).cloned().unwrap_or_default(),
    };
    ids.into_iter().map(peer).collect()
}
