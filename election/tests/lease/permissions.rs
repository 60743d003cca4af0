//! What is missing is named, and tried again.

use bellwether_testkit::kube::Access;
use serde_json::json;

use crate::group::{Group, eventually, quick, when};

const GROUP: &str = "coordination.k8s.io";

/// What a role of the documentation allows.
fn documented() -> Access {
    Access::none().allow(&["get", "create", "patch", "watch"], GROUP, "leases")
}

#[tokio::test]
async fn the_documented_permissions_are_enough() {
    let mut group = Group::empty();
    group.add(&quick, documented()).await;
    group.add(&quick, documented()).await;
    let leader = group.leader().await;
    group.nodes[leader].leave();
    eventually("the other leads", || when(group.nodes[1 - leader].leads())).await;
    for request in group.api.requests() {
        assert_ne!(request.status, Some(403), "{request:?}");
    }
    group.judge();
}

#[tokio::test]
async fn a_missing_verb_is_named_until_it_is_there() {
    for verb in ["get", "create", "patch"] {
        let mut group = Group::empty();
        if verb == "patch" {
            group.put(&json!({}), &json!({}));
        }
        group
            .add(&quick, documented().deny(&[verb], GROUP, "leases"))
            .await;
        let told = || {
            let problem = group.nodes[0].problem();
            problem.filter(|problem| problem.contains("not permitted"))
        };
        let problem = eventually("a problem is told", told).await;
        for part in [verb, "leases", GROUP, "\"default\"", "Role"] {
            assert!(problem.contains(part), "{part}: {problem}");
        }
        assert!(!problem.contains('\n'), "{problem}");
        group.api.permit(&group.nodes[0].user, documented());
        group.leader().await;
        assert_eq!(group.nodes[0].problem(), None);
    }
}

#[tokio::test]
async fn without_permission_to_watch_all_is_polled() {
    let mut group = Group::empty();
    group.put(&json!({}), &json!({}));
    for _ in 0..3 {
        group
            .add(&quick, documented().deny(&["watch"], GROUP, "leases"))
            .await;
    }
    let leader = group.leader().await;
    let problem = group.nodes[leader].status.borrow().watch_problem.clone();
    assert!(problem.is_some_and(|problem| problem.contains("\"watch\"")));
    assert_eq!(group.nodes[leader].problem(), None, "a watch is no need");
    group.nodes[leader].resign(None);
    let next = eventually("another leads", || {
        group.leading().filter(|now| *now != leader)
    })
    .await;
    group.kill(next);
    eventually("the third leads", || {
        group.leading().filter(|now| *now != next)
    })
    .await;
    group.judge();
}

#[tokio::test]
async fn an_unknown_client_is_told_so() {
    let group = Group::with(quick, 1).await;
    group.leader().await;
    group.api.forget_user(&group.nodes[0].user);
    let problem = eventually("a problem is told", || group.nodes[0].problem()).await;
    assert!(problem.contains("does not know this client"), "{problem}");
    eventually("it leads no more", || when(!group.nodes[0].leads())).await;
    group.judge();
}

#[tokio::test]
async fn a_namespace_that_does_not_exist_is_named() {
    let mut group = Group::empty();
    let elsewhere = |member: &str| {
        let mut config = quick(member);
        config.namespace = Some("elsewhere".into());
        config
    };
    group.add(&elsewhere, Access::all()).await;
    let named = "namespace \"elsewhere\" does not exist";
    // A busy machine may tell of a call that took too long before.
    eventually("the namespace is named", || {
        group.nodes[0]
            .problem()
            .filter(|problem| problem.contains(named))
    })
    .await;
    group.api.add_namespace("elsewhere").expect("it is made");
    eventually("it leads", || when(group.nodes[0].leads())).await;
}
