//! Automatic failover is paused, by a handle or by hand.

use std::time::Duration;

use bellwether_testkit::kube::Access;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::group::{DEADLINE, Group, LEASE, eventually, quick, when};

const PAUSED: &str = "bellwether.dev/paused";

fn annotation(group: &Group) -> Option<String> {
    let lease = group.lease();
    let text = lease["metadata"]["annotations"][PAUSED].as_str();
    text.map(Into::into)
}

/// Somebody annotates the Lease by hand.
fn annotate(group: &Group, text: &Value) {
    let edited = group.api.update("leases", "default", LEASE, |lease| {
        lease["metadata"]["annotations"][PAUSED] = text.clone();
    });
    edited.expect("the Lease is edited");
}

async fn all_know(group: &Group, paused: bool) {
    eventually("all know", || {
        let knows = |node: &crate::group::Node| node.status.borrow().paused == paused;
        when(group.nodes.iter().all(knows))
    })
    .await;
}

/// For longer than a lease lasts, nobody leads.
async fn nobody_leads(group: &Group) {
    let until = Instant::now() + Duration::from_secs(7);
    let dead = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        assert!(
            Instant::now() < dead || group.leading().is_none(),
            "it is paused"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn nobody_takes_over_before_somebody_resumes() {
    let mut group = Group::start(3).await;
    let leader = group.leader().await;
    let term = group.nodes[leader].term();
    let other = (leader + 1) % 3;
    group.nodes[other].pauser.pause().await.expect("paused");
    assert!(*group.nodes[other].pauser.paused().borrow());
    all_know(&group, true).await;
    let text = annotation(&group).expect("it is in the Lease");
    assert!(text.contains(&format!("by redis-{other}")), "{text}");
    // Renewals leave it as it is, and so does who pauses again.
    let before = group.lease()["spec"]["renewTime"].clone();
    let renewed = || when(group.lease()["spec"]["renewTime"] != before);
    eventually("a renewal", renewed).await;
    group.nodes[leader].pauser.pause().await.expect("paused");
    assert_eq!(annotation(&group), Some(text));
    group.kill(leader);
    nobody_leads(&group).await;
    group.nodes[other].pauser.resume().await.expect("resumed");
    let resumed = Instant::now();
    let next = group.leader().await;
    println!("another leads {:?} after it was resumed", resumed.elapsed());
    assert_ne!(next, leader);
    assert!(group.nodes[next].term() > term);
    assert_eq!(annotation(&group), None);
    group.judge();
}

#[tokio::test]
async fn a_paused_leader_comes_back_or_hands_over() {
    let group = Group::start(3).await;
    let leader = group.leader().await;
    group.nodes[leader].pauser.pause().await.expect("paused");
    group.nodes[leader].resign(None);
    nobody_leads(&group).await;
    group.nodes[leader].stand(true);
    // It stands in the next vacancy that it is told of, or when its wish is heard.
    eventually("it leads again", || when(group.leading() == Some(leader))).await;
    let next = (leader + 1) % 3;
    group.nodes[leader].resign(Some(group.nodes[next].id.clone()));
    eventually("whom it named leads", || {
        when(group.leading() == Some(next))
    })
    .await;
    assert!(annotation(&group).is_some(), "it is still paused");
    group.judge();
}

#[tokio::test]
async fn an_annotation_by_hand_counts_as_well() {
    let group = Group::start(2).await;
    group.leader().await;
    for (text, paused) in [("true", true), ("false", false), ("until friday", true)] {
        annotate(&group, &json!(text));
        all_know(&group, paused).await;
    }
    group.nodes[0].pauser.resume().await.expect("resumed");
    assert_eq!(annotation(&group), None);
    all_know(&group, false).await;
    annotate(&group, &json!("true"));
    all_know(&group, true).await;
    // Without the Lease there is no pause.
    group.delete();
    all_know(&group, false).await;
    group.leader().await;
    assert_eq!(annotation(&group), None);
    group.judge();
}

#[tokio::test]
async fn what_cannot_be_written_is_said_in_one_line() {
    let mut group = Group::empty();
    let patching = Access::all().deny(&["create"], "coordination.k8s.io", "leases");
    let reading = patching
        .clone()
        .deny(&["patch"], "coordination.k8s.io", "leases");
    group.add(&quick, reading).await;
    group.add(&quick, patching).await;
    let why = group.nodes[1].pauser.pause().await.unwrap_err();
    assert_eq!(why, "there is no Lease default/redis yet");
    group.put(&json!({}), &json!({}));
    let why = group.nodes[0].pauser.pause().await.unwrap_err();
    assert!(why.contains("not permitted to patch"), "{why}");
    assert!(!why.contains('\n'), "{why}");
    assert_eq!(annotation(&group), None);
    eventually("one leads", || group.leading()).await;
    group.nodes[1].link.refuse().expect("cut");
    let since = Instant::now();
    let why = group.nodes[1].pauser.pause().await.unwrap_err();
    assert!(!why.contains('\n'), "{why}");
    assert!(since.elapsed() < DEADLINE, "it took {:?}", since.elapsed());
    group.nodes[1].link.heal().expect("healed");
    group.nodes[1].pauser.pause().await.expect("paused");
    group.judge();
}
