//! Redis, highly available without a quorum: the composition behind `bellwether-hive`.
//!
//! DNS or a fixed list says who is there, the timestamp election who leads, the sidecar makes the
//! own server follow that, and the proxy brings clients to the primary. With the network cut in
//! two, each side may have a primary; when it heals, one side's writes are dropped and logged.

mod advertise;
mod bridge;
pub mod cli;
mod password;
mod settings;
mod token;

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use anyhow::Context as _;
use bellwether_admin::{Admin, AdminConfig};
use bellwether_discovery::{Discovery, DnsConfig};
use bellwether_election::{Election as _, Participant, Timestamp, TimestampConfig, seat};
use bellwether_proxy::{Proxy, ProxyConfig};
use bellwether_replication::{
    Address, Handle, Instance, Redis, RedisOptions, Server, Sidecar, SidecarConfig,
};
use bellwether_resp::Credentials;
use bytes::Bytes;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
    time::{Instant, timeout_at},
};
use tracing::{info, warn};

use self::bridge::Outlets;
pub use password::Password;
pub use settings::{Settings, YesNo};
pub use token::Token;

/// Host and port of each agent.
type PeerAddresses = BTreeSet<(String, u16)>;

/// Runs an agent until `stop` ends, then hands over and ends.
///
/// # Errors
///
/// When an address cannot be listened on, or a part of the agent ends that never should.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut tasks = Tasks::new();
    tokio::pin!(stop);

    // What the proxies record from the start on; a process has one recorder.
    let recorded = settings
        .admin_listen
        .map(|_| PrometheusBuilder::new().install_recorder())
        .transpose()
        .context("metrics cannot be recorded")?;
    // Clients and probes are answered from the start, though not served yet.
    let outlets = Outlets::new();
    let proxies = Proxies::start(&settings, &outlets)?;
    let (requests, requested) = mpsc::channel(2);
    if let Some(listen) = settings.admin_listen {
        let mut admin = Admin::bind(AdminConfig::new(listen))
            .await
            .context("--admin-listen")?
            .with_metrics(move || {
                recorded
                    .as_ref()
                    .map_or_else(String::new, PrometheusHandle::render)
            });
        if let Some(token) = &settings.admin_token_file {
            admin = admin.with_token(token.secret());
        }
        let reports = outlets.reports.subscribe();
        tasks.spawn(async move {
            admin.run(reports, requests, std::future::pending()).await;
            Ok(())
        });
    }

    let mut dns = DnsConfig::default();
    dns.servers.clone_from(&settings.dns_servers);
    let discovery = settings
        .peers
        .clone()
        .into_discovery(dns)
        .context("--peers")?;
    let (addresses, mut peers) = watch::channel(PeerAddresses::new());
    tasks.spawn(follow_discovery(discovery, addresses));

    let host = tokio::select! {
        host = advertise::host(settings.advertise.clone(), &mut peers) => host,
        () = &mut stop => return Ok(()),
        ended = tasks.join_next() => return Err(premature(ended)),
    };
    let server = own_server(&settings, host);
    let mut election =
        Timestamp::new(election_config(&settings, &server), peers).context("--peer-listen")?;
    let (participant, seat) = seat(Bytes::new());
    let (sidecar, handle) = sidecar(&settings, server.clone(), participant);
    tasks.spawn(bridge::carry_out(requested, handle.clone()));
    let agent = async {
        let election = async { election.run(seat).await.context("the election ended") };
        let sidecar = async {
            tokio::join!(sidecar.run(), outlets.feed(server.name, handle.clone()));
            Ok(())
        };
        tokio::try_join!(election, sidecar).map(drop)
    };
    tokio::pin!(agent);

    tokio::select! {
        () = &mut stop => {}
        ended = &mut agent => return ended.and(Err(premature(None))),
        () = proxies.ended() => anyhow::bail!("a worker of the proxy ended"),
        ended = tasks.join_next() => return Err(premature(ended)),
    }
    info!("hand over and end");
    let deadline = Instant::now() + settings.shutdown_timeout;
    let left = async { tokio::join!(handle.leave(), &mut agent).1 };
    let left = timeout_at(deadline, left).await;
    proxies
        .shutdown(deadline.saturating_duration_since(Instant::now()))
        .await;
    match left {
        Ok(result) => result,
        Err(_) => anyhow::bail!("the hand-over did not end within --shutdown-timeout"),
    }
}

/// The tasks of an agent, none of which should end by itself.
type Tasks = JoinSet<anyhow::Result<()>>;

fn premature(ended: Option<Result<anyhow::Result<()>, JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => anyhow::Error::new(error).context("a task panicked"),
        Some(Ok(Ok(()))) | None => anyhow::anyhow!("a task ended that never should"),
    }
}

struct Proxies {
    primary: Proxy,
    replica: Option<Proxy>,
}

impl Proxies {
    fn start(settings: &Settings, outlets: &Outlets) -> anyhow::Result<Self> {
        let config = |listen| {
            let mut config = ProxyConfig::new(listen);
            config.hold = settings.hold;
            config.max_clients = settings.max_clients;
            config.workers = settings.workers.unwrap_or(config.workers);
            config.local_only = settings.is_protected();
            config
        };
        let primary = Proxy::start(config(settings.listen), outlets.to_primary.subscribe());
        let replica = settings.replica_listen.map(|listen| {
            Proxy::start(config(listen), outlets.to_replica.subscribe()).context("--replica-listen")
        });
        let proxies = Self {
            primary: primary.context("--listen")?,
            replica: replica.transpose()?,
        };
        info!(address = %proxies.primary.local_addr(), "clients are brought to the primary");
        if let Some(replica) = &proxies.replica {
            info!(address = %replica.local_addr(), "clients are brought to a replica");
        }
        Ok(proxies)
    }

    async fn ended(&self) {
        let replica = async {
            match &self.replica {
                Some(replica) => replica.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.primary.ended() => {}
            () = replica => {}
        }
    }

    async fn shutdown(self, within: Duration) {
        let replica = async {
            if let Some(replica) = self.replica {
                replica.shutdown(within).await;
            }
        };
        tokio::join!(self.primary.shutdown(within), replica);
    }
}

/// This member's name, and where the others reach its server.
fn own_server(settings: &Settings, host: String) -> Server {
    let redis = Address::new(host.clone(), settings.redis.port);
    let server = Server {
        name: Address::new(host, settings.peer_listen.port()).to_string(),
        address: settings.advertise_redis.clone().unwrap_or(redis),
    };
    info!(name = server.name, redis = %server.address, "the others reach this member here");
    server
}

fn election_config(settings: &Settings, server: &Server) -> TimestampConfig {
    let mut config = TimestampConfig::new(&settings.group, &server.name, settings.peer_listen);
    let at: Result<Address, _> = server.name.parse();
    config.advertise = at.ok().map(|at| (at.host, at.port));
    config.heartbeat = settings.heartbeat;
    config.lost_after = settings.lost_after;
    config.form_timeout = settings.form_timeout;
    config
}

fn sidecar(settings: &Settings, server: Server, participant: Participant) -> (Sidecar, Handle) {
    let mut config = SidecarConfig::new(server);
    config.down_after = settings.down_after;
    config.answer_timeout = settings.answer_timeout;
    config.allow_data_loss = settings.allow_data_loss;
    let own = redis(settings, settings.redis.clone(), config.down_after);
    let (for_others, patience) = (settings.clone(), config.answer_timeout);
    let connect = Box::new(move |address: &Address| redis(&for_others, address.clone(), patience));
    Sidecar::new(config, own, connect, participant)
}

fn redis(settings: &Settings, address: Address, timeout: Duration) -> Arc<dyn Instance> {
    let credentials = |user: &Option<String>, password: &Option<Password>| {
        password.as_ref().map(|password| Credentials {
            user: user.clone(),
            password: password.secret(),
        })
    };
    let control = credentials(&settings.redis_user, &settings.redis_password_from);
    let replication = credentials(
        &settings.replication_user,
        &settings.replication_password_from,
    );
    let mut options = RedisOptions::default();
    options.timeout = Some(timeout);
    options.replication_credentials = replication.or_else(|| control.clone());
    options.credentials = control;
    Arc::new(Redis::new(address, options))
}

async fn follow_discovery(
    mut discovery: Box<dyn Discovery>,
    addresses: watch::Sender<PeerAddresses>,
) -> anyhow::Result<()> {
    loop {
        match discovery.changed().await {
            Ok(members) => {
                let names: Vec<_> = members.iter().map(ToString::to_string).collect();
                info!(peers = names.join(","), "discovered");
                addresses.send_replace(members.into_iter().map(|m| (m.host, m.port)).collect());
            }
            Err(error) => warn!("{:#}", anyhow::Error::new(error)),
        }
    }
}
