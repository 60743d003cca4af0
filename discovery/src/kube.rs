use std::fmt;
use std::sync::Arc;

use ::kube::{Api, Client};
use async_trait::async_trait;
use tokio::sync::watch;

use crate::kube::endpoint::Reader;
use crate::kube::feed::{Feed, Watched};
use crate::kube::follow::{Follow, Happening, now, sleep_until_some};
use crate::kube::roster::{Oddity, Roster, Rules};
use crate::{Discovery, Error, KubernetesConfig, Members, Source};

pub(crate) mod api;
pub(crate) mod config;
mod course;
mod endpoint;
mod feed;
mod follow;
pub(crate) mod names;
mod roster;
pub(crate) mod selector;
#[cfg(test)]
mod tests;

/// Members as the Kubernetes API names them: the endpoints of a Service, or pods.
///
/// A member's name is that of its pod, which for a StatefulSet stays the same; an endpoint without
/// a pod is named by its host name, else by its address. Its host is its name in DNS where a
/// headless Service gives it one ([`KubernetesConfig::headless_service`]), else its IP address.
/// It is one member however many addresses it has.
///
/// Everything is listed once and then watched, so that a change is seen when the API tells it. A
/// watch that ends, is cut or falls silent is resumed where it was; where that is not possible, all
/// is listed anew. What is not heard of is never taken for gone: the last answer stands while the
/// API is away.
///
/// - [`Error::Unanswered`]: the API is away, slow or failing. It is asked again all the time.
/// - [`Error::Refused`]: somebody has to act, most likely to permit the requests below. It is
///   asked again slowly.
///
/// Each is returned once, until a watch stands again. A Service or a namespace that does not exist
/// is no error, since the API itself does not tell it from one without endpoints: there are no
/// members then, and the log says so once.
///
/// ```no_run
/// use bellwether_discovery::{Discovery, Kubernetes, KubernetesConfig, Source};
///
/// # async fn watch() -> Result<(), bellwether_discovery::Error> {
/// let config = KubernetesConfig::new(Source::Service("redis".into()), 6379);
/// let mut discovery = Kubernetes::connect(config).await?;
/// loop {
///     match discovery.changed().await {
///         Ok(members) => println!("there are {members:?}"),
///         Err(error) => eprintln!("the last answer stands: {error}"),
///     }
/// }
/// # }
/// ```
///
/// # What has to be permitted
///
/// `list` and `watch`, in the namespace, and nothing else is asked: at rest one watch each
/// [`max_silence`](KubernetesConfig::max_silence).
///
/// ```yaml
/// kind: Role
/// apiVersion: rbac.authorization.k8s.io/v1
/// metadata: { name: bellwether, namespace: flock }
/// rules:
/// - apiGroups: ["discovery.k8s.io"]   # for Source::Service
///   resources: ["endpointslices"]
///   verbs: ["list", "watch"]
/// - apiGroups: [""]                   # for Source::Pods
///   resources: ["pods"]
///   verbs: ["list", "watch"]
/// ```
pub struct Kubernetes {
    /// As in errors and the log.
    query: String,
    config: KubernetesConfig,
    follow: Follow,
    roster: Roster,
    /// As the log was last told.
    oddity: Option<Oddity>,
    problem: watch::Sender<Option<String>>,
}

impl Kubernetes {
    /// By a client that is there already. Asks nothing yet.
    ///
    /// Give its configuration `default_retry: false`: with kube's own retries, an API that answers
    /// 429 or 503 is only seen as slow. Where rustls is built with more than one TLS provider, the
    /// process needs a default one before a client is made, or kube panics.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the field of the configuration that cannot work.
    pub fn new(client: Client, config: KubernetesConfig) -> Result<Self, Error> {
        let namespace = config
            .namespace
            .clone()
            .unwrap_or_else(|| client.default_namespace().to_owned());
        config.check(&namespace)?;
        let feed = feed(client, &config, &namespace);
        Ok(Self::fed(feed, config, &namespace))
    }

    fn fed(feed: Arc<dyn Feed>, config: KubernetesConfig, namespace: &str) -> Self {
        Self {
            query: format!("kubernetes://{namespace}/{}", config.source),
            follow: Follow::new(feed, &config),
            roster: Roster::new(rules(&config, namespace)),
            config,
            oddity: None,
            problem: watch::Sender::default(),
        }
    }

    /// By the cluster that the process is in, or that kubectl would use: the file that
    /// `KUBECONFIG` names, else the service account of the pod, else `~/.kube/config`.
    ///
    /// Where the process has no default TLS provider of rustls, ring becomes it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the field of the configuration that cannot work, or each place
    /// where no cluster was found.
    pub async fn connect(config: KubernetesConfig) -> Result<Self, Error> {
        Self::new(Self::client().await?, config)
    }

    /// The client that [`connect`](Self::connect) makes, for a program that shares it among
    /// several users of the API, each of which tries again by itself: it does not.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names each place where no cluster was found. The API is not called.
    pub async fn client() -> Result<Client, Error> {
        api::connect().await
    }

    /// Why the API does not tell who the members are at present, in one line, now and in future. It is
    /// noticed while [`changed`](Discovery::changed) is polled, which returns the same as an error; the
    /// end of an outage is told here only, unless it brings other members.
    #[must_use]
    pub fn problem(&self) -> watch::Receiver<Option<String>> {
        self.problem.subscribe()
    }

    /// The error or the members that come of it, if they are news.
    fn absorb(&mut self, happening: Happening) -> Option<Error> {
        match happening {
            Happening::Listed(objects) => self.roster.replace(objects),
            Happening::Put(object, endpoints) => self.roster.put(object, endpoints),
            Happening::Gone(object) => self.roster.remove(&object),
            Happening::Recovered => {
                tracing::info!(query = self.query, "the Kubernetes API answers again");
                self.problem.send_replace(None);
            }
            Happening::Outage(failure) => {
                self.problem.send_replace(Some(failure.to_string()));
                let query = self.query.clone();
                let needs_action = failure.needs_action();
                let source = failure.into();
                return Some(if needs_action {
                    Error::Refused { query, source }
                } else {
                    Error::Unanswered { query, source }
                });
            }
        }
        self.say_what_is_odd();
        None
    }

    fn say_what_is_odd(&mut self) {
        let oddity = self.roster.oddity();
        if self.oddity == oddity {
            return;
        }
        self.oddity = oddity;
        let query = &self.query;
        match oddity {
            None => {}
            Some(Oddity::Nothing) => tracing::warn!(
                query,
                "there are no members, since nothing of that name exists yet"
            ),
            Some(Oddity::NoSuchPort) => tracing::warn!(
                query,
                port = %self.config.port,
                "there are no members, since none has a TCP port of that name"
            ),
        }
    }
}

#[async_trait]
impl Discovery for Kubernetes {
    async fn changed(&mut self) -> Result<Members, Error> {
        loop {
            if let Some(news) = self.roster.news(now()) {
                return news.map_err(|crowd| Error::TooMany {
                    query: self.query.clone(),
                    found: crowd.found,
                    limit: self.config.max_members,
                });
            }
            let happening = tokio::select! {
                biased;
                happening = self.follow.next() => happening,
                () = sleep_until_some(self.roster.wake_at()) => continue,
            };
            if let Some(error) = self.absorb(happening) {
                return Err(error);
            }
        }
    }
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubernetes")
            .field("query", &self.query)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

fn feed(client: Client, config: &KubernetesConfig, namespace: &str) -> Arc<dyn Feed> {
    let reader = Reader {
        port: config.port.clone(),
        headless_service: config.headless_service.clone(),
    };
    match &config.source {
        Source::Service(name) => Arc::new(Watched {
            api: Api::namespaced(client, namespace),
            resource: "endpointslices.discovery.k8s.io",
            namespace: namespace.to_owned(),
            selector: format!("kubernetes.io/service-name={name}"),
            timeout: config.timeout,
            lasts: config.max_silence,
            reader,
            read: Reader::slice,
        }),
        Source::Pods(selector) => Arc::new(Watched {
            api: Api::namespaced(client, namespace),
            resource: "pods",
            namespace: namespace.to_owned(),
            selector: selector.clone(),
            timeout: config.timeout,
            lasts: config.max_silence,
            reader,
            read: Reader::pod,
        }),
    }
}

fn rules(config: &KubernetesConfig, namespace: &str) -> Rules {
    Rules {
        include: config.include,
        family: config.family,
        host_suffix: config.host_suffix(namespace),
        linger: config.linger,
        max_members: config.max_members,
    }
}
