mod board;
mod config;
mod core;
mod leader;
mod names;
mod objects;
mod pace;
mod plan;
mod roles;
mod seen;
mod selector;
mod shell;
#[cfg(test)]
mod sim;

use std::fmt;

use fastrand::Rng;
use kube::Client;
use tokio::sync::watch;

use self::board::Board;
use self::core::Core;
use self::objects::{Objects, Selection};
use self::plan::Subject;
use self::roles::Roles;
use self::selector::Selector;
use self::shell::Shell;
use crate::Error;
use crate::kube::api;

pub use self::config::{AnnouncerConfig, RoleLabel};
pub use self::leader::{Announcement, Leader};

/// Points a Kubernetes Service at the leader's pod, and where asked labels the pods by their role.
///
/// Every node runs one, and it does something only while its node is the [`Leader`]: then it writes
/// the Service's whole selector and, beside it, the term in an annotation. What has the term of
/// another, higher spell is never overwritten. What someone else changes is noticed by a watch and
/// put back; what is right is not written.
///
/// ```no_run
/// use bellwether_discovery::{Announcer, AnnouncerConfig, Leader};
/// use tokio::sync::watch;
///
/// # async fn example() -> Result<(), bellwether_discovery::Error> {
/// let mut announcer = Announcer::connect(AnnouncerConfig::new("redis-leader")).await?;
/// let announcement = announcer.announcement();
/// let (leader, leaders) = watch::channel(None);
/// tokio::spawn(async move { announcer.run(leaders).await });
///
/// // After the promotion of this node was verified:
/// leader.send_replace(Some(Leader {
///     member: "redis-0".into(),
///     term: 7,
///     until: None,
/// }));
/// # drop(announcement);
/// # Ok(())
/// # }
/// ```
///
/// # Safety
///
/// - Nothing is written without a [`Leader`], nor from its [`until`](Leader::until) on; a call that
///   is under way then is dropped. It may still take effect, and that is why:
/// - Each write tests the resourceVersion of the object that it was decided on. One that arrives late
///   or twice, or that crosses with another leader's, fails, whoever is slow. So the term on an
///   object never falls, whatever clocks, processes and networks do.
/// - It is a name for clients, not a fence: connections that clients have to an older leader stay,
///   and between two leaders there is a time when the Service still names the older one.
/// - Terms must be unique and grow. Two leaders of one term would put the Service back in turn,
///   ever more slowly. If the source of terms is lost and they begin anew, a new leader finds itself
///   [`Superseded`](Announcement::Superseded) until the annotation is removed:
///   `kubectl annotate service redis-leader bellwether.dev/term-`.
/// - A term that cannot be read counts as none, with a line in the log: it would otherwise stand
///   for ever.
///
/// # The Service
///
/// It is not created. Leave `spec.selector` out of its manifest: until the first leader it then
/// points nowhere, and tools that apply manifests do not undo the announcement. Where a manifest has
/// a selector, it is replaced. A Service of type ExternalName cannot work, which is told. If the
/// Service does not exist, it is announced as soon as it does.
///
/// A headless Service (`clusterIP: None`) works too, but clients then see the change only when their
/// DNS answer has expired. Give it `ipFamilyPolicy: SingleStack` where the cluster is not dual stack:
/// Kubernetes takes a headless Service without a selector for dual stack, and then refuses to let it
/// have one.
///
/// A pod that is not ready is named too, but receives no traffic unless the Service has
/// `publishNotReadyAddresses`.
///
/// # Role labels
///
/// With a [`RoleLabel`], every other pod is labelled and marked with the term before the leader's is,
/// one after the other. So two primaries are never made, though for a moment there may be none, and
/// no write of an older leader can come through any more once the new one is labelled. The term of a
/// pod guards like the term of the Service. Service and labels do not wait for each other.
///
/// # Permissions
///
/// For a Service alone the first rule; with a role label also the second:
///
/// ```yaml
/// kind: Role
/// apiVersion: rbac.authorization.k8s.io/v1
/// metadata: { name: redis-leader }
/// rules:
///   - apiGroups: [""]
///     resources: [services]
///     resourceNames: [redis-leader]
///     verbs: [list, watch, patch]
///   - apiGroups: [""]
///     resources: [pods]
///     verbs: [list, watch, patch]
/// ```
///
/// # The API
///
/// While this node leads, there is one watch, and one read each 30 s; at rest nothing is written, and
/// a node that does not lead asks nothing. Each call has a timeout. Lost connections, errors of the
/// server and conflicts are retried with bounded, jittered pauses, and so is what only people can
/// change, slowly. None of that ends the announcement; each is told once, by the log and by
/// [`announcement`](Self::announcement). A watch that has gone silent is noticed within
/// [`reread`](AnnouncerConfig::reread) and [`timeout`](AnnouncerConfig::timeout).
pub struct Announcer {
    client: Client,
    config: AnnouncerConfig,
    namespace: String,
    told: watch::Sender<Announcement>,
}

impl Announcer {
    /// Uses a client of the caller, and asks nothing yet.
    ///
    /// The client's own retries should be off (`default_retry` of kube's `Config`): they know of no
    /// end of a lease. They do no harm beyond delay, since each write tests a resourceVersion.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the field of the configuration that cannot work.
    pub fn new(client: Client, config: AnnouncerConfig) -> Result<Self, Error> {
        config.check()?;
        let namespace = config.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().into());
        Ok(Self {
            client,
            config,
            namespace,
            told: watch::Sender::default(),
        })
    }

    /// Finds the cluster by the environment, as kubectl does inside and outside of it; asks nothing
    /// of it yet.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the field of the configuration that cannot work, or each place where
    /// no cluster was found.
    pub async fn connect(config: AnnouncerConfig) -> Result<Self, Error> {
        // Before the cluster is looked for, so that a typing error is not hidden by its absence.
        config.check()?;
        Self::new(api::connect().await?, config)
    }

    /// How far the announcement has come; [`Idle`](Announcement::Idle) while [`run`](Self::run) does
    /// not run.
    #[must_use]
    pub fn announcement(&self) -> watch::Receiver<Announcement> {
        self.told.subscribe()
    }

    /// Announces whoever `leader` holds, until its sender is gone.
    ///
    /// It shall hold `Some` only while this node leads and after its promotion was verified:
    /// publishing comes last. Sending the same leader with a later end is cheap.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, no more is written; a call that was under way may still take
    /// effect, if nobody has written before it. It may be run again.
    pub async fn run(&mut self, leader: watch::Receiver<Option<Leader>>) {
        let selector = Selector::new(&self.config, &self.namespace);
        let roles = Roles::new(&self.config, &self.namespace);
        let board = Board::new(&self.told, 1 + usize::from(roles.is_some()));
        let service = Selection::Named(self.config.service.clone());
        let tell = |announcement| board.tell(0, announcement);
        let service = self.shell(selector, service, &tell).run(leader.clone());
        let Some(roles) = roles else {
            return service.await;
        };
        let pods = Selection::Labelled(roles.pods().into());
        let tell = |announcement| board.tell(1, announcement);
        let pods = self.shell(roles, pods, &tell).run(leader);
        tokio::join!(service, pods);
    }

    fn shell<'a, S: Subject>(
        &self,
        subject: S,
        selection: Selection,
        tell: &'a (dyn Fn(Announcement) + Send + Sync),
    ) -> Shell<'a, S> {
        let client = self.client.clone();
        let (namespace, config) = (&self.namespace, &self.config);
        let objects = Objects::new(subject.clone(), client, namespace, selection, config);
        Shell::new(Core::new(subject, config, Rng::new()), objects, tell)
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcer")
            .field("namespace", &self.namespace)
            .field("config", &self.config)
            .field("told", &*self.told.borrow())
            .finish_non_exhaustive()
    }
}
