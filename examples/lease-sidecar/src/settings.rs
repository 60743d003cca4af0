use std::{net::SocketAddr, time::Duration};

use bellwether_discovery::{AnnouncerConfig, KubernetesConfig, RoleLabel, Source};
use bellwether_election::{Failsafe, LeaseConfig};
use bellwether_hive::{
    AgentFlags, YesNo,
    cli::{Checked, LogFormat, check_durations, check_group, check_host, check_ports},
};
use bellwether_replication::Address;
use clap::{Parser, ValueEnum};
use humantime::parse_duration;
use tokio::sync::watch;

use crate::members::Peers;

/// Keeps a group of Redis servers available on Kubernetes.
///
/// One agent runs beside each redis-server, in its pod. The agents compete for a Lease; the holder's
/// server becomes primary, the others follow it, and a Service is pointed at the holder's pod. Start
/// each redis-server with `--replicaof 127.0.0.1 1 --repl-diskless-sync no`. Passwords come from
/// the environment or from a file. Durations are written as 100ms, 1s or 2m.
#[derive(Clone, Debug, Parser)]
#[command(name = "bellwether-lease", version)]
pub struct Settings {
    /// What every agent is told alike.
    #[command(flatten)]
    pub agent: AgentFlags,

    /// Where clients connect to the own server while this agent leads; they are cut when it does
    /// so no more.
    #[arg(
        long,
        env = "BELLWETHER_LEADER_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "0.0.0.0:6378"
    )]
    pub leader_listen: SocketAddr,

    /// The Lease for which the agents compete. It is made if it does not exist.
    #[arg(long, env = "BELLWETHER_LEASE", value_name = "NAME")]
    pub lease: String,

    /// The Service that is pointed at the leader's pod. It has to exist.
    #[arg(long, env = "BELLWETHER_LEADER_SERVICE", value_name = "NAME")]
    pub leader_service: Option<String>,

    /// The headless Service of the StatefulSet: its endpoints are the members. It has to publish
    /// addresses that are not ready.
    #[arg(long, env = "BELLWETHER_HEADLESS_SERVICE", value_name = "NAME")]
    pub headless_service: String,

    /// How members are reached: by the names that --headless-service gives the pods of a
    /// StatefulSet, or by their addresses, which change when a pod is made anew.
    #[arg(
        long,
        env = "BELLWETHER_REACH_BY",
        value_name = "names|addresses",
        default_value = "names"
    )]
    pub reach_by: ReachBy,

    /// The namespace of all of these. By default that of the pod, or of the kubeconfig.
    #[arg(long, env = "BELLWETHER_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,

    /// The domain of the cluster, in the names of pods.
    #[arg(
        long,
        env = "BELLWETHER_CLUSTER_DOMAIN",
        value_name = "DOMAIN",
        default_value = "cluster.local"
    )]
    pub cluster_domain: String,

    /// A label of pods that says "primary" or "replica"; needs --role-pods. Not set by default.
    #[arg(long, env = "BELLWETHER_ROLE_LABEL", value_name = "KEY")]
    pub role_label: Option<String>,

    /// The pods that get --role-label, by their other labels, such as app=redis.
    #[arg(long, env = "BELLWETHER_ROLE_PODS", value_name = "SELECTOR")]
    pub role_pods: Option<String>,

    /// The name of this member: its pod's.
    #[arg(long, env = "HOSTNAME", value_name = "NAME")]
    pub member: String,

    /// The uid of this member's pod, by which `kubectl describe pod` finds its events.
    #[arg(long, env = "BELLWETHER_POD_UID", value_name = "UID")]
    pub pod_uid: Option<String>,

    /// Whether Kubernetes Events tell of new leaders, refused promotions, fences and hand-overs.
    #[arg(
        long,
        env = "BELLWETHER_EVENTS",
        value_name = "yes|no",
        default_value = "yes"
    )]
    pub events: YesNo,

    /// The host under which the others reach the own server: with --reach-by addresses the pod's
    /// own address. By default its name under --headless-service.
    #[arg(long, env = "BELLWETHER_ADVERTISE", value_name = "HOST")]
    pub advertise: Option<String>,

    /// Where the others reach the own server. By default the host of --advertise and the port of
    /// --redis.
    #[arg(long, env = "BELLWETHER_ADVERTISE_REDIS", value_name = "HOST:PORT")]
    pub advertise_redis: Option<Address>,

    /// The name of the group, kept in its data: another group's data is neither led nor
    /// overwritten. By default that of the Lease.
    #[arg(long, env = "BELLWETHER_GROUP", value_name = "NAME")]
    pub group: Option<String>,

    /// How long a leader that is gone is waited for; whole seconds. It has to be at least
    /// (--renew-deadline + 1s) times 1.05.
    #[arg(long, env = "BELLWETHER_LEASE_DURATION", value_name = "DURATION", default_value = "6s", value_parser = parse_duration)]
    pub lease_duration: Duration,

    /// How long a leader leads without having renewed.
    #[arg(long, env = "BELLWETHER_RENEW_DEADLINE", value_name = "DURATION", default_value = "4s", value_parser = parse_duration)]
    pub renew_deadline: Duration,

    /// How often a leader renews.
    #[arg(long, env = "BELLWETHER_RETRY_PERIOD", value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub retry_period: Duration,

    /// Stays primary through an outage of the Kubernetes API, for as long as all known members
    /// confirm it: they are asked at --peer-listen. Without it, writes stop after --renew-deadline.
    #[arg(long, env = "BELLWETHER_FAILSAFE")]
    pub failsafe: bool,

    /// Where the other agents ask this one, with --failsafe. They all have to listen at the same port,
    /// and nobody else should reach it: it is not authenticated.
    #[arg(long, env = "BELLWETHER_PEER_LISTEN", value_name = "ADDR:PORT")]
    pub peer_listen: Option<SocketAddr>,

    /// When it cannot be told whose data is newer, how long to wait for all known members before
    /// the newest among those that answered leads.
    #[arg(long, env = "BELLWETHER_FORM_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub form_timeout: Duration,

    /// How many pods the group has. After a restart of everything, those that have no address yet are
    /// waited for as well, for --form-timeout. By default those that are known are all.
    #[arg(
        long,
        env = "BELLWETHER_MEMBERS",
        value_name = "N",
        default_value_t = 0
    )]
    pub members: usize,
}

/// A complaint about a Lease's configuration, in the words of the flags.
fn in_flags(complaint: &str) -> String {
    let fields = [
        ("lease_duration", "--lease-duration"),
        ("renew_deadline", "--renew-deadline"),
        ("retry_period", "--retry-period"),
        ("namespace (", "--namespace ("),
        ("name (", "--lease ("),
        ("member must", "--member must"),
    ];
    let said = complaint.to_owned();
    fields.iter().fold(said, |said, (field, flag)| {
        if said.contains(flag) {
            return said;
        }
        said.replace(field, flag)
    })
}

/// What stands for a member in REPLICAOF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReachBy {
    /// Its name in DNS, which stays.
    Names,
    /// Its IP address.
    Addresses,
}

impl Checked for Settings {
    fn log_format(&self) -> LogFormat {
        self.agent.log_format
    }

    fn check(&self) -> Result<(), String> {
        self.agent.check()?;
        check_ports(&[
            ("--leader-listen", Some(self.leader_listen)),
            ("--peer-listen", self.peer_listen),
        ])?;
        if self.failsafe != self.peer_listen.is_some() {
            return Err("--failsafe and --peer-listen need each other".to_owned());
        }
        check_durations(&[
            ("--lease-duration", self.lease_duration),
            ("--renew-deadline", self.renew_deadline),
            ("--retry-period", self.retry_period),
            ("--form-timeout", self.form_timeout),
        ])?;
        self.election(watch::channel(Peers::new()).1)
            .check()
            .map_err(|error| in_flags(&error.to_string()))?;
        if self.role_label.is_some() != self.role_pods.is_some() {
            return Err("--role-label and --role-pods need each other".to_owned());
        }
        let demanded = self.agent.min_replicas_to_write as usize;
        if self.members > 0 && demanded >= self.members {
            return Err(format!(
                "--min-replicas-to-write ({demanded}) must be less than --members ({})",
                self.members
            ));
        }
        if self.reach_by == ReachBy::Addresses && self.advertised("").is_none() {
            // What the API says of the own address may be out of date when a pod starts anew.
            return Err("--reach-by addresses needs --advertise or --advertise-redis".to_owned());
        }
        check_host("--advertise", self.advertise.as_deref())?;
        check_group(self.group())
    }
}

impl Settings {
    pub(crate) fn group(&self) -> &str {
        self.group.as_deref().unwrap_or(&self.lease)
    }

    /// Where the others reach the own server, if that was given, or follows from its name; the
    /// namespace counts where no other was given.
    pub(crate) fn advertised(&self, namespace: &str) -> Option<Address> {
        let namespace = self.namespace.as_deref().unwrap_or(namespace);
        let by_name = || match self.reach_by {
            ReachBy::Names => self.discovery().host_of(&self.member, namespace),
            ReachBy::Addresses => None,
        };
        let host = || self.advertise.clone().or_else(by_name);
        let given = self.advertise_redis.clone();
        given.or_else(|| Some(Address::new(host()?, self.agent.server.redis.port)))
    }

    /// With failsafe, `peers` are asked.
    pub(crate) fn election(&self, peers: watch::Receiver<Peers>) -> LeaseConfig {
        let mut config = LeaseConfig::new(&self.lease, &self.member);
        config.namespace.clone_from(&self.namespace);
        config.lease_duration = self.lease_duration;
        config.renew_deadline = self.renew_deadline;
        config.retry_period = self.retry_period;
        let peer_listen = self.peer_listen.filter(|_| self.failsafe);
        config.failsafe = peer_listen.map(|listen| Failsafe::new(listen, peers));
        config
    }

    pub(crate) fn discovery(&self) -> KubernetesConfig {
        let source = Source::Service(self.headless_service.clone());
        let mut config = KubernetesConfig::new(source, self.agent.server.redis.port);
        config.namespace.clone_from(&self.namespace);
        let names = self.reach_by == ReachBy::Names;
        config.headless_service = names.then(|| self.headless_service.clone());
        config.cluster_domain.clone_from(&self.cluster_domain);
        config
    }

    pub(crate) fn announcer(&self) -> Option<AnnouncerConfig> {
        let mut config = AnnouncerConfig::new(self.leader_service.clone()?);
        config.namespace.clone_from(&self.namespace);
        if let (Some(key), Some(pods)) = (&self.role_label, &self.role_pods) {
            let mut label = RoleLabel::new(pods);
            label.key.clone_from(key);
            config.role_label = Some(label);
        }
        Some(config)
    }
}
