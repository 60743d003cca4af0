//! What the node says of itself, gathered from its parts.

use std::sync::Arc;

use bellwether_admin::Report;
use bellwether_discovery::Announcement;
use bellwether_election::{Confirming, LeaseStatus, Listing};
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
            bridge::publish(readers, Arc::new(bridge::for_reads(&self.own, &now)));
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
            && let Some(problem) = problem(&lease, discovery.as_deref())
        {
            report.ready = Err(problem.to_owned());
        }
        report.status["lease"] = json!({
            "holder": lease.holder,
            "transitions": lease.transitions,
            "answered_ms_ago": lease.answered.map(|at| at.elapsed().as_millis() as u64),
            "problem": lease.problem,
            "watch_problem": lease.watch_problem,
            "failsafe": lease.failsafe.as_ref().map(failsafe),
            "unlisted": unlisted(lease.listing),
        });
        report.status["discovery"] = json!({ "problem": discovery });
        if let Some(announcement) = &mut self.announcement {
            report.status["service"] = announced(&announcement.borrow_and_update());
        }
    }
}

/// What a member that is not ready may be waiting for, the cause before what comes of it. Without the API
/// a Lease seems to have run out that its holder may have renewed.
fn problem<'a>(lease: &'a LeaseStatus, discovery: Option<&'a str>) -> Option<&'a str> {
    let stranded = (lease.listing == Listing::Stranded).then_some(lease.listing);
    let problem = lease.problem.as_deref();
    problem.or(stranded.and_then(unlisted)).or(discovery)
}

/// Why this member would not take the Lease from its holder, if so.
fn unlisted(listing: Listing) -> Option<&'static str> {
    match listing {
        Listing::Open => None,
        Listing::Unlisted => Some(
            "the Lease's annotation bellwether.dev/failsafe does not name this member, which does not \
             take it from its holder",
        ),
        Listing::Stranded => Some(
            "the Lease has run out, and its annotation bellwether.dev/failsafe does not name this member, \
             which therefore does not take it",
        ),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(listing: Listing, problem: Option<&str>) -> LeaseStatus {
        let mut lease = LeaseStatus::default();
        lease.listing = listing;
        lease.problem = problem.map(str::to_owned);
        lease
    }

    #[test]
    fn who_is_not_listed_says_so_once_the_lease_has_run_out() {
        let stranded = unlisted(Listing::Stranded);
        for (listing, away, discovery, said) in [
            (Listing::Open, None, None, None),
            (Listing::Unlisted, None, None, None),
            (Listing::Unlisted, None, Some("no pods"), Some("no pods")),
            (Listing::Stranded, None, Some("no pods"), stranded),
            (
                Listing::Stranded,
                Some("away"),
                Some("no pods"),
                Some("away"),
            ),
        ] {
            assert_eq!(
                problem(&lease(listing, away), discovery),
                said,
                "{listing:?}"
            );
        }
        assert_eq!(unlisted(Listing::Open), None);
        assert!(stranded.is_some_and(|words| words.contains("bellwether.dev/failsafe")));
    }
}
