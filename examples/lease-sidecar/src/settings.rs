use std::{net::SocketAddr, time::Duration};

use bellwether_discovery::{AnnouncerConfig, KubernetesConfig, RoleLabel, Source};
use bellwether_election::LeaseConfig;
use bellwether_hive::{
    ServerFlags, Token, YesNo,
    cli::{Checked, LogFormat},
};
use bellwether_replication::Address;
use clap::{Parser, ValueEnum};
use humantime::parse_duration;

/// Longer than anything here may sensibly take.
const LONGEST: Duration = Duration::from_secs(3600);

/// Keeps a group of Redis servers available on Kubernetes.
///
/// One agent runs beside each redis-server, in its pod. The agents compete for a Lease; the holder's
/// server becomes primary, the others follow it, and a Service is pointed at the holder's pod. Start
/// each redis-server with `--replicaof 127.0.0.1 1 --repl-diskless-sync no`. Passwords come from
/// the environment or from a file. Durations are written as 100ms, 1s or 2m.
#[derive(Clone, Debug, Parser)]
#[command(name = "bellwether-lease", version)]
pub struct Settings {
    /// The own server, and how all servers are logged in to.
    #[command(flatten)]
    pub server: ServerFlags,

    /// Where clients connect to the own server while this agent leads; they are cut when it does
    /// so no more.
    #[arg(
        long,
        env = "BELLWETHER_LEADER_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "0.0.0.0:6378"
    )]
    pub leader_listen: SocketAddr,

    /// Where clients connect that only read, to be brought to a replica, the own one first; to the
    /// primary while there is none. Not offered by default.
    #[arg(long, env = "BELLWETHER_REPLICA_LISTEN", value_name = "ADDR:PORT")]
    pub replica_listen: Option<SocketAddr>,

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

    /// How long the own server may leave a question unanswered before it counts as hung.
    #[arg(long, env = "BELLWETHER_DOWN_AFTER", value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub down_after: Duration,

    /// How long another member's server may take to answer: at least a few round trips of the
    /// network. It delays a failover when the old primary hangs.
    #[arg(long, env = "BELLWETHER_ANSWER_TIMEOUT", value_name = "DURATION", default_value = "200ms", value_parser = parse_duration)]
    pub answer_timeout: Duration,

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

    /// Lets an empty server, or another group's, become primary although others have data, which
    /// they then lose.
    #[arg(long, env = "BELLWETHER_ALLOW_DATA_LOSS")]
    pub allow_data_loss: bool,

    /// Where /livez, /readyz, /primary, /replica, /status, /metrics and POST /switchover are
    /// answered. Not offered by default.
    #[arg(long, env = "BELLWETHER_ADMIN_LISTEN", value_name = "ADDR:PORT")]
    pub admin_listen: Option<SocketAddr>,

    /// A file with the token that POSTs to the admin port have to bear. Without it they are taken
    /// from this machine only.
    #[arg(long, env = "BELLWETHER_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<Token>,

    /// As Redis's: with "yes", and no password given, clients are served only from this machine.
    #[arg(
        long,
        env = "BELLWETHER_PROTECTED_MODE",
        value_name = "yes|no",
        default_value = "yes"
    )]
    pub protected_mode: YesNo,

    /// How many clients may be connected at a time.
    #[arg(
        long,
        env = "BELLWETHER_MAX_CLIENTS",
        value_name = "N",
        default_value_t = 10_000
    )]
    pub max_clients: usize,

    /// How long an orderly end may take, the hand-over included.
    #[arg(long, env = "BELLWETHER_SHUTDOWN_TIMEOUT", value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub shutdown_timeout: Duration,

    /// How log lines are written to stderr; RUST_LOG chooses which.
    #[arg(
        long,
        env = "BELLWETHER_LOG_FORMAT",
        value_name = "text|json",
        default_value = "text"
    )]
    pub log_format: LogFormat,
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
        self.log_format
    }

    fn check(&self) -> Result<(), String> {
        let listens = [
            ("--leader-listen", Some(self.leader_listen)),
            ("--replica-listen", self.replica_listen),
            ("--admin-listen", self.admin_listen),
        ];
        for (flag, address) in listens {
            if address.is_some_and(|address| address.port() == 0) {
                return Err(format!("{flag}: the port must be between 1 and 65535"));
            }
        }
        self.server.check()?;
        if self.admin_token_file.is_some() && self.admin_listen.is_none() {
            return Err("--admin-token-file needs --admin-listen".to_owned());
        }
        let shortest = Duration::from_millis(10);
        let durations = [
            ("--lease-duration", self.lease_duration),
            ("--renew-deadline", self.renew_deadline),
            ("--retry-period", self.retry_period),
            ("--down-after", self.down_after),
            ("--answer-timeout", self.answer_timeout),
            ("--form-timeout", self.form_timeout),
            ("--shutdown-timeout", self.shutdown_timeout),
        ];
        for (flag, duration) in durations {
            if !(shortest..=LONGEST).contains(&duration) {
                return Err(format!("{flag} must be from {shortest:?} to {LONGEST:?}"));
            }
        }
        self.election()
            .check()
            .map_err(|error| in_flags(&error.to_string()))?;
        if self.role_label.is_some() != self.role_pods.is_some() {
            return Err("--role-label and --role-pods need each other".to_owned());
        }
        if self.reach_by == ReachBy::Addresses && self.advertised().is_none() {
            // What the API says of the own address may be out of date when a pod starts anew.
            return Err("--reach-by addresses needs --advertise or --advertise-redis".to_owned());
        }
        if self.max_clients == 0 {
            return Err("--max-clients must be at least 1".to_owned());
        }
        let group = self.group().len();
        if !(1..=255).contains(&group) {
            return Err(format!("--group has {group} bytes, it must have 1 to 255"));
        }
        Ok(())
    }
}

impl Settings {
    pub(crate) fn is_protected(&self) -> bool {
        self.protected_mode == YesNo::Yes && self.server.redis_password_from.is_none()
    }

    pub(crate) fn group(&self) -> &str {
        self.group.as_deref().unwrap_or(&self.lease)
    }

    /// Where the others reach the own server, if that was given.
    pub(crate) fn advertised(&self) -> Option<Address> {
        let host = || self.advertise.clone();
        let given = self.advertise_redis.clone();
        given.or_else(|| Some(Address::new(host()?, self.server.redis.port)))
    }

    pub(crate) fn election(&self) -> LeaseConfig {
        let mut config = LeaseConfig::new(&self.lease, &self.member);
        config.namespace.clone_from(&self.namespace);
        config.lease_duration = self.lease_duration;
        config.renew_deadline = self.renew_deadline;
        config.retry_period = self.retry_period;
        config
    }

    pub(crate) fn discovery(&self) -> KubernetesConfig {
        let source = Source::Service(self.headless_service.clone());
        let mut config = KubernetesConfig::new(source, self.server.redis.port);
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
