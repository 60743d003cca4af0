//! The election by a Kubernetes Lease: a compare-and-swap, and no clock that is compared with another.

mod api;
mod cluster;
mod config;
mod core;
mod failsafe;
mod flaw;
mod object;
mod pauser;
mod record;
mod shell;
#[cfg(any(test, feature = "simulation"))]
mod sim;
mod status;
mod watch;

use std::net::{SocketAddr, TcpListener};

use async_trait::async_trait;
use tokio::{sync::watch::Receiver, sync::watch::Sender};

use crate::{Election, Error, NodeId, Seat, listen::listen};
use api::LeaseApi;
pub use config::LeaseConfig;
use core::Core;
use failsafe::Post;
pub use failsafe::{Confirming, Failsafe};
use flaw::Flaw;
pub use pauser::Pauser;
use shell::Shell;
#[cfg(feature = "simulation")]
pub use sim::{Flock, Plant};
pub use status::{LeaseStatus, Listing};

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
///   it is back. With [failsafe](#failsafe) that is so only if a member does not confirm the leader.
/// - Whoever may write the Lease can break it: by erasing the holder together with the annotation that
///   repeats it, by deleting *and remaking* it, or by lowering the term by hand.
/// - Other programs that hold the same Lease (client-go's, for example) are respected as client-go
///   respects them, and they respect this one. They have no terms, and they take a deleted Lease at
///   once.
/// - On Linux `Instant` stops while the machine is suspended: a leader that wakes believes in its
///   lease for what was left of it.
///
/// Ranks are not compared: who stands and writes first leads. An application that must not lead has
/// to withdraw, and one that finds a better one resigns in its favour.
///
/// # Pauses
///
/// While the Lease has an annotation `bellwether.dev/paused` that does not say `false`, **nobody takes
/// it but the member that held it last**, in whichever life, **or whom that one named as its
/// successor**. A leader that dies is not replaced then, and leads again when it is back; one that
/// hands over is followed by whom it chose. Candidates stand on, and when the pause ends, the next
/// one takes a Lease that has run out at once. That is decided on the version that is written over:
/// once the API has taken a pause, nobody who did not know of it takes the Lease.
///
/// A [`Pauser`] sets and removes it, and so may people: `kubectl annotate lease NAME
/// bellwether.dev/paused=true`, and `bellwether.dev/paused-`. The election never changes it. Of a
/// Lease that was never held nobody held it last: paused, it is not taken. A pause ends with the Lease
/// when that is deleted. Other programs that hold the same Lease know of no pauses.
///
/// # Failsafe
///
/// With [`LeaseConfig::failsafe`] a leader whose renewals fail asks all members, once per
/// `retry_period`, over a port of their own. Who confirms promises not to take the Lease from anybody
/// for the leader's `lease_duration`, by its own clock. **When all have confirmed one round of
/// questions, the leader leads until that round began, plus `renew_deadline`**, as after an
/// acknowledged renewal. One member that is silent or refuses, and nothing is prolonged. The leader
/// goes on renewing meanwhile; when the API acknowledges again, nobody is asked any more. When the
/// API shows another holder, it leads no more, as ever.
///
/// Who has to be asked stands in the Lease: the annotation `bellwether.dev/failsafe` has the names
/// of all members that the leader's discovery knew when it renewed. While nobody else is known, there
/// is none, and no failsafe. As long as the Lease has a holder, **who is not in that list never takes
/// it**, however long it was not renewed, since such a member cannot know whether the others still
/// confirm the holder. A write that was not answered may have been done: the members that it listed
/// are asked, too. A released Lease has no list.
///
/// The same times that make an unrenewed Lease safe to take make this safe: a promise lasts as long
/// as a Lease, and counts from the question, which is asked after the round began. A promise dies
/// with its process. That is safe, because a new process has to see the Lease unchanged for as long
/// before it takes it, and an empty one that somebody made just as long. In addition to what stands
/// under [Safety](#safety) it takes that
/// - **members keep their names over restarts** (those of a `StatefulSet` do): a group whose pods
///   all get other names is not listed in the Lease that they left behind;
/// - **no two processes with the name of one member live at the same time**: only one of them is
///   asked. A `StatefulSet` keeps to that, unless a pod is deleted by force while its node cannot be
///   reached;
/// - no other program takes the Lease: client-go knows of no lists;
/// - **nobody deletes the Lease, or the list, while a leader that cannot reach the API is confirmed**:
///   who is not listed takes it then after `lease_duration`.
///
/// That last one is how people get out, when all who are listed are gone for good and nobody else
/// takes the Lease: make sure that they are, then `kubectl annotate lease NAME
/// bellwether.dev/failsafe-`.
///
/// What it costs: a leader that dies while members are being asked is replaced up to
/// `renew_deadline` later than without, since they have promised something meanwhile. With a member
/// that is gone, and listed until discovery says so, there is no failsafe.
///
/// With a [secret](Failsafe::secret) that all members share, **only who knows it is believed**. Who
/// asks and who answers prove by HMAC-SHA-256 that they know it, each over the other's fresh nonce: what
/// was recorded or changed is refused. Members must all have the same one; while it is being changed,
/// those with the old one and those with the new one do not confirm each other. Nothing is encrypted:
/// who listens reads cards, and can try guesses at a secret that is short. And who knows it may still
/// do all that follows.
///
/// **Without a secret, whoever reaches the port is believed.** It can bind members by questions in a
/// leader's name, so that nobody takes the Lease over, and tell them a leader and its card as it likes:
/// an application that goes where the card says goes there. A question with an absurd term keeps the
/// group from failsafe for good. And who can answer in the place of all members can make a leader
/// believe that it is confirmed. With or without, the port belongs behind a `NetworkPolicy` that admits
/// the group's pods only: a flood of connections keeps members from being heard.
///
/// # Compared
///
/// What others do was read in their sources: client-go at commit 32ce75a of 2026-07-24,
/// kube-leader-election 0.44.0, kube-lease-manager 0.13.1, kubert 0.25.0, kube-coordinate 2.0.0-rc.0.
/// Times are those of the defaults (client-go: 15 s, 10 s, 2 s, as its core clients have them), without
/// the latency of the API. "Transitions" is the Lease's own counter of them.
///
/// | | this | client-go | kube-leader-election | kube-lease-manager | kubert | kube-coordinate |
/// |---|---|---|---|---|---|---|
/// | every write names the version it was decided on | yes | all but the release | **no** | **no**; takes a free one by field manager | yes | not when it takes a released or missing one |
/// | another's lease expires by | what was observed | what was observed | the other's wall clock | the other's wall clock | the other's wall clock | what was observed |
/// | the end of one's own lease is told | with every renewal, as an instant | no: the context ends, then a callback | no: the Lease is handed out | no | with every renewal, by wall clock | no |
/// | one's own lease is counted from | the request | the answer | - | the request | the request | the answer |
/// | an API that is away ends a leader's spell | at `renew_deadline`, unless all members confirm it | 12 s after an answer; up to 22 s with `ReleaseOnCancel` | its call fails, the rest is up to the caller | **not before it answers again** | at the expiry told; **its task ends, nobody renews** | at the first renewal that fails |
/// | a deleted Lease under a living leader | waited out | taken at the next try | taken at the next call | **never made anew, the leader goes on** | **never made anew, all tasks end** | taken at once, the last writer wins |
/// | fencing number | grows with each spell, over deletion | transitions, lost on deletion | transitions, two racers get the same | transitions, in a second write | transitions, not told | transitions, back to 1 after a release |
/// | after a clean exit, taken over | at once, by watch | within 4.4 s, if `ReleaseOnCancel` | after 1 s, at the next call | **after expiry** | **after expiry** | **after expiry**: nothing is released |
/// | after a crash, by default | 5 to 7 s | 13 to 24 s | - | 5 to 31 s | 1 to 30 s | 5 to 33 s |
///
/// # What it costs
///
/// A leader writes once per `retry_period`; a follower keeps a watch open. Without permission to
/// watch, it reads once per `retry_period`, and take-overs are that much slower.
///
/// # Permissions
///
/// In the namespace of the Lease, on `leases` of group `coordination.k8s.io`: `get`, `patch`,
/// `create` (not needed if the Lease exists) and `watch` (optional); to pause takes no more. What is missing is said in the
/// log and in [`LeaseStatus::problem`], and tried again.
pub struct Lease {
    config: LeaseConfig,
    api: LeaseApi,
    node: NodeId,
    ran: bool,
    status: Sender<LeaseStatus>,
    /// Where the other members ask, with failsafe.
    listener: Option<TcpListener>,
    paused: Sender<bool>,
}

impl Lease {
    /// Takes part by this client.
    ///
    /// Let the client not retry by itself (`default_retry` of `kube::Config`): every call is bounded
    /// by four fifths of `retry_period`, and retried here.
    ///
    /// # Errors
    ///
    /// If the configuration cannot work, or the address of failsafe cannot be listened on.
    pub fn new(client: kube::Client, config: LeaseConfig) -> Result<Self, Error> {
        config.check()?;
        let namespace = match &config.namespace {
            Some(namespace) => namespace.clone(),
            None => client.default_namespace().into(),
        };
        let listen = config.failsafe.as_ref().map(|it| listen(it.listen));
        let listener = listen.transpose()?;
        if (config.failsafe.as_ref()).is_some_and(|it| it.secret.is_none()) {
            tracing::warn!("failsafe has no secret: whoever reaches its port is believed");
        }
        Ok(Self {
            api: LeaseApi::new(
                client,
                namespace,
                config.name.clone(),
                config.call_timeout(),
            ),
            node: NodeId::fresh(&config.member),
            config,
            ran: false,
            status: Sender::new(LeaseStatus::default()),
            listener,
            paused: Sender::new(false),
        })
    }

    /// Takes part in the cluster that this process is configured for: the one that `KUBECONFIG`
    /// names, else that of its pod's service account, else that of `~/.kube/config`.
    ///
    /// Where the process has no default TLS provider of rustls, ring becomes it.
    ///
    /// # Errors
    ///
    /// If there is no such configuration, or this one cannot work. Nobody is called yet: an API
    /// server that is away is waited for by [`run`](Election::run).
    pub async fn connect(config: LeaseConfig) -> Result<Self, Error> {
        config.check()?;
        let client = cluster::connect().await?;
        Self::new(client, config)
    }

    /// What this member is called. A second [`run`](Election::run) is another life, with another
    /// incarnation.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Where the other members ask this one, with failsafe.
    #[must_use]
    pub fn failsafe_addr(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// A handle that pauses automatic failover.
    #[must_use]
    pub fn pauser(&self) -> Pauser {
        let told = self.paused.subscribe();
        Pauser::new(self.api.clone(), self.config.member.clone(), told)
    }

    /// How it gets on with the API, now and in future.
    #[must_use]
    pub fn status(&self) -> Receiver<LeaseStatus> {
        self.status.subscribe()
    }
}

impl Lease {
    /// The way to the other members, with failsafe.
    fn post(&self) -> Result<Option<Post>, Error> {
        let (Some(failsafe), Some(listener)) = (&self.config.failsafe, &self.listener) else {
            return Ok(None);
        };
        let group = format!("{}/{}", self.api.namespace, self.api.name);
        let who = (group, self.config.member.clone());
        Post::open(listener, failsafe, who, self.config.call_timeout()).map(Some)
    }
}

#[async_trait]
impl Election for Lease {
    async fn run(&mut self, seat: Seat) -> Result<(), Error> {
        if std::mem::replace(&mut self.ran, true) {
            self.node = NodeId::fresh(&self.config.member);
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
            self.paused.clone(),
        );
        let shell = match self.post()? {
            Some(post) => shell.with_post(post),
            None => shell,
        };
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
