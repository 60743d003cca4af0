//! Between the crates' seams: views become topologies, a sidecar's status becomes a report.

use std::sync::Arc;

use bellwether_admin::{Answer, Report, Request, Role, SwitchoverDone};
use bellwether_proxy::{Topology, Upstream};
use bellwether_replication::{Handle, Server, Status, Switched, View};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

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
            paused: false,
            role: Role::Neither,
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
                publish(&self.to_replica, Arc::new(for_reads(&own, &now)));
                publish(&self.to_primary, Arc::new(for_writes(&now)));
            }
            let report = report(&own, &now, &status.borrow_and_update());
            self.reports.send_replace(Arc::new(report));
            if ended {
                return;
            }
        }
    }
}

/// Publishes what differs from what is published.
pub fn publish<T: PartialEq>(to: &watch::Sender<T>, value: T) {
    to.send_if_modified(|now| {
        let news = *now != value;
        *now = value;
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
#[must_use]
pub fn for_reads(own: &str, view: &View) -> Topology {
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

/// What a node says of itself by its sidecar's knowledge.
///
/// # Panics
///
/// Never: a status is plain data.
#[must_use]
pub fn report(own: &str, view: &View, status: &Status) -> Report {
    let mut json = serde_json::to_value(status).expect("a status is plain data");
    json["name"] = own.into();
    Report {
        live: true,
        ready: ready(own, status),
        paused: status.paused,
        role: role(own, view, status),
        status: json,
    }
}

/// A replica whose link is down has what it had when it was lost; one that is new has nothing.
fn ready(own: &str, status: &Status) -> Result<(), String> {
    if let Some(trouble) = &status.trouble {
        return Err(trouble.clone());
    }
    let Some(primary) = &status.primary else {
        return Err("no primary is known".to_owned());
    };
    let is_linked = status.replicas.iter().any(|server| server.name == own);
    if primary.name == own || is_linked {
        return Ok(());
    }
    let name = &primary.name;
    Err(format!("the own server has no link to that of {name}"))
}

fn role(own: &str, view: &View, status: &Status) -> Role {
    let Some(primary) = &view.primary else {
        return Role::Neither;
    };
    if primary.name == own {
        // This election's leaders always have a lease. During a hand-over a view shows the former
        // primary without one, for clients to wait by; it refuses writes.
        return match view.until {
            Some(until) => Role::Primary { until: Some(until) },
            None => Role::Neither,
        };
    }
    let linked = view.replicas.iter().any(|server| server.name == own);
    if !linked || status.trouble.is_some() {
        return Role::Neither;
    }
    // A server that last said that it is a replica itself says nothing of how far the writes are.
    let theirs = status
        .members
        .get(&primary.name)
        .and_then(|member| member.server.as_ref())
        .filter(|server| server.is_primary());
    let lag_bytes = theirs
        .zip(status.server.as_ref())
        .and_then(|(theirs, mine)| theirs.position.bytes_beyond(&mine.position));
    Role::Replica { lag_bytes }
}

/// Brings the requests of the admin port to the sidecar, and to `pause` those to pause (true) and to
/// resume. A switchover keeps nobody from pausing, and is refused for the reason that `hinders` gives.
///
/// # Errors
///
/// None; it goes on for as long as the program.
pub async fn carry_out<P, F, H>(
    mut requests: mpsc::Receiver<Request>,
    handle: Handle,
    pause: P,
    hinders: H,
) -> anyhow::Result<()>
where
    P: Fn(bool) -> F,
    F: Future<Output = Result<(), String>> + Send + 'static,
    H: Fn() -> Option<String>,
{
    // No more than one of a kind at a time: that is seen to where they come from.
    let mut under_way = JoinSet::new();
    loop {
        let request = tokio::select! {
            Some(request) = requests.recv() => request,
            Some(done) = under_way.join_next() => {
                done?;
                continue;
            }
            // Without an admin port there is nothing to do.
            else => std::future::pending().await,
        };
        match request {
            Request::Switchover { to, answer } => {
                let (handle, hindrance) = (handle.clone(), hinders());
                let switch_over = async move {
                    match hindrance {
                        Some(why) => Err(why),
                        None => handle.switch_over(to).await.map(done),
                    }
                };
                under_way.spawn(tell(switch_over, answer));
            }
            Request::Pause { answer } => {
                under_way.spawn(tell(pause(true), answer));
            }
            Request::Resume { answer } => {
                under_way.spawn(tell(pause(false), answer));
            }
        }
    }
}

async fn tell<T>(work: impl Future<Output = Result<T, String>>, answer: Answer<T>) {
    // Whoever asked may have left.
    let _ = answer.send(work.await);
}

fn done(switched: Switched) -> SwitchoverDone {
    SwitchoverDone {
        from: switched.from,
        to: switched.to,
        took: switched.took,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bellwether_election::Term;
    use bellwether_replication::{Address, Inspection, Link, MemberStatus, Position};

    use super::*;

    fn server(name: &str) -> Server {
        Server {
            name: name.into(),
            address: Address::new(name, 6379),
        }
    }

    fn view() -> View {
        View {
            term: Term(1),
            until: None,
            primary: Some(server("a")),
            replicas: vec![server("b"), server("c")],
        }
    }

    #[test]
    fn readers_prefer_the_own_replica_then_any_then_the_primary() {
        let mut view = view();
        let target = |own: &str, view: &View| for_reads(own, view).primary.unwrap().name;
        assert_eq!(target("c", &view), "c");
        assert_eq!(target("a", &view), "b");
        view.replicas.clear();
        assert_eq!(target("c", &view), "a");
    }

    fn inspection(role: bellwether_replication::Role, history: &str, offset: u64) -> Inspection {
        Inspection {
            run_id: "run".into(),
            role,
            position: Position {
                replication_id: history.into(),
                offset,
                previous: None,
            },
            keys: 1,
            papers: bellwether_replication::Papers::None,
            attached: std::collections::BTreeSet::new(),
            departed: 0,
            loading: false,
            priority: 100,
            failing_over: false,
            min_replicas: None,
        }
    }

    /// What `b` knows: its own offset, and what `a` last said of its role and offset.
    fn status(mine: u64, theirs: Option<(bellwether_replication::Role, u64)>) -> Status {
        let copy = bellwether_replication::Role::Replica {
            of: Address::new("a", 6379),
            link: Link::Up,
        };
        let member = MemberStatus {
            redis: Address::new("a", 6379),
            connected: true,
            server: theirs.map(|(role, offset)| inspection(role, "x", offset)),
        };
        Status {
            server: Some(inspection(copy, "x", mine)),
            members: [("a".to_owned(), member)].into(),
            ..Status::default()
        }
    }

    #[test]
    fn who_has_the_primarys_data_or_gets_it_is_ready() {
        let mut status = Status {
            primary: Some(server("a")),
            replicas: vec![server("b")],
            ..Status::default()
        };
        assert_eq!(ready("a", &status), Ok(()));
        assert_eq!(ready("b", &status), Ok(()));
        assert!(ready("c", &status).unwrap_err().contains("no link"));
        status.trouble = Some("it is syncing".into());
        assert_eq!(ready("b", &status), Err("it is syncing".into()));
        assert!(ready("a", &Status::default()).is_err());
    }

    #[test]
    fn a_primary_is_one_for_as_long_as_its_lease() {
        let mut view = view();
        let until = Some(Instant::now());
        view.until = until;
        let nothing = Status::default();
        assert_eq!(role("a", &view, &nothing), Role::Primary { until });
        assert_eq!(role("d", &view, &nothing), Role::Neither);
        // Kept to be shown during a hand-over.
        view.until = None;
        assert_eq!(role("a", &view, &nothing), Role::Neither);
        assert_eq!(role("a", &View::default(), &nothing), Role::Neither);
    }

    #[test]
    fn a_replica_lags_by_what_the_primary_has_more() {
        use bellwether_replication::Role::Primary;
        let lag_of = |status: &Status| match role("b", &view(), status) {
            Role::Replica { lag_bytes } => lag_bytes,
            other => panic!("{other:?}"),
        };
        assert_eq!(lag_of(&status(70, Some((Primary, 100)))), Some(30));
        // What the primary last said is older than what came from it since.
        assert_eq!(lag_of(&status(110, Some((Primary, 100)))), Some(0));
        assert_eq!(lag_of(&status(70, None)), None);
        assert_eq!(lag_of(&Status::default()), None);

        let mut foreign = status(70, Some((Primary, 100)));
        let own = foreign.server.as_mut().unwrap();
        own.position.replication_id = "y".into();
        assert_eq!(lag_of(&foreign), None);

        let former = bellwether_replication::Role::Replica {
            of: Address::new("c", 6379),
            link: Link::Up,
        };
        assert_eq!(lag_of(&status(70, Some((former, 70)))), None);
    }

    #[test]
    fn a_replica_in_trouble_or_without_link_is_none() {
        let mut status = status(70, None);
        assert_eq!(role("e", &view(), &status), Role::Neither);
        status.trouble = Some("no answer within 1s".into());
        assert_eq!(role("b", &view(), &status), Role::Neither);
    }
}
