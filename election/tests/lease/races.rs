//! Many want the Lease at the same moment.

use serde_json::json;

use crate::group::{Group, LEASE, eventually, when, written};

const RUNS: u64 = 10;

#[tokio::test]
async fn one_of_ten_takes_a_lease_that_ran_out() {
    for run in 0..RUNS {
        let spec = json!({ "holderIdentity": "gone", "leaseDurationSeconds": 1,
            "renewTime": "2001-01-01T00:00:00.000000Z", "leaseTransitions": run });
        one_of_ten_wins(run, spec).await;
    }
}

#[tokio::test]
async fn one_of_ten_takes_a_lease_that_was_released() {
    for run in 0..RUNS {
        one_of_ten_wins(
            run,
            json!({ "holderIdentity": "", "leaseTransitions": run }),
        )
        .await;
    }
}

/// Ten that see the same Lease become free at the same moment.
async fn one_of_ten_wins(run: u64, spec: serde_json::Value) {
    let mut group = Group::empty();
    let term = 40 + run;
    // Held until all have seen it, and renewed in between.
    let annotations = json!({ "bellwether.dev/term": term.to_string() });
    group.put(
        &annotations,
        &json!({ "holderIdentity": "gone", "leaseDurationSeconds": 600 }),
    );
    group.join(10).await;
    eventually("all follow", || {
        when(group.nodes.iter().all(|node| node.term().is_some()))
    })
    .await;
    group.put(&annotations, &spec);
    let leader = group.leader().await;
    let lease = group.lease();
    assert_eq!(
        lease["metadata"]["annotations"]["bellwether.dev/term"],
        (term + 1).to_string()
    );
    assert_eq!(lease["spec"]["leaseTransitions"], run + 1);
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
    assert!(holder.starts_with(&format!("redis-{leader}_")), "{holder}");
    let won = group.api.requests().into_iter().filter(|request| {
        request.what() == "patch leases" && request.status == Some(200) && request.name == LEASE
    });
    // One acquisition; what follows are its renewals.
    let terms: Vec<_> = won
        .map(|request| written(&request)["metadata"]["annotations"]["bellwether.dev/term"].clone())
        .collect();
    let next = (term + 1).to_string();
    assert!(!terms.is_empty() && terms.iter().all(|won| *won == next));
    assert_eq!(group.judge(), 1, "one spell");
}
