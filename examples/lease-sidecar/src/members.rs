//! Who the members are, and where their servers are.

use std::collections::BTreeMap;

use bellwether_discovery::{Discovery, Kubernetes};
use bellwether_replication::Address;
use tokio::sync::watch;
use tracing::{info, warn};

/// The servers of all members by name.
pub(crate) type Roster = BTreeMap<String, Address>;

/// Where the agents of all members are asked, by name.
pub(crate) type Peers = BTreeMap<String, (String, u16)>;

/// Follows discovery for ever, for this member.
pub(crate) async fn follow(
    mut discovery: Kubernetes,
    own: String,
    roster: watch::Sender<Roster>,
    problem: watch::Sender<Option<String>>,
) -> anyhow::Result<()> {
    let mut outage = discovery.problem();
    loop {
        let told = tokio::select! {
            told = discovery.changed() => told,
            Ok(()) = outage.changed() => {
                if outage.borrow_and_update().is_none() {
                    problem.send_replace(unknown(&own, &roster.borrow()));
                }
                continue;
            }
        };
        match told {
            Ok(members) => {
                let names: Vec<_> = members.iter().map(ToString::to_string).collect();
                info!(members = names.join(","), "discovered");
                let address = |member: bellwether_discovery::Member| {
                    (member.name, Address::new(member.host, member.port))
                };
                roster.send_replace(members.into_iter().map(address).collect());
                problem.send_replace(unknown(&own, &roster.borrow()));
            }
            Err(error) => {
                let words = format!("{:#}", anyhow::Error::new(error));
                warn!("{words}");
                problem.send_replace(Some(words));
            }
        }
    }
}

/// Agents are asked on the hosts of their servers, at one port for all. For ever.
pub(crate) async fn beside(
    mut roster: watch::Receiver<Roster>,
    port: u16,
    peers: watch::Sender<Peers>,
) -> anyhow::Result<()> {
    loop {
        let hosts = roster.borrow_and_update().clone();
        let peer = |(name, server): (String, Address)| (name, (server.host, port));
        peers.send_replace(hosts.into_iter().map(peer).collect());
        if roster.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The others would not find this member.
fn unknown(own: &str, roster: &Roster) -> Option<String> {
    (!roster.contains_key(own)).then(|| format!("no endpoint is of this member, {own:?}"))
}

/// Where the others reach the own server: as it was given or follows from its name, else as
/// discovery tells it once it knows this member.
pub(crate) async fn own_address(
    given: Option<Address>,
    member: &str,
    roster: &mut watch::Receiver<Roster>,
) -> Option<Address> {
    if given.is_some() {
        return given;
    }
    let known = roster.wait_for(|roster| roster.contains_key(member)).await;
    known.ok()?.get(member).cloned()
}
