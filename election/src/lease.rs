//! The election by a Kubernetes Lease: a compare-and-swap, and no clock that is compared with another.

mod api;
mod config;
mod core;
mod flaw;
mod object;
mod record;
mod shell;
#[cfg(test)]
mod sim;
mod status;
mod watch;

use async_trait::async_trait;
use tokio::{sync::watch::Receiver, sync::watch::Sender};
use uuid::Uuid;

use crate::{Election, Error, NodeId, Seat};
use api::{LeaseApi, chain};
pub use config::LeaseConfig;
use core::Core;
use flaw::Flaw;
use shell::Shell;
pub use status::LeaseStatus;

/// An election by a Lease of the Kubernetes API.
///
/// # Safety
///
/// **At most one member acts as leader at any instant**, provided that
/// - it acts only before [`until`](crate::Leadership::Leading), and has stopped `fence_timeout`
///   after that at the latest,
/// - all members run with the same times, and no member's clock runs faster than another's by more
///   than `clock_drift`,
/// - the API server's writes are atomic (they are: it compares the version of what it replaces).
///
/// That holds whatever is slow, lost, repeated or late between the members and the API, while
/// processes are stopped and continued, when the Lease is deleted or its holder erased by hand, and
/// whatever time of day any clock shows. In particular:
/// - A member leads only by a write of its own that was acknowledged, until that write was *sent*,
///   plus `renew_deadline`. Others take the Lease once they have seen it unchanged for
///   `lease_duration` by their own clock, which is longer.
/// - Every write names the version of the Lease that it was decided on. A write that arrives late
///   finds another version, and does nothing.
/// - A Lease that was deleted, or emptied by hand, may still have a leader who does not know. Who
///   finds none makes an empty one, and takes that after it was unchanged for `lease_duration`.
///   That makes the very first start of a group as slow; an empty Lease among its manifests avoids
///   it.
/// - The [`Term`](crate::Term) grows with every spell, also when one member leads twice in a row. It
///   is kept in the Lease. When the Lease is deleted, the next term is higher than all that the new
///   leader has seen, and than the version of the new Lease: as versions are numbers that outlive
///   deletion, and a spell costs at least one, it is higher than all that ever were.
///
/// What it does not promise:
/// - **An API server that is away for `renew_deadline` ends the leader's spell.** Nobody leads until
///   it is back.
/// - Whoever may write the Lease can break it: by naming a holder, by deleting *and remaking* it, or
///   by lowering the term by hand.
/// - Other programs that hold the same Lease (client-go's, for example) are respected as client-go
///   respects them, and they respect this one. They have no terms, and they take a deleted Lease at
///   once.
/// - On Linux `Instant` stops while the machine is suspended: a leader that wakes believes in its
///   lease for what was left of it.
///
/// Ranks are not compared: who stands and writes first leads. An application that must not lead has
/// to withdraw, and one that finds a better one resigns in its favour.
///
/// # What it costs
///
/// A leader writes once per `retry_period`; a follower keeps a watch open. Without permission to
/// watch, it reads once per `retry_period`, and take-overs are that much slower.
///
/// # Permissions
///
/// In the namespace of the Lease, on `leases` of group `coordination.k8s.io`: `get`, `patch`,
/// `create` (not needed if the Lease exists) and `watch` (optional). What is missing is said in the
/// log and in [`LeaseStatus::problem`], and tried again.
pub struct Lease {
    config: LeaseConfig,
    api: LeaseApi,
    node: NodeId,
    ran: bool,
    status: Sender<LeaseStatus>,
}

impl Lease {
    /// Takes part by this client.
    ///
    /// Let the client not retry by itself (`default_retry` of `kube::Config`): every call is bounded
    /// by four fifths of `retry_period`, and retried here.
    ///
    /// # Errors
    ///
    /// If the configuration cannot work.
    pub fn new(client: kube::Client, config: LeaseConfig) -> Result<Self, Error> {
        config.check()?;
        let namespace = match &config.namespace {
            Some(namespace) => namespace.clone(),
            None => client.default_namespace().into(),
        };
        Ok(Self {
            api: LeaseApi::new(
                client,
                namespace,
                config.name.clone(),
                config.call_timeout(),
            ),
            node: node(&config),
            config,
            ran: false,
            status: Sender::new(LeaseStatus::default()),
        })
    }

    /// Takes part in the cluster that this process is configured for: by a kubeconfig (`KUBECONFIG`,
    /// else `~/.kube/config`), else by the service account of its pod.
    ///
    /// # Errors
    ///
    /// If there is no such configuration, or this one cannot work. Nobody is called yet: an API
    /// server that is away is waited for by [`run`](Election::run).
    pub async fn connect(config: LeaseConfig) -> Result<Self, Error> {
        config.check()?;
        let mut cluster = kube::Config::infer().await.map_err(|error| {
            Error::Config(format!(
                "no Kubernetes cluster is configured, by kubeconfig (KUBECONFIG or ~/.kube/config) or by the service account of a pod: {}",
                chain(&error)
            ))
        })?;
        // Retries are decided here, once.
        cluster.default_retry = false;
        let client = kube::Client::try_from(cluster).map_err(|error| {
            Error::Config(format!(
                "the configuration of the Kubernetes cluster cannot be used: {}",
                chain(&error)
            ))
        })?;
        Self::new(client, config)
    }

    /// What this member is called. A second [`run`](Election::run) is another life, with another
    /// incarnation.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// How it gets on with the API, now and in future.
    #[must_use]
    pub fn status(&self) -> Receiver<LeaseStatus> {
        self.status.subscribe()
    }
}

#[async_trait]
impl Election for Lease {
    async fn run(&mut self, seat: Seat) -> Result<(), Error> {
        if std::mem::replace(&mut self.ran, true) {
            self.node = node(&self.config);
        }
        let core = Core::new(
            self.node.clone(),
            self.config.timing(),
            tokio::time::Instant::now().into_std(),
            fastrand::u64(..),
            None,
        );
        let shell = Shell::new(
            core,
            seat,
            self.api.clone(),
            self.config.retry_period,
            self.status.clone(),
        );
        shell.run(self.config.renew_deadline).await;
        Ok(())
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("config", &self.config)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

fn node(config: &LeaseConfig) -> NodeId {
    NodeId {
        member: config.member.clone(),
        incarnation: Uuid::new_v4(),
    }
}
