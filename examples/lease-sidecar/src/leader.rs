//! What follows from leading: the leader port forwards, and the Service is announced.

use std::sync::Arc;

use bellwether_discovery::Leader;
use bellwether_hive::bridge;
use bellwether_proxy::{Topology, Upstream};
use bellwether_replication::{Address, Server, View};
use tokio::sync::watch;

/// Where it goes that this node leads.
pub(crate) struct Front {
    pub(crate) port: watch::Sender<Arc<Topology>>,
    pub(crate) service: watch::Sender<Option<Leader>>,
}

impl Front {
    pub(crate) fn new() -> Self {
        Self {
            port: watch::Sender::default(),
            service: watch::Sender::default(),
        }
    }

    /// Follows what the sidecar publishes, until it ends. `local` is the own server as this process
    /// reaches it.
    pub(crate) async fn feed(
        &self,
        own: &Server,
        local: &Address,
        mut view: watch::Receiver<View>,
    ) {
        loop {
            let leads = leads(own, &view.borrow_and_update());
            let topology = leads.as_ref().map(|leader| topology(leader, local));
            bridge::publish(&self.port, Arc::new(topology.unwrap_or_default()));
            bridge::publish(&self.service, leads);
            if view.changed().await.is_err() {
                self.port.send_replace(Arc::default());
                self.service.send_replace(None);
                return;
            }
        }
    }
}

/// This node as the leader, once its server is the verified primary, and for as long as its lease
/// lasts. During a hand-over a view shows the former primary without a lease: it leads no more.
fn leads(own: &Server, view: &View) -> Option<Leader> {
    let primary = view.primary.as_ref()?;
    (primary.name == own.name && view.until.is_some()).then(|| Leader {
        member: own.name.clone(),
        term: view.term.0,
        until: view.until,
    })
}

fn topology(leader: &Leader, local: &Address) -> Topology {
    Topology {
        term: leader.term,
        until: leader.until,
        primary: Some(Upstream {
            name: leader.member.clone(),
            host: local.host.clone(),
            port: local.port,
        }),
        replicas: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use bellwether_election::Term;

    use super::*;

    fn server(name: &str) -> Server {
        Server {
            name: name.into(),
            address: Address::new(name, 6379),
        }
    }

    #[test]
    fn only_the_own_verified_primary_with_a_lease_leads() {
        let until = Some(Instant::now() + Duration::from_secs(1));
        let mut view = View {
            term: Term(3),
            until,
            primary: Some(server("redis-0")),
            replicas: vec![server("redis-1")],
        };
        let leader = leads(&server("redis-0"), &view).unwrap();
        assert_eq!((leader.term, leader.until), (3, until));
        assert_eq!(leads(&server("redis-1"), &view), None);
        view.until = None;
        assert_eq!(leads(&server("redis-0"), &view), None, "a hand-over");
        assert_eq!(leads(&server("redis-0"), &View::default()), None);
    }
}
