//! Redis, highly available without a quorum: the composition behind `bellwether-hive`.
//!
//! DNS or a fixed list says who is there, the timestamp election who leads, the sidecar makes the
//! own server follow that, and the proxy brings clients to the primary. With the network cut in
//! two, each side may have a primary; when it heals, one side's writes are dropped and logged.

mod advertise;
mod agent;
pub mod bridge;
pub mod cli;
mod figures;
mod password;
pub mod ports;
mod servers;
mod settings;
pub mod tasks;
mod token;

use std::{collections::BTreeSet, future::Future};

use anyhow::Context as _;
use bellwether_discovery::{Discovery, DnsConfig};
use bellwether_election::{Election as _, Participant, Timestamp, TimestampConfig, seat};
use bellwether_replication::{Address, Handle, Server, Sidecar, SidecarConfig};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use self::{
    bridge::Outlets,
    ports::Ports,
    tasks::{Tasks, premature},
};
pub use agent::{AgentFlags, YesNo, hand_over};
pub use figures::{Figures, Outside};
pub use password::Password;
pub use servers::ServerFlags;
pub use settings::Settings;
pub use token::Token;

/// What is answered to who wants to pause automatic failover. An agent that began anew, or was cut off,
/// would not know of it.
const CANNOT_PAUSE: &str = "this program cannot pause: its members vote among themselves and keep \
    nothing, so there is no place where a pause would hold for all; to keep a server from taking over, \
    set its replica-priority to 0";

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

    // Clients and probes are answered from the start, though not served yet.
    let outlets = Outlets::new();
    let (requests, requested) = mpsc::channel(2);
    let reports = outlets.reports.subscribe();
    let figures = Figures::default();
    settings
        .agent
        .admin(reports, requests, figures.clone(), &mut tasks)
        .await?;
    let ports = ports(&settings, &outlets)?;

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
    figures.follow(&server.name, &handle);
    let pause = |_| async { Err(CANNOT_PAUSE.to_owned()) };
    tasks.spawn(bridge::carry_out(requested, handle.clone(), pause, || None));
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
        () = ports.ended() => anyhow::bail!("a worker of the proxy ended"),
        ended = tasks.join_next() => return Err(premature(ended)),
    }
    hand_over(&handle, agent, ports, settings.agent.shutdown_timeout).await
}

/// Starts what clients connect to.
fn ports(settings: &Settings, outlets: &Outlets) -> anyhow::Result<Ports> {
    let mut config = settings.agent.proxy(settings.listen);
    config.hold = settings.hold;
    config.workers = settings.workers.unwrap_or(config.workers);
    settings.agent.ports(
        ("--listen", config),
        outlets.to_primary.subscribe(),
        outlets.to_replica.subscribe(),
    )
}

/// This member's name, and where the others reach its server.
fn own_server(settings: &Settings, host: String) -> Server {
    let redis = Address::new(host.clone(), settings.agent.server.redis.port);
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
    let mut config = SidecarConfig::new(&settings.group, server);
    config.form_timeout = settings.form_timeout;
    settings.agent.sidecar(config, participant)
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
