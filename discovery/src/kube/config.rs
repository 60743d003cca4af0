use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::kube::{names, selector};
use crate::{Error, address};

/// Between the host name of a pod and the domain of the cluster.
const SERVICES: &str = "svc";

/// What is watched to find the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The endpoints of the Service of this name, through its EndpointSlices. Their changes are
    /// those that clients of the Service see.
    Service(String),
    /// The pods that match this label selector, such as `app=redis,tier in (cache,queue)`. A pod
    /// is seen from its creation on, also before it has an address.
    Pods(String),
}

/// Shows `service/name` or `pods?selector`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service/{name}"),
            Self::Pods(selector) => write!(f, "pods?{selector}"),
        }
    }
}

/// Which port of a member is meant. Reads and shows a number or a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// This one, from 1, of every member, whether it is declared or not.
    Number(u16),
    /// The TCP port that the Service, or for [`Source::Pods`] a container of the pod, gives this
    /// name. It may differ between members; who has none of that name is not a member.
    Named(String),
}

impl From<u16> for Port {
    fn from(number: u16) -> Self {
        Self::Number(number)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Named(name) => name.fmt(f),
        }
    }
}

impl FromStr for Port {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let port = match text.parse() {
            Ok(number) => Self::Number(number),
            Err(_) => Self::Named(text.to_owned()),
        };
        port.check().map_err(Error::Invalid)?;
        Ok(port)
    }
}

impl Port {
    fn check(&self) -> Result<(), String> {
        match self {
            Self::Number(1..) => Ok(()),
            Self::Named(name) if names::is_label(name) && !names::is_number(name) => Ok(()),
            port => Err(format!(
                "port \"{port}\" is neither a number from 1 to 65535 nor the name of a port"
            )),
        }
    }
}

/// Whom to tell of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// Everybody who is there: ready or not, and those who are terminating until they have ended,
    /// since they still run and may hold the newest data. The choice for a group that agrees on
    /// its roles by itself.
    #[default]
    All,
    /// Who passes its readiness probe and is not terminating, also where the Service publishes
    /// addresses that are not ready. The choice for those who only want to be served.
    Ready,
}

/// Which address of a member counts that has both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// IPv4, if there is one.
    #[default]
    Ipv4,
    /// IPv6, if there is one.
    Ipv6,
}

/// How Kubernetes is asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KubernetesConfig {
    /// What is watched to find the members.
    pub source: Source,
    /// Which of their ports is meant.
    pub port: Port,
    /// Where the Service and the pods are. Default: the namespace of the pod that asks, or that
    /// of the kubeconfig.
    pub namespace: Option<String>,
    /// Whom to tell of. Default: all.
    pub include: Include,
    /// The Service, most often headless, under which DNS knows each pod by its own name, as
    /// `serviceName` of a StatefulSet says. Every pod whose name there is known gets it as host:
    /// it stays the same member when it comes back with another address.
    ///
    /// Default: the Service that is watched, for those of its endpoints that have a host name.
    /// With another Service watched, each pod is taken to be known here by its own name, as
    /// the pods of a StatefulSet are; with pods watched, those are whose `subdomain` it is.
    ///
    /// DNS tells of pods that are not ready only if this Service has `publishNotReadyAddresses`.
    pub headless_service: Option<String>,
    /// The domain of the cluster, at the end of those names. Default: `cluster.local`.
    pub cluster_domain: String,
    /// Which address counts of a member that has both and no name in DNS. Default: IPv4.
    pub family: Family,
    /// Who vanished is still told of for so long, so that a pod that moves between two
    /// EndpointSlices, or is made anew under its old name, is no change. Default: 1 s.
    pub linger: Duration,
    /// How long one request may take. Default: 5 s.
    pub timeout: Duration,
    /// A watch is ended and resumed from where it was after this long, in whole seconds: what was
    /// lost in silence is noticed by then, plus twice `timeout`. Default: 30 s.
    pub max_silence: Duration,
    /// While the API does not answer, ask again after pauses that double, with jitter, from
    /// 100 ms up to this. Default: 2 s.
    pub max_retry_interval: Duration,
    /// While the API refuses, as when a permission is missing, ask again after this, less up to
    /// half of it by jitter. Default: 10 s.
    pub refused_interval: Duration,
    /// More members are refused. Default: 1024.
    pub max_members: usize,
}

impl KubernetesConfig {
    /// All members of a source, with the defaults.
    #[must_use]
    pub fn new(source: Source, port: impl Into<Port>) -> Self {
        Self {
            source,
            port: port.into(),
            namespace: None,
            include: Include::default(),
            headless_service: None,
            cluster_domain: "cluster.local".into(),
            family: Family::default(),
            linger: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            max_silence: Duration::from_secs(30),
            max_retry_interval: Duration::from_secs(2),
            refused_interval: Duration::from_secs(10),
            max_members: 1024,
        }
    }

    /// Says in one line what cannot work.
    pub(crate) fn check(&self, namespace: &str) -> Result<(), Error> {
        self.complaint(namespace).map_err(Error::Invalid)
    }

    fn complaint(&self, namespace: &str) -> Result<(), String> {
        self.port.check()?;
        names::check("namespace", namespace)?;
        match &self.source {
            Source::Service(name) => names::check("source: Service", name)?,
            Source::Pods(text) => {
                selector::check(text).map_err(|why| format!("source: selector {text:?}: {why}"))?;
            }
        }
        if let Some(service) = &self.headless_service {
            names::check("headless_service", service)?;
        }
        let domain = address::name(&self.cluster_domain);
        domain.map_err(|why| format!("cluster_domain: {why}"))?;
        let longest = self
            .host_suffix(namespace)
            .map_or(0, |suffix| 63 + suffix.len());
        if longest > 253 {
            return Err(format!(
                "cluster_domain {:?} makes host names of up to {longest} characters, more than 253",
                self.cluster_domain
            ));
        }
        for (name, value) in [
            ("timeout", self.timeout),
            ("max_retry_interval", self.max_retry_interval),
            ("refused_interval", self.refused_interval),
        ] {
            if value.is_zero() {
                return Err(format!("{name} must be longer than zero"));
            }
        }
        if self.max_silence < Duration::from_secs(1) {
            let given = self.max_silence;
            return Err(format!(
                "max_silence ({given:?}) must not be shorter than 1s"
            ));
        }
        if self.max_members == 0 {
            return Err("max_members must be more than zero".into());
        }
        Ok(())
    }

    /// The host under which a pod is found by its name in DNS, as [`crate::Kubernetes`] tells it once
    /// the API has told of the pod. `None` where no headless Service gives it one.
    #[must_use]
    pub fn host_of(&self, pod: &str, namespace: &str) -> Option<String> {
        let suffix = self.host_suffix(namespace)?;
        names::is_label(pod).then(|| format!("{pod}{suffix}"))
    }

    /// What follows the host name of a pod that DNS knows, with the dot before it.
    pub(crate) fn host_suffix(&self, namespace: &str) -> Option<String> {
        let watched = match &self.source {
            Source::Service(name) => Some(name),
            Source::Pods(_) => None,
        };
        let service = self.headless_service.as_ref().or(watched)?;
        let domain = self.cluster_domain.trim_end_matches('.');
        let domain = domain.to_ascii_lowercase();
        Some(format!(".{service}.{namespace}.{SERVICES}.{domain}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> KubernetesConfig {
        KubernetesConfig::new(Source::Service("redis".into()), 6379)
    }

    fn complaint(change: impl FnOnce(&mut KubernetesConfig)) -> String {
        let mut config = service();
        change(&mut config);
        let error = config.check("flock").expect_err("it cannot work");
        error.to_string()
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Change = fn(&mut KubernetesConfig);
        let cases: [(Change, &str); 14] = [
            (
                |config| config.source = Source::Service("Redis".into()),
                "source: Service \"Redis\" is not a name of Kubernetes",
            ),
            (
                |config| config.source = Source::Pods("app=".repeat(2)),
                "source: selector \"app=app=\": ",
            ),
            (
                |config| config.source = Source::Pods(String::new()),
                "source: selector \"\": it is empty",
            ),
            (
                |config| config.headless_service = Some("a.b".into()),
                "headless_service \"a.b\" is not a name",
            ),
            (
                |config| config.port = Port::Number(0),
                "port \"0\" is neither a number from 1 to 65535 nor",
            ),
            (
                |config| config.port = Port::Named("re dis".into()),
                "port \"re dis\" is neither",
            ),
            (
                |config| config.cluster_domain = "a b".into(),
                "cluster_domain: \"a b\" is not a host name",
            ),
            (
                |config| config.cluster_domain = "a.".repeat(100) + "b",
                "makes host names of up to",
            ),
            (
                |config| config.timeout = Duration::ZERO,
                "timeout must be longer than zero",
            ),
            (
                |config| config.max_retry_interval = Duration::ZERO,
                "max_retry_interval must be",
            ),
            (
                |config| config.refused_interval = Duration::ZERO,
                "refused_interval must be",
            ),
            (
                |config| config.max_silence = Duration::from_millis(999),
                "max_silence (999ms) must not be shorter than 1s",
            ),
            (
                |config| config.max_members = 0,
                "max_members must be more than zero",
            ),
            (
                |config| config.source = Source::Service("a".repeat(64)),
                "is not a name of Kubernetes: 1 to 63 lower-case letters",
            ),
        ];
        for (change, expected) in cases {
            let complaint = complaint(change);
            assert!(complaint.contains(expected), "{complaint}");
            assert!(!complaint.contains('\n'));
        }
        let error = service().check("Flock").unwrap_err().to_string();
        assert!(error.starts_with("namespace \"Flock\" is not a name"));
        service().check("flock").unwrap();
    }

    #[test]
    fn ports_are_numbers_or_names() {
        for text in ["6379", "redis", "redis-6379", "6379-redis"] {
            assert_eq!(text.parse::<Port>().unwrap().to_string(), text);
        }
        for text in ["0", "65536", "", "Redis", "-1", "redis-"] {
            text.parse::<Port>().unwrap_err();
        }
    }

    #[test]
    fn names_in_dns_are_those_of_the_headless_service() {
        let mut config = service();
        let suffix = config.host_suffix("flock").unwrap();
        assert_eq!(suffix, ".redis.flock.svc.cluster.local");
        let host = config.host_of("redis-0", "flock").unwrap();
        assert_eq!(host, "redis-0.redis.flock.svc.cluster.local");
        assert_eq!(config.host_of("redis.0", "flock"), None);
        config.headless_service = Some("redis-peers".into());
        config.cluster_domain = "Example.org.".into();
        let suffix = config.host_suffix("flock").unwrap();
        assert_eq!(suffix, ".redis-peers.flock.svc.example.org");
        config.source = Source::Pods("app=redis".into());
        assert!(config.host_suffix("flock").is_some());
        config.headless_service = None;
        assert_eq!(config.host_suffix("flock"), None);
    }
}
