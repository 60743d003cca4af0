//! What every agent beside a server has alike: flags, and the parts that follow from them.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use bellwether_admin::{Admin, AdminConfig, Report, Request};
use bellwether_election::Participant;
use bellwether_proxy::{Proxy, ProxyConfig, Topology};
use bellwether_replication::{Address, Handle, Sidecar, SidecarConfig};
use clap::{Args, ValueEnum};
use humantime::parse_duration;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};
use tracing::info;

use crate::{
    Figures, ServerFlags, Token,
    cli::{LogFormat, check_durations, check_ports},
    ports::Ports,
    tasks::Tasks,
};

/// More members than that are not remembered.
const MOST_REPLICAS: u32 = 64;

/// The flags of every agent beside a server.
#[derive(Clone, Debug, Args)]
pub struct AgentFlags {
    /// The own server, and how all servers are logged in to.
    #[command(flatten)]
    pub server: ServerFlags,

    /// Where clients connect that only read, to be brought to a replica, the own one first; to the
    /// primary while there is none. Not offered by default.
    #[arg(long, env = "BELLWETHER_REPLICA_LISTEN", value_name = "ADDR:PORT")]
    pub replica_listen: Option<SocketAddr>,

    /// Where /livez, /readyz, /primary, /replica[?lag=BYTES], /status, /metrics and POST
    /// /switchover, /pause and /resume are answered. Not offered by default.
    #[arg(long, env = "BELLWETHER_ADMIN_LISTEN", value_name = "ADDR:PORT")]
    pub admin_listen: Option<SocketAddr>,

    /// A file with the token that each POST to --admin-listen must then give, as "Authorization:
    /// Bearer TOKEN". Without it they are taken from this machine only.
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

    /// How long the own server may leave a question unanswered before it counts as hung.
    #[arg(long, env = "BELLWETHER_DOWN_AFTER", value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub down_after: Duration,

    /// How long another member's server may take to answer: at least a few round trips of the
    /// network. It delays a failover when the old primary hangs.
    #[arg(long, env = "BELLWETHER_ANSWER_TIMEOUT", value_name = "DURATION", default_value = "200ms", value_parser = parse_duration)]
    pub answer_timeout: Duration,

    /// How many replicas the primary must have to take writes, where the group has other members:
    /// so a primary that is cut off stops by itself, even without its agent. 0: as many as its own
    /// configuration says.
    #[arg(
        long,
        env = "BELLWETHER_MIN_REPLICAS_TO_WRITE",
        value_name = "N",
        default_value_t = 0
    )]
    pub min_replicas_to_write: u32,

    /// How old the last word of such a replica may be; whole seconds, from 1s to 1m.
    #[arg(long, env = "BELLWETHER_MIN_REPLICAS_MAX_LAG", value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    pub min_replicas_max_lag: Duration,

    /// Lets an empty server, or another group's, become primary although others have data, which
    /// they then lose.
    #[arg(long, env = "BELLWETHER_ALLOW_DATA_LOSS")]
    pub allow_data_loss: bool,

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

/// A switch that is written as Redis writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum YesNo {
    /// On.
    Yes,
    /// Off.
    No,
}

impl AgentFlags {
    /// Checks what the flags mean together.
    ///
    /// # Errors
    ///
    /// One line that names the flags.
    pub fn check(&self) -> Result<(), String> {
        check_ports(&[
            ("--replica-listen", self.replica_listen),
            ("--admin-listen", self.admin_listen),
        ])?;
        check_durations(&[
            ("--down-after", self.down_after),
            ("--answer-timeout", self.answer_timeout),
            ("--shutdown-timeout", self.shutdown_timeout),
        ])?;
        self.server.check()?;
        if self.admin_token_file.is_some() && self.admin_listen.is_none() {
            return Err("--admin-token-file needs --admin-listen".to_owned());
        }
        if self.max_clients == 0 {
            return Err("--max-clients must be at least 1".to_owned());
        }
        self.check_replicas()
    }

    fn check_replicas(&self) -> Result<(), String> {
        let (count, lag) = (self.min_replicas_to_write, self.min_replicas_max_lag);
        if count > MOST_REPLICAS {
            return Err(format!(
                "--min-replicas-to-write is {count}, it must be from 0 to {MOST_REPLICAS}"
            ));
        }
        if lag.subsec_nanos() != 0 || !(1..=60).contains(&lag.as_secs()) {
            return Err("--min-replicas-max-lag must be whole seconds, from 1s to 1m".to_owned());
        }
        Ok(())
    }

    /// How clients of this port are served.
    #[must_use]
    pub fn proxy(&self, listen: SocketAddr) -> ProxyConfig {
        let mut config = ProxyConfig::new(listen);
        config.max_clients = self.max_clients;
        config.local_only =
            self.protected_mode == YesNo::Yes && self.server.redis_password_from.is_none();
        config
    }

    /// Starts what clients connect to: the primary's port by this configuration, and the readers'
    /// if it is offered.
    ///
    /// # Errors
    ///
    /// When an address cannot be listened on; `flag` names the primary's.
    pub fn ports(
        &self,
        (flag, primary): (&'static str, ProxyConfig),
        to_primary: watch::Receiver<Arc<Topology>>,
        to_replica: watch::Receiver<Arc<Topology>>,
    ) -> anyhow::Result<Ports> {
        let for_readers = |listen| {
            let mut config = self.proxy(listen);
            config.hold = primary.hold;
            config.workers = primary.workers;
            Proxy::start(config, to_replica).context("--replica-listen")
        };
        let replica = self.replica_listen.map(for_readers).transpose()?;
        let primary = Proxy::start(primary, to_primary).context(flag)?;
        info!(address = %primary.local_addr(), "clients are brought to the primary");
        if let Some(replica) = &replica {
            info!(address = %replica.local_addr(), "clients are brought to a replica");
        }
        Ok(Ports { primary, replica })
    }

    /// Answers on the admin port, if there is one, and records what `/metrics` tells from now on: a
    /// process has one recorder. What the `figures` say is as of the moment when it is asked for.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on, or something else records already.
    pub async fn admin(
        &self,
        reports: watch::Receiver<Arc<Report>>,
        requests: mpsc::Sender<Request>,
        figures: Figures,
        tasks: &mut Tasks,
    ) -> anyhow::Result<()> {
        let Some(listen) = self.admin_listen else {
            return Ok(());
        };
        let recorded = PrometheusBuilder::new().install_recorder();
        let recorded = recorded.context("metrics cannot be recorded")?;
        let latest = reports.clone();
        let mut admin = Admin::bind(AdminConfig::new(listen))
            .await
            .context("--admin-listen")?
            .with_metrics(move || figures.render(&latest) + &recorded.render());
        if let Some(token) = &self.admin_token_file {
            admin = admin.with_token(token.secret());
        }
        tasks.spawn(async move {
            admin.run(reports, requests, std::future::pending()).await;
            Ok(())
        });
        Ok(())
    }

    /// The sidecar of the own server.
    #[must_use]
    pub fn sidecar(
        &self,
        mut config: SidecarConfig,
        participant: Participant,
    ) -> (Sidecar, Handle) {
        config.down_after = self.down_after;
        config.answer_timeout = self.answer_timeout;
        config.min_replicas_to_write = self.min_replicas_to_write;
        config.min_replicas_max_lag = self.min_replicas_max_lag;
        config.allow_data_loss = self.allow_data_loss;
        let (flags, patience) = (self.server.clone(), self.answer_timeout);
        let own = flags.instance(flags.redis.clone(), self.down_after);
        let connect = Box::new(move |address: &Address| flags.instance(address.clone(), patience));
        Sidecar::new(config, own, connect, participant)
    }
}

/// Hands over and ends: the sidecar leaves, which ends the `agent`, then clients have their answers.
///
/// # Errors
///
/// When the agent fails at that, or it is not done within `within`.
pub async fn hand_over(
    handle: &Handle,
    agent: impl Future<Output = anyhow::Result<()>>,
    ports: Ports,
    within: Duration,
) -> anyhow::Result<()> {
    info!("hand over and end");
    let deadline = Instant::now() + within;
    let left = async { tokio::join!(handle.leave(), agent).1 };
    let left = timeout_at(deadline, left).await;
    ports
        .shutdown(deadline.saturating_duration_since(Instant::now()))
        .await;
    match left {
        Ok(result) => result,
        Err(_) => anyhow::bail!("the hand-over did not end within --shutdown-timeout"),
    }
}
