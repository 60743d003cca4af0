//! Leadership passes on: by resignation, by leaving, by death.

use std::time::Instant;

use bellwether_election::{Leadership, LeaseConfig};

use crate::group::{Group, eventually, quick, when, written};

#[tokio::test]
async fn who_leaves_in_peace_is_replaced_at_once() {
    let group = Group::start(3).await;
    let leader = group.leader().await;
    group.api.forget_requests();
    let since = Instant::now();
    group.nodes[leader].leave();
    eventually("another leads", || {
        when(group.leading().is_some_and(|now| now != leader))
    })
    .await;
    println!("led again after {:?}", since.elapsed());
    eventually("its run ends", || {
        when(group.nodes[leader].task.is_finished())
    })
    .await;
    let requests = group.api.requests();
    let mut releases = requests
        .iter()
        .filter(|request| request.user.as_deref() == Some(&group.nodes[leader].user.name))
        .filter(|request| written(request)["spec"]["holderIdentity"] == "");
    let release = releases.next().expect("it released the Lease");
    assert!(written(release)["metadata"]["resourceVersion"].is_string());
    assert!(releases.next().is_none(), "in one write");
    group.leader().await;
    group.judge();
}

#[tokio::test]
async fn the_named_successor_takes_over() {
    let group = Group::start(4).await;
    for _ in 0..3 {
        let leader = group.leader().await;
        let successor = (leader + 1) % 4;
        group.nodes[successor].stand(true);
        let heir = group.nodes[successor].id.clone();
        group.nodes[leader].resign(Some(heir));
        eventually("the successor leads", || {
            when(group.nodes[successor].leads())
        })
        .await;
        group.nodes[leader].stand(true);
        assert_eq!(group.leader().await, successor);
    }
    assert_eq!(group.judge(), 4, "nobody else led in between");
}

#[tokio::test]
async fn a_successor_may_be_named_without_its_incarnation() {
    let group = Group::start(4).await;
    let leader = group.leader().await;
    let successor = (leader + 2) % 4;
    let mut heir = group.nodes[successor].id.clone();
    heir.incarnation = uuid::Uuid::nil();
    group.nodes[leader].resign(Some(heir));
    eventually("the successor leads", || {
        when(group.nodes[successor].leads())
    })
    .await;
    assert_eq!(group.judge(), 2);
}

#[tokio::test]
async fn when_the_successor_is_dead_another_leads() {
    let mut group = Group::start(3).await;
    let leader = group.leader().await;
    let dead = (leader + 1) % 3;
    group.kill(dead);
    let heir = group.nodes[dead].id.clone();
    group.nodes[leader].resign(Some(heir));
    let other = (leader + 2) % 3;
    eventually("the third leads", || when(group.nodes[other].leads())).await;
    group.judge();
}

#[tokio::test]
async fn who_is_killed_is_replaced_when_its_lease_runs_out() {
    let mut group = Group::start(3).await;
    let leader = group.leader().await;
    let before = group.nodes[leader].term();
    let since = Instant::now();
    group.kill(leader);
    let next = group.leader().await;
    let took = since.elapsed();
    println!("led again after {took:?}");
    assert_ne!(next, leader);
    assert!(group.nodes[next].term() > before);
    let LeaseConfig { renew_deadline, .. } = quick("");
    assert!(took > renew_deadline, "its lease had not ended");
    group.judge();
}

#[tokio::test]
async fn who_withdraws_does_not_lead_again_unless_it_stands() {
    let group = Group::start(1).await;
    group.leader().await;
    group.nodes[0].resign(None);
    eventually("the Lease is free", || {
        when(group.lease()["spec"]["holderIdentity"] == "")
    })
    .await;
    assert_eq!(group.nodes[0].now(), Leadership::Vacant);
    let released = group.nodes[0].status.borrow().calls;
    let polled = || when(group.nodes[0].status.borrow().calls > released + 1);
    eventually("it went on looking", polled).await;
    assert_eq!(group.lease()["spec"]["holderIdentity"], "");
    group.nodes[0].stand(true);
    group.leader().await;
    assert_eq!(group.judge(), 2);
}

#[tokio::test]
async fn followers_know_the_leader_by_its_card() {
    let group = Group::start(2).await;
    let leader = group.leader().await;
    let follower = &group.nodes[1 - leader];
    let told = |card: &str| match follower.now() {
        Leadership::Following { card: told, .. } => told == card.as_bytes(),
        _ => false,
    };
    assert!(told(&format!("card of redis-{leader}")));
    let peers = follower.peers.borrow().clone();
    assert_eq!(peers.keys().collect::<Vec<_>>(), [&group.nodes[leader].id]);
    group.nodes[leader].announce("news \u{fffd}");
    eventually("the new card is known", || when(told("news \u{fffd}"))).await;
    assert_eq!(group.judge(), 1);
}
