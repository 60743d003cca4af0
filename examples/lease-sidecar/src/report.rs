//! What the node says of itself, gathered from its parts.

use std::sync::Arc;

use bellwether_admin::Report;
use bellwether_discovery::Announcement;
use bellwether_election::{Confirming, LeaseStatus};
use bellwether_hive::bridge;
use bellwether_proxy::Topology;
use bellwether_replication::Handle;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Gathers.
pub(crate) struct Reporter {
    own: String,
    lease: watch::Receiver<LeaseStatus>,
    discovery: watch::Receiver<Option<String>>,
    announcement: Option<watch::Receiver<Announcement>>,
    reports: watch::Sender<Arc<Report>>,
}

impl Reporter {
    pub(crate) fn new(
        own: String,
        lease: watch::Receiver<LeaseStatus>,
        discovery: watch::Receiver<Option<String>>,
        announcement: Option<watch::Receiver<Announcement>>,
    ) -> Self {
        let report = Report {
            live: true,
            ready: Err("the members of the group are not known yet".to_owned()),
            paused: false,
            role: bellwether_admin::Role::Neither,
            status: Value::Null,
        };
        Self {
            own,
            lease,
            discovery,
            announcement,
            reports: watch::Sender::new(Arc::new(report)),
        }
    }

    pub(crate) fn reports(&self) -> watch::Receiver<Arc<Report>> {
        self.reports.subscribe()
    }

    /// Reports until the sidecar ends, and tells readers where to go.
    pub(crate) async fn feed(mut self, handle: Handle, readers: &watch::Sender<Arc<Topology>>) {
        let (mut view, mut status) = (handle.view(), handle.status());
        loop {
            let now = view.borrow_and_update().clone();
            let mut report = bridge::report(&self.own, &now, &status.borrow_and_update());
            self.add(&mut report);
            self.reports.send_replace(Arc::new(report));
            let reads = bridge::for_reads(&self.own, &now);
            readers.send_if_modified(|now| {
                let news = **now != reads;
                if news {
                    *now = Arc::new(reads);
                }
                news
            });
            let announced = async {
                match &mut self.announcement {
                    Some(announcement) => announcement.changed().await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            let goes_on = tokio::select! {
                news = view.changed() => news.is_ok(),
                news = status.changed() => news.is_ok(),
                _ = self.lease.changed() => true,
                _ = self.discovery.changed() => true,
                _ = announced => true,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// What the Kubernetes API has to do with it.
    fn add(&mut self, report: &mut Report) {
        let lease = self.lease.borrow_and_update().clone();
        let discovery = self.discovery.borrow_and_update().clone();
        if report.ready.is_err()
            && let Some(problem) = lease.problem.as_ref().or(discovery.as_ref())
        {
            report.ready = Err(problem.clone());
        }
        report.status["lease"] = json!({
            "holder": lease.holder,
            "transitions": lease.transitions,
            "answered_ms_ago": lease.answered.map(|at| at.elapsed().as_millis() as u64),
            "problem": lease.problem,
            "watch_problem": lease.watch_problem,
            "failsafe": lease.failsafe.as_ref().map(failsafe),
        });
        report.status["discovery"] = json!({ "problem": discovery });
        if let Some(announcement) = &mut self.announcement {
            report.status["service"] = announced(&announcement.borrow_and_update());
        }
    }
}

/// Failsafe, and why a leader is not kept through an outage if it is not.
fn failsafe(confirming: &Confirming) -> Value {
    json!({
        "members": confirming.members,
        "asking": confirming.asking,
        "silent": confirming.silent,
        "promised_to": confirming.promised_to,
    })
}

fn announced(announcement: &Announcement) -> Value {
    match announcement {
        Announcement::Idle => json!({ "state": "idle" }),
        Announcement::Pending { term } => json!({ "state": "pending", "term": term }),
        Announcement::Retrying { term, reason } => {
            json!({ "state": "retrying", "term": term, "problem": reason })
        }
        Announcement::Announced {
            term, hindrance, ..
        } => {
            json!({ "state": "announced", "term": term, "problem": hindrance })
        }
        Announcement::Superseded { term, higher } => {
            json!({ "state": "superseded", "term": term, "higher": higher })
        }
    }
}
