//! Redis, highly available on Kubernetes: the composition behind `bellwether-lease`.
//!
//! Each pod runs a redis-server and this agent. A Lease says whose agent leads; its sidecar makes
//! its server primary, once that is proven to be the right one, and only then points the Service at
//! its pod. Clients reach the primary through the leader port of that pod, which forwards only while
//! the lease lasts.

mod cluster;
mod leader;
mod members;
mod report;
mod settings;

use std::{future::Future, sync::Arc};

use anyhow::Context as _;
use bellwether_admin::{Admin, AdminConfig};
use bellwether_discovery::{Announcer, Kubernetes};
use bellwether_election::{Election as _, Lease, Participant, seat};
use bellwether_hive::{
    bridge,
    cli::Misconfigured,
    ports::Ports,
    tasks::{Tasks, premature},
};
use bellwether_proxy::{Orphans, Proxy, ProxyConfig, Topology};
use bellwether_replication::{Address, Handle, Server, Sidecar, SidecarConfig};
use bytes::Bytes;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};
use tracing::info;

use leader::Front;
use members::Roster;
use report::Reporter;
pub use settings::Settings;

/// Runs an agent until `stop` ends, then hands over and ends.
///
/// # Errors
///
/// [`Misconfigured`] when the configuration cannot work; else when an address cannot be listened on,
/// or a part of the agent ends that never should.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut tasks = Tasks::new();
    tokio::pin!(stop);

    let client = cluster::connect().await?;
    let mut election = Lease::new(client.clone(), settings.election()).context(Misconfigured)?;
    let discovery = Kubernetes::new(client.clone(), settings.discovery()).context(Misconfigured)?;
    let announcer = settings
        .announcer()
        .map(|config| Announcer::new(client.clone(), config))
        .transpose()
        .context(Misconfigured)?;

    // What the proxies record from the start on; a process has one recorder.
    let recorded = settings
        .admin_listen
        .map(|_| PrometheusBuilder::new().install_recorder())
        .transpose()
        .context("metrics cannot be recorded")?;
    let front = Front::new();
    let readers = watch::Sender::default();
    let ports = ports(&settings, &front, &readers)?;
    let (roster_in, mut roster) = watch::channel(Roster::new());
    let (problem_in, discovery_problem) = watch::channel(None);
    let reporter = Reporter::new(
        settings.member.clone(),
        election.status(),
        discovery_problem,
        announcer.as_ref().map(Announcer::announcement),
    );
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
        let reports = reporter.reports();
        tasks.spawn(async move {
            admin.run(reports, requests, std::future::pending()).await;
            Ok(())
        });
    }
    cluster::check_services(&client, &settings).await?;

    tasks.spawn(members::follow(discovery, roster_in, problem_in));
    let address = tokio::select! {
        address = members::own_address(settings.advertised(), &settings.member, &mut roster) => address,
        () = &mut stop => return Ok(()),
        ended = tasks.join_next() => return Err(premature(ended)),
    };
    let server = Server {
        name: settings.member.clone(),
        address: address.context("discovery ended")?,
    };
    info!(name = server.name, redis = %server.address, "the others reach this member here");
    let (participant, seat) = seat(Bytes::new());
    let (sidecar, handle) = sidecar(&settings, server.clone(), roster, participant);
    tasks.spawn(bridge::carry_out(requested, handle.clone()));
    if let Some(mut announcer) = announcer {
        let leaders = front.service.subscribe();
        tasks.spawn(async move {
            announcer.run(leaders).await;
            std::future::pending().await
        });
    }
    let local = settings.server.redis.clone();
    let agent = async {
        let election = async { election.run(seat).await.context("the election ended") };
        let sidecar = async {
            tokio::join!(
                sidecar.run(),
                front.feed(&server, &local, handle.view()),
                reporter.feed(handle.clone(), &readers),
            );
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
    info!("hand over and end");
    let deadline = Instant::now() + settings.shutdown_timeout;
    let left = async { tokio::join!(handle.leave(), &mut agent).1 };
    let left = timeout_at(deadline, left).await;
    ports
        .shutdown(deadline.saturating_duration_since(Instant::now()))
        .await;
    match left {
        Ok(result) => result,
        Err(_) => anyhow::bail!("the hand-over did not end within --shutdown-timeout"),
    }
}

/// Starts what clients connect to.
fn ports(
    settings: &Settings,
    front: &Front,
    readers: &watch::Sender<Arc<Topology>>,
) -> anyhow::Result<Ports> {
    let config = |listen| {
        let mut config = ProxyConfig::new(listen);
        config.max_clients = settings.max_clients;
        config.local_only = settings.is_protected();
        config
    };
    let mut leading = config(settings.leader_listen);
    // Clients come through the Service, which names another pod by then.
    leading.orphans = Orphans::Close;
    let primary = Proxy::start(leading, front.port.subscribe()).context("--leader-listen")?;
    let replica = settings.replica_listen.map(|listen| {
        Proxy::start(config(listen), readers.subscribe()).context("--replica-listen")
    });
    let replica = replica.transpose()?;
    info!(address = %primary.local_addr(), "clients are served here while this agent leads");
    if let Some(replica) = &replica {
        info!(address = %replica.local_addr(), "clients are brought to a replica");
    }
    Ok(Ports { primary, replica })
}

fn sidecar(
    settings: &Settings,
    server: Server,
    roster: watch::Receiver<Roster>,
    participant: Participant,
) -> (Sidecar, Handle) {
    let mut config = SidecarConfig::new(settings.group(), server);
    config.down_after = settings.down_after;
    config.answer_timeout = settings.answer_timeout;
    config.form_timeout = settings.form_timeout;
    config.expected_members = settings.members;
    config.allow_data_loss = settings.allow_data_loss;
    let flags = settings.server.clone();
    let own = flags.instance(flags.redis.clone(), config.down_after);
    let patience = config.answer_timeout;
    let connect = Box::new(move |address: &Address| flags.instance(address.clone(), patience));
    let (sidecar, handle) = Sidecar::new(config, own, connect, participant);
    (sidecar.with_members(roster), handle)
}
