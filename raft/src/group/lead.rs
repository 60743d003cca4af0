//! Who leads, for how long, and handing over.

use std::time::Duration;

use openraft::{Instant as _, ServerState, async_runtime::watch::WatchReceiver as _};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use crate::{Error, Leadership, NodeId, Peer, StateMachine, group::Metrics, net::Raft};

/// What it takes to give leadership away.
pub(crate) struct Helm<M: StateMachine> {
    pub(crate) raft: Raft<M>,
    pub(crate) id: NodeId,
    pub(crate) lease: Duration,
    pub(crate) leadership: watch::Receiver<Leadership>,
    /// The term in which this node hands over, and no longer acts as leader.
    pub(crate) handing_over: watch::Sender<Option<u64>>,
}

impl<M: StateMachine> Clone for Helm<M> {
    fn clone(&self) -> Self {
        Self {
            raft: self.raft.clone(),
            id: self.id,
            lease: self.lease,
            leadership: self.leadership.clone(),
            handing_over: self.handing_over.clone(),
        }
    }
}

/// A leader is at most this many entries ahead of a node that it hands over to at once.
const CLOSE: u64 = 64 * 1024;

/// The end at which leadership is published. However the node ends, it does not lead any more.
pub(super) struct News(pub(super) watch::Sender<Leadership>);

impl Drop for News {
    fn drop(&mut self) {
        self.0.send_replace(Leadership::Vacant);
    }
}

/// Publishes who leads, until the node ends.
pub(super) async fn publish<M: StateMachine>(
    raft: Raft<M>,
    lease: Duration,
    mut handing_over: watch::Receiver<Option<u64>>,
    news: News,
) {
    let mut metrics = raft.metrics();
    loop {
        let leadership = {
            let now = metrics.borrow_and_update();
            leadership(
                &now,
                *handing_over.borrow_and_update(),
                Instant::now(),
                lease,
            )
        };
        // Sooner than a lease ends: who leads alone has nobody whose answers push it further.
        let again = Instant::now() + lease / 4;
        news.0.send_if_modified(|known| {
            let changed = is_news(known, &leadership, lease);
            if changed {
                *known = leadership;
            }
            changed
        });
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() { break },
            changed = handing_over.changed() => if changed.is_err() { break },
            () = sleep_until(again) => {}
        }
    }
}

/// Whether to tell. Under load a lease moves with each answer; it is told in steps.
fn is_news(known: &Leadership, now: &Leadership, lease: Duration) -> bool {
    match (known, now) {
        (
            Leadership::Leading { term, until },
            Leadership::Leading {
                term: same,
                until: later,
            },
        ) if term == same => *later >= *until + lease / 16,
        _ => known != now,
    }
}

/// What these metrics mean. A leader has its lease from a majority's answers, not from having been
/// elected: its `until` is nine tenths of the lease after the question was sent that they answered.
fn leadership(
    metrics: &Metrics,
    handing_over: Option<u64>,
    now: Instant,
    lease: Duration,
) -> Leadership {
    let term = metrics.current_term;
    let Some(id) = metrics
        .current_leader
        .filter(|_| metrics.running_state.is_ok())
    else {
        return Leadership::Vacant;
    };
    let membership = metrics.membership_config.membership();
    if id != metrics.id {
        let member = membership.get_node(&id).cloned();
        return member.map_or(Leadership::Vacant, |member| Leadership::Following {
            leader: Peer { id, member },
            term,
        });
    }
    if metrics.state != ServerState::Leader || handing_over == Some(term) {
        return Leadership::Vacant;
    }
    let alone = membership.voter_ids().all(|voter| voter == metrics.id);
    // `now` was read first, so the answer seems older than it is, never younger.
    let ago = metrics.last_quorum_acked.as_ref().map(|at| at.elapsed());
    let ago = if alone { Some(Duration::ZERO) } else { ago };
    let answered = ago.and_then(|ago| now.checked_sub(ago));
    match answered.map(|at| at + lease * 9 / 10) {
        Some(until) if now < until => Leadership::Leading {
            term,
            until: until.into_std(),
        },
        _ => Leadership::Vacant,
    }
}

impl<M: StateMachine> Helm<M> {
    pub(crate) fn metrics(&self) -> Metrics {
        self.raft.metrics().borrow_watched().clone()
    }

    /// Hands over to this voter.
    pub(crate) async fn transfer(&self, to: NodeId) -> Result<(), Error> {
        let metrics = self.metrics();
        if metrics.state != ServerState::Leader {
            let leader = match &*self.leadership.borrow() {
                Leadership::Following { leader, .. } => Some(leader.clone()),
                Leadership::Vacant | Leadership::Leading { .. } => None,
            };
            return Err(Error::NotLeader { leader });
        }
        if to == self.id {
            return Ok(());
        }
        if let Some(why) = unfit(&metrics, to, self.lease) {
            return Err(Error::Unfit(format!("node {to} cannot take over: {why}")));
        }
        let term = metrics.current_term;
        // Whoever acts by this node's leadership is told before anybody else can have it.
        self.handing_over.send_replace(Some(term));
        // The successor has its own time to become ready, and then is elected at once or not at
        // all.
        let done = timeout(self.lease * 2, self.turn(to, term)).await;
        // If that fails, this node does not lead again in this term: the others no longer keep to its
        // lease, and the library takes no more proposals from it.
        done.unwrap_or(Err(Error::NoQuorum))
    }

    /// Waits until nobody acts by this node's leadership, and then until the other one leads.
    async fn turn(&self, to: NodeId, term: u64) -> Result<(), Error> {
        let mut leadership = self.leadership.clone();
        let told = leadership.wait_for(|now| !matches!(now, Leadership::Leading { .. }));
        told.await.map_err(|_| Error::NoQuorum)?;
        let begun = self.raft.trigger().transfer_leader(to).await;
        begun.map_err(|error| Error::Ended(error.to_string()))?;
        let mut metrics = self.raft.metrics();
        loop {
            {
                let now = metrics.borrow_and_update();
                if now.current_term > term && now.current_leader == Some(to) {
                    return Ok(());
                }
            }
            metrics.changed().await.map_err(|_| Error::NoQuorum)?;
        }
    }

    /// Hands over to the fittest, if this node leads and anybody is fit.
    pub(crate) async fn hand_over(&self) {
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        if metrics.state != ServerState::Leader {
            return;
        }
        let others = membership.voter_ids().filter(|id| *id != metrics.id);
        let fit = others.filter(|id| unfit(&metrics, *id, self.lease).is_none());
        let Some(successor) = fit.max_by_key(|id| matched(&metrics, *id)) else {
            return;
        };
        match self.transfer(successor).await {
            Ok(()) => tracing::info!(%successor, "handed over"),
            Err(error) => tracing::warn!(%successor, %error, "did not hand over"),
        }
    }
}

/// Why a node cannot take over at once, if it cannot.
fn unfit(metrics: &Metrics, to: NodeId, lease: Duration) -> Option<&'static str> {
    let membership = metrics.membership_config.membership();
    if !membership.voter_ids().any(|voter| voter == to) {
        return Some("it is no voter");
    }
    if !has_answered(metrics, to, lease) {
        return Some("it does not answer");
    }
    let behind = (metrics.last_log_index.unwrap_or(0)).saturating_sub(matched(metrics, to));
    (behind > CLOSE).then_some("its log is behind")
}

/// Whether a node has answered this leader lately.
pub(crate) fn has_answered(metrics: &Metrics, id: NodeId, within: Duration) -> bool {
    let heard = metrics.heartbeat.as_ref();
    let heard = heard.and_then(|all| all.get(&id).copied()).flatten();
    id == metrics.id || heard.is_some_and(|at| at.elapsed() <= within)
}

/// The nodes that have answered this leader lately, itself included.
pub(super) fn answering(metrics: &Metrics, within: Duration) -> Vec<NodeId> {
    if metrics.state != ServerState::Leader {
        return Vec::new();
    }
    let membership = metrics.membership_config.membership();
    let ids = membership.nodes().map(|(id, _)| *id);
    ids.filter(|id| has_answered(metrics, *id, within))
        .collect()
}

/// The last entry that a follower is known to have.
pub(crate) fn matched(metrics: &Metrics, id: NodeId) -> u64 {
    let all = metrics.replication.as_ref();
    let matched = all.and_then(|all| all.get(&id).copied()).flatten();
    matched.map_or(0, |id| id.index())
}
