//! The backends under test: how their members are made, and what they promise.

use std::{
    any::Any,
    collections::BTreeSet,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use bellwether_election::{
    Election, Lease, LeaseConfig, NodeId, Raft, RaftConfig, RaftMember, Roster, Timestamp,
    TimestampConfig,
};
use bellwether_testkit::kube::{Access, KubeApi};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use tokio::sync::watch;

/// A backend.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Backend {
    Timestamp,
    Lease,
    Raft,
}

/// Members that have not begun yet.
pub(crate) struct Members {
    pub(crate) elections: Vec<(NodeId, Box<dyn Election>)>,
    /// What has to be there for as long as they run.
    pub(crate) surroundings: Box<dyn Any>,
}

impl Backend {
    /// The highest rank leads among those who stand in time.
    pub(crate) fn compares_ranks(self) -> bool {
        !matches!(self, Self::Lease)
    }

    /// Cards reach all members, not only the leader's.
    pub(crate) fn shows_all_cards(self) -> bool {
        !matches!(self, Self::Lease)
    }

    /// A member leads although all others are gone.
    pub(crate) fn leads_alone(self) -> bool {
        !matches!(self, Self::Raft)
    }

    /// Members that know of each other.
    pub(crate) async fn members(self, count: usize) -> Members {
        let names: Vec<_> = (0..count).map(|n| format!("m{n}")).collect();
        match self {
            Self::Timestamp => timestamp(&names),
            Self::Lease => lease(&names).await,
            Self::Raft => raft(&names),
        }
    }
}

const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn timestamp(names: &[String]) -> Members {
    let (all, members) = watch::channel(BTreeSet::new());
    let start = |name: &String| {
        let config = TimestampConfig::new("flock", name, LOOPBACK);
        let election = Timestamp::new(config, members.clone()).expect("it can be listened on");
        let address = election.local_addr();
        all.send_modify(|all| {
            all.insert((address.ip().to_string(), address.port()));
        });
        let node = election.node().clone();
        (node, Box::new(election) as Box<dyn Election>)
    };
    Members {
        elections: names.iter().map(start).collect(),
        surroundings: Box::new(all),
    }
}

fn raft(names: &[String]) -> Members {
    let listen = |name: &String| {
        let listener = TcpListener::bind(LOOPBACK).expect("it can be listened on");
        let address = listener.local_addr().expect("it has an address");
        let member = RaftMember::new(name, address.ip().to_string(), address.port());
        (listener, member)
    };
    let (listeners, members): (Vec<_>, Vec<_>) = names.iter().map(listen).unzip();
    let start = |(name, listener): (&String, TcpListener)| {
        let mut config = RaftConfig::new("flock", name, LOOPBACK);
        // A busy machine must not make every scene one of failovers.
        config.heartbeat = Duration::from_millis(150);
        config.election_min = Duration::from_millis(500);
        config.election_max = Duration::from_secs(1);
        let roster = Roster::fixed(members.clone());
        let election = Raft::with_listener(config, listener, roster).expect("it is right");
        let node = election.node().clone();
        (node, Box::new(election) as Box<dyn Election>)
    };
    Members {
        elections: names.iter().zip(listeners).map(start).collect(),
        surroundings: Box::new(()),
    }
}

async fn lease(names: &[String]) -> Members {
    let api = KubeApi::start().expect("the API starts");
    // Nobody has to wait for a Lease that was made by hand.
    let made = api.put(&json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": "flock", "namespace": "default" },
        "spec": {},
    }));
    made.expect("the Lease is written");
    let mut elections = Vec::new();
    for name in names {
        let kubeconfig = api.kubeconfig(&api.user(name, Access::all()));
        let kubeconfig = Kubeconfig::from_yaml(&kubeconfig).expect("it is a kubeconfig");
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let client = kube::Client::try_from(config.expect("it can be used"));
        let mut config = LeaseConfig::new("flock", name);
        config.lease_duration = Duration::from_secs(3);
        config.renew_deadline = Duration::from_secs(2);
        config.retry_period = Duration::from_millis(400);
        config.fence_timeout = Duration::from_millis(500);
        let election = Lease::new(client.expect("it can be used"), config).expect("it is right");
        let node = election.node().clone();
        elections.push((node, Box::new(election) as Box<dyn Election>));
    }
    Members {
        elections,
        surroundings: Box::new(api),
    }
}
