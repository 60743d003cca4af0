//! Under which address the others reach this machine.

use std::{net::IpAddr, time::Duration};

use tokio::{
    net::{UdpSocket, lookup_host},
    sync::watch,
    time::timeout,
};
use tracing::{info, warn};

use crate::PeerAddresses;

const TRY_AGAIN: Duration = Duration::from_millis(500);

/// The host that was given, or the local address of the route to the peers, as soon as one of them
/// is known.
pub(crate) async fn host(
    given: Option<String>,
    peers: &mut watch::Receiver<PeerAddresses>,
) -> String {
    if let Some(host) = given {
        return host;
    }
    let mut said = false;
    loop {
        let known = peers.borrow_and_update().clone();
        for (host, port) in known {
            if let Some(address) = local_address_towards(&host, port).await {
                info!(%address, "this is the local address of the route to {host}");
                return address.to_string();
            }
        }
        // Ends early if the peers change; their source never ends before this task.
        let news = timeout(TRY_AGAIN, peers.changed()).await;
        if news.is_err() && !std::mem::replace(&mut said, true) {
            warn!(
                "no peer is known yet by an address that can be reached; set --advertise to go on without"
            );
        }
    }
}

/// Connecting a datagram socket sends nothing: it only chooses the route.
async fn local_address_towards(host: &str, port: u16) -> Option<IpAddr> {
    let peers = timeout(Duration::from_secs(1), lookup_host((host, port)))
        .await
        .ok()?
        .ok()?;
    for peer in peers {
        let any = if peer.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        if let Ok(socket) = UdpSocket::bind(any).await
            && socket.connect(peer).await.is_ok()
            && let Ok(local) = socket.local_addr()
        {
            return Some(local.ip());
        }
    }
    None
}
