//! Between the crates' seams: views become topologies, a sidecar's status becomes a report.

use std::sync::Arc;

use bellwether_admin::{Report, SwitchoverDone, SwitchoverRequest};
use bellwether_proxy::{Topology, Upstream};
use bellwether_replication::{Handle, Server, Status, View};
use tokio::sync::{mpsc, watch};

/// Where an agent's knowledge goes to.
pub(crate) struct Outlets {
    pub(crate) to_primary: watch::Sender<Arc<Topology>>,
    pub(crate) to_replica: watch::Sender<Arc<Topology>>,
    pub(crate) reports: watch::Sender<Arc<Report>>,
}

impl Outlets {
    pub(crate) fn new() -> Self {
        let report = Report {
            live: true,
            ready: Err(
                "the address under which the others reach this member is not known yet".into(),
            ),
            status: serde_json::Value::Null,
        };
        Self {
            to_primary: watch::Sender::default(),
            to_replica: watch::Sender::default(),
            reports: watch::Sender::new(Arc::new(report)),
        }
    }

    /// Passes on what the sidecar of the member `own` says, until it ends. Where clients were
    /// brought last then stays, for the proxies to finish by.
    pub(crate) async fn feed(self, own: String, handle: Handle) {
        let (mut view, mut status) = (handle.view(), handle.status());
        loop {
            let ended = tokio::select! {
                changed = view.changed() => changed.is_err(),
                changed = status.changed() => changed.is_err(),
            };
            let now = view.borrow_and_update().clone();
            // The empty view that a sidecar leaves behind would hold what clients still wait for.
            if view.has_changed().is_ok() {
                publish(&self.to_replica, for_reads(&own, &now));
                publish(&self.to_primary, for_writes(&now));
            }
            self.reports
                .send_replace(Arc::new(report(&own, &status.borrow_and_update())));
            if ended {
                return;
            }
        }
    }
}

fn publish(to: &watch::Sender<Arc<Topology>>, topology: Topology) {
    to.send_if_modified(|current| {
        let news = **current != topology;
        if news {
            *current = Arc::new(topology);
        }
        news
    });
}

fn for_writes(view: &View) -> Topology {
    Topology {
        term: view.term.0,
        until: view.until,
        primary: view.primary.as_ref().map(upstream),
        replicas: view.replicas.iter().map(upstream).collect(),
    }
}

/// Brings readers to the own server if it is a replica, else to another one, else to the primary.
fn for_reads(own: &str, view: &View) -> Topology {
    let mine = view.replicas.iter().find(|server| server.name == own);
    match mine.or(view.replicas.first()) {
        Some(replica) => Topology {
            term: view.term.0,
            until: None,
            primary: Some(upstream(replica)),
            replicas: Vec::new(),
        },
        None => for_writes(view),
    }
}

fn upstream(server: &Server) -> Upstream {
    Upstream {
        name: server.name.clone(),
        host: server.address.host.clone(),
        port: server.address.port,
    }
}

fn report(own: &str, status: &Status) -> Report {
    let ready = match (&status.trouble, &status.primary) {
        (Some(trouble), _) => Err(trouble.clone()),
        (None, None) => Err("no primary is known".to_owned()),
        (None, Some(_)) => Ok(()),
    };
    let mut json = serde_json::to_value(status).expect("a status is plain data");
    json["name"] = own.into();
    Report {
        live: true,
        ready,
        status: json,
    }
}

/// Brings the requests of the admin port to the sidecar.
pub(crate) async fn switch_over(
    mut requests: mpsc::Receiver<SwitchoverRequest>,
    handle: Handle,
) -> anyhow::Result<()> {
    while let Some(request) = requests.recv().await {
        let done = handle
            .switch_over(request.to)
            .await
            .map(|switched| SwitchoverDone {
                from: switched.from,
                to: switched.to,
                took: switched.took,
            });
        // Whoever asked may have left.
        let _ = request.answer.send(done);
    }
    // Without an admin port there is nothing to do.
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use bellwether_election::Term;
    use bellwether_replication::Address;

    use super::*;

    fn server(name: &str) -> Server {
        Server {
            name: name.into(),
            address: Address::new(name, 6379),
        }
    }

    #[test]
    fn readers_prefer_the_own_replica_then_any_then_the_primary() {
        let mut view = View {
            term: Term(1),
            until: None,
            primary: Some(server("a")),
            replicas: vec![server("b"), server("c")],
        };
        let target = |own: &str, view: &View| for_reads(own, view).primary.unwrap().name;
        assert_eq!(target("c", &view), "c");
        assert_eq!(target("a", &view), "b");
        view.replicas.clear();
        assert_eq!(target("c", &view), "a");
    }
}
