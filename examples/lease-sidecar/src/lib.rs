//! Redis, highly available on Kubernetes: the composition behind `bellwether-lease`.
//!
//! Each pod runs a redis-server and this agent. A Lease says whose agent leads; its sidecar makes
//! its server primary, once that is proven to be the right one, and only then points the Service at
//! its pod. Clients reach the primary through the leader port of that pod, which forwards only while
//! the lease lasts.

mod cluster;
mod events;
mod leader;
mod members;
mod report;
mod settings;

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::Context as _;
use bellwether_discovery::{Announcer, Kubernetes};
use bellwether_election::{Election as _, Error, Lease, LeaseStatus, Participant, seat};
use bellwether_hive::{
    Figures, Outside, YesNo, bridge,
    cli::Misconfigured,
    hand_over,
    ports::Ports,
    tasks::{Tasks, premature},
};
use bellwether_proxy::{Orphans, Topology};
use bellwether_replication::{Handle, Server, Sidecar, SidecarConfig};
use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::info;

use events::{Counts, Teller};
use leader::Front;
use members::{Peers, Roster};
use report::Reporter;
pub use settings::Settings;

/// How long the Services are looked for before the election begins: an API that is there answers by
/// then. One that is away must not keep this agent from confirming a leader.
const HEAD_START: Duration = Duration::from_millis(500);

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
    let (peers_in, peers) = watch::channel(Peers::new());
    let election = Lease::new(client.clone(), settings.election(peers));
    let mut election = election.map_err(|error| match error {
        // What listens there may be about to end.
        Error::Listen { .. } => anyhow::Error::from(error).context("--peer-listen"),
        _ => anyhow::Error::from(error).context(Misconfigured),
    })?;
    let discovery = Kubernetes::new(client.clone(), settings.discovery()).context(Misconfigured)?;
    let announcer = settings
        .announcer()
        .map(|config| Announcer::new(client.clone(), config))
        .transpose()
        .context(Misconfigured)?;

    let front = Front::new();
    let readers = watch::Sender::default();
    let (roster_in, mut roster) = watch::channel(Roster::new());
    let (problem_in, discovery_problem) = watch::channel(None);
    let reporter = Reporter::new(
        settings.member.clone(),
        election.status(),
        discovery_problem,
        announcer.as_ref().map(Announcer::announcement),
    );
    let lease = election.status();
    let teller = (settings.events == YesNo::Yes).then(|| Teller::new(client.clone(), &settings));
    let counts = teller.as_ref().map(Teller::counts);
    let figures = Figures::default().with_outside(move || {
        let counts = counts.as_ref().map(|counts| *counts.borrow());
        outside(&lease.borrow(), counts.unwrap_or_default())
    });
    let (requests, requested) = mpsc::channel(2);
    settings
        .agent
        .admin(reporter.reports(), requests, figures.clone(), &mut tasks)
        .await?;
    let ports = ports(&settings, &front, &readers)?;
    if let Some(listen) = settings.peer_listen {
        tasks.spawn(members::beside(roster.clone(), listen.port(), peers_in));
    }

    let member = settings.member.clone();
    tasks.spawn(members::follow(discovery, member, roster_in, problem_in));
    let given = settings.advertised(client.default_namespace());
    let address = tokio::select! {
        address = members::own_address(given, &settings.member, &mut roster) => address,
        () = &mut stop => return Ok(()),
        ended = tasks.join_next() => return Err(premature(ended)),
    };
    let server = Server {
        name: settings.member.clone(),
        address: address.context("discovery ended")?,
    };
    info!(name = server.name, redis = %server.address, "the others reach this member here");
    let (participant, seat) = seat(Bytes::new());
    let pauser = election.pauser();
    let (sidecar, handle) = sidecar(&settings, server.clone(), roster, participant);
    let sidecar = sidecar.with_pause(pauser.paused());
    figures.follow(&server.name, &handle);
    let pause = move |paused| {
        let pauser = pauser.clone();
        async move {
            if paused {
                pauser.pause().await
            } else {
                pauser.resume().await
            }
        }
    };
    let lease = election.status();
    let hinders = move || hindrance(&lease.borrow());
    tasks.spawn(bridge::carry_out(requested, handle.clone(), pause, hinders));
    if let Some(mut announcer) = announcer {
        let leaders = front.service.subscribe();
        tasks.spawn(async move {
            announcer.run(leaders).await;
            std::future::pending().await
        });
    }
    // It ends by itself, soon after the sidecar; otherwise with this function.
    let mut telling = JoinSet::new();
    if let Some(teller) = teller {
        telling.spawn(teller.run(handle.status(), election.status()));
    }
    let local = settings.agent.server.redis.clone();
    let agent = async {
        let election = async {
            // Meanwhile the sidecar already sees to it that the server is not left writable.
            let check = cluster::check_services(&client, &settings);
            tokio::pin!(check);
            tokio::select! {
                checked = &mut check => {
                    checked?;
                    return election.run(seat).await.context("the election ended");
                }
                () = sleep(HEAD_START) => {}
                () = cluster::left(&seat) => return Ok(()),
            }
            let run = async { election.run(seat).await.context("the election ended") };
            tokio::pin!(run);
            tokio::select! {
                checked = check => checked?,
                ended = &mut run => return ended,
            }
            run.await
        };
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
    let ended = hand_over(&handle, agent, ports, settings.agent.shutdown_timeout).await;
    if ended.is_ok() {
        // What is not told by then is not told.
        let _ = timeout(events::LAST_WORDS, telling.join_next()).await;
    }
    ended
}

/// Why leadership cannot be passed on by wish. Who gave the Lease up while the API is away could be
/// followed by nobody; with failsafe that may go on for long, and well.
fn hindrance(lease: &LeaseStatus) -> Option<String> {
    let failsafe = lease.failsafe.as_ref();
    let asking = failsafe.is_some_and(|failsafe| failsafe.asking);
    asking.then(|| {
        "the Kubernetes API does not acknowledge this leader, so nobody could take over".to_owned()
    })
}

fn outside(lease: &LeaseStatus, events: Counts) -> Outside {
    let states = lease.failsafe.as_ref().map(|failsafe| {
        [
            ("ready", !failsafe.members.is_empty()),
            ("asking", failsafe.asking),
            ("promised", failsafe.promised_to.is_some()),
        ]
    });
    Outside {
        failsafe: states.into_iter().flatten().collect(),
        calls: lease.calls,
        failures: lease.failures,
        answered: lease.answered,
        told: events.told,
        dropped: events.dropped,
    }
}

/// Starts what clients connect to.
fn ports(
    settings: &Settings,
    front: &Front,
    readers: &watch::Sender<Arc<Topology>>,
) -> anyhow::Result<Ports> {
    let mut config = settings.agent.proxy(settings.leader_listen);
    // Clients come through the Service, which names another pod by then.
    config.orphans = Orphans::Close;
    let (to_primary, to_replica) = (front.port.subscribe(), readers.subscribe());
    settings
        .agent
        .ports(("--leader-listen", config), to_primary, to_replica)
}

fn sidecar(
    settings: &Settings,
    server: Server,
    roster: watch::Receiver<Roster>,
    participant: Participant,
) -> (Sidecar, Handle) {
    let mut config = SidecarConfig::new(settings.group(), server);
    config.form_timeout = settings.form_timeout;
    config.expected_members = settings.members;
    let (sidecar, handle) = settings.agent.sidecar(config, participant);
    (sidecar.with_members(roster), handle)
}
