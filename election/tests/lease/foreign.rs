//! A Lease that was written by something else.

use bellwether_election::Leadership;
use serde_json::json;

use crate::group::{Group, eventually, when};

const NOW: &str = "2026-01-01T00:00:00.000000Z";

#[tokio::test]
async fn a_holder_by_client_go_is_followed_for_as_long_as_it_renews() {
    let mut group = Group::empty();
    let held = |count: u32| {
        json!({ "holderIdentity": "controller_7", "leaseDurationSeconds": 2, "acquireTime": NOW,
            "renewTime": format!("2026-01-01T00:00:{count:02}.000000Z"), "leaseTransitions": 4 })
    };
    group.put(&json!({}), &held(0));
    group.join(2).await;
    for count in 1..8 {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        group.put(&json!({}), &held(count));
    }
    for node in &group.nodes {
        let Leadership::Following { leader, card, .. } = node.now() else {
            panic!("it follows: {:?}", node.now());
        };
        assert_eq!(leader.member, "controller_7");
        assert!(leader.incarnation.is_nil() && card.is_empty());
    }
    assert_eq!(group.judge(), 0, "nobody else led");
    // As client-go releases a Lease.
    group.put(
        &json!({}),
        &json!({ "holderIdentity": "", "leaseDurationSeconds": 1, "acquireTime": NOW,
            "renewTime": NOW, "leaseTransitions": 4 }),
    );
    group.leader().await;
    assert_eq!(group.lease()["spec"]["leaseTransitions"], 5);
    group.judge();
}

#[tokio::test]
async fn what_is_missing_is_read_as_client_go_reads_it() {
    for spec in [
        json!({}),
        json!({ "holderIdentity": "" }),
        json!({ "holderIdentity": "kubectl" }),
        json!({ "leaseTransitions": 7, "renewTime": NOW }),
        json!({ "holderIdentity": "gone", "leaseDurationSeconds": 1 }),
    ] {
        let mut group = Group::empty();
        group.put(
            &json!({ "bellwether.dev/term": "nonsense", "other": "kept" }),
            &spec,
        );
        group.join(2).await;
        group.leader().await;
        let lease = group.lease();
        assert_eq!(lease["metadata"]["annotations"]["other"], "kept");
        group.judge();
    }
}

#[tokio::test]
async fn a_lease_that_another_took_is_lost_at_once() {
    let group = Group::start(1).await;
    group.leader().await;
    group.put(
        &json!({}),
        &json!({ "holderIdentity": "controller_7", "leaseDurationSeconds": 2, "renewTime": NOW }),
    );
    eventually("it follows", || {
        when(matches!(group.nodes[0].now(), Leadership::Following { .. }))
    })
    .await;
    group.leader().await;
    assert_eq!(
        group.judge(),
        2,
        "it led again when the other's lease ran out"
    );
}
