//! Troubles between the candidates and the API, and of the Lease itself.

use std::{sync::Arc, time::Duration};

use bellwether_election::{LeaseConfig, Term};
use bellwether_testkit::kube::{Act, Fault, KubeApi, Refusal};
use serde_json::json;
use tokio::time::sleep;

use crate::group::{Group, eventually, quick, when};

/// The API in trouble until it is healed: nobody leads after its lease, and somebody does when all
/// is well again. Returns the number of spells.
async fn survives(trouble: impl Fn(&KubeApi), healed: impl Fn(&KubeApi)) -> usize {
    let group = Group::start(3).await;
    group.leader().await;
    trouble(&group.api);
    for node in &group.nodes {
        node.link.break_off().expect("connections break");
    }
    eventually("nobody leads", || when(group.leading().is_none())).await;
    // Longer than any lease that was begun meanwhile.
    sleep(quick("").lease_duration).await;
    group.judge();
    healed(&group.api);
    group.leader().await;
    group.judge()
}

#[tokio::test]
async fn the_api_is_away() {
    let links = Arc::new(std::sync::Mutex::new(Vec::new()));
    let group = Group::start(3).await;
    let leader = group.leader().await;
    for node in &group.nodes {
        node.link.refuse().expect("the API is away");
        links.lock().unwrap().push(node.link.address());
    }
    eventually("nobody leads", || when(group.leading().is_none())).await;
    let problem = group.nodes[leader].problem().expect("the leader says why");
    assert!(problem.contains("Lease default/redis"), "{problem}");
    sleep(quick("").lease_duration).await;
    for node in &group.nodes {
        node.link.heal().expect("the API is back");
    }
    group.leader().await;
    eventually("the problem is over", || {
        when(group.nodes[leader].problem().is_none())
    })
    .await;
    group.judge();
}

#[tokio::test]
async fn the_api_is_a_black_hole() {
    let group = Group::start(3).await;
    group.leader().await;
    for node in &group.nodes {
        node.link.silence().expect("the API is silent");
    }
    eventually("nobody leads", || when(group.leading().is_none())).await;
    sleep(quick("").lease_duration).await;
    for node in &group.nodes {
        // What was sent meanwhile arrives now.
        node.link.heal().expect("the API is back");
    }
    group.leader().await;
    group.judge();
}

#[tokio::test]
async fn the_leader_alone_is_cut_off() {
    let group = Group::start(3).await;
    let leader = group.leader().await;
    group.nodes[leader].link.silence().expect("it is cut off");
    let next = eventually("another leads", || {
        group.leading().filter(|now| *now != leader)
    })
    .await;
    assert!(!group.nodes[leader].leads());
    group.nodes[leader].link.heal().expect("it is back");
    assert_eq!(group.leader().await, next);
    assert_eq!(group.judge(), 2);
}

#[tokio::test]
async fn the_api_is_slower_than_its_callers_wait() {
    let late = Fault::new(Act::Delay(Duration::from_secs(3)));
    let late = std::sync::Mutex::new(Some(late));
    survives(
        |api| {
            api.add_fault(late.lock().unwrap().take().expect("once"));
        },
        KubeApi::clear_faults,
    )
    .await;
}

#[tokio::test]
async fn answers_get_lost() {
    survives(
        |api| {
            api.add_fault(Fault::new(Act::DropAfter).resource("leases"));
        },
        KubeApi::clear_faults,
    )
    .await;
}

#[tokio::test]
async fn the_server_fails() {
    survives(
        |api| {
            api.add_fault(Fault::new(Act::Refuse(Refusal::Internal)).verbs(&["patch", "get"]));
        },
        KubeApi::clear_faults,
    )
    .await;
}

/// A healthy leader whose every second renewal comes to nothing stays the leader.
async fn every_second_renewal_fails(act: Act) {
    let default = |member: &str| LeaseConfig::new(crate::group::LEASE, member);
    let group = Group::with(default, 3).await;
    let leader = group.leader().await;
    let term = group.nodes[leader].term();
    let fault = Fault::new(act.clone()).verbs(&["patch"]).every(2);
    let fault = group.api.add_fault(fault);
    eventually("five renewals fail", || when(group.api.struck(fault) >= 5)).await;
    assert!(group.nodes[leader].leads(), "{act:?}");
    assert_eq!(group.nodes[leader].term(), term, "{act:?}");
    assert_eq!(group.judge(), 1, "{act:?}");
}

#[tokio::test]
async fn conflicts_at_every_second_renewal() {
    every_second_renewal_fails(Act::Refuse(Refusal::Conflict)).await;
}

#[tokio::test]
async fn the_server_asks_to_wait_at_every_second_renewal() {
    every_second_renewal_fails(Act::Refuse(Refusal::TooManyRequests(1))).await;
}

#[tokio::test]
async fn the_server_is_overloaded_at_every_second_renewal() {
    every_second_renewal_fails(Act::Refuse(Refusal::Overloaded)).await;
}

#[tokio::test]
async fn every_second_answer_gets_lost() {
    every_second_renewal_fails(Act::DropAfter).await;
}

#[tokio::test]
async fn half_of_all_calls_are_refused() {
    for refusal in [Refusal::Conflict, Refusal::TooManyRequests(1)] {
        let group = Group::start(3).await;
        let fault = Fault::new(Act::Refuse(refusal)).chance(0.5, 7);
        let fault = group.api.add_fault(fault);
        eventually("forty are refused", || when(group.api.struck(fault) >= 40)).await;
        group.api.clear_faults();
        group.leader().await;
        group.judge();
    }
}

#[tokio::test]
async fn the_lease_is_deleted_under_its_leader() {
    let group = Group::start(3).await;
    let leader = group.leader().await;
    let term = group.nodes[leader].term();
    for _ in 0..3 {
        group.delete();
        let holder = || {
            group.lease()["spec"]["holderIdentity"]
                .as_str()
                .map(str::to_owned)
        };
        eventually("the leader holds it again", || {
            holder().filter(|holder| holder.starts_with(&format!("redis-{leader}_")))
        })
        .await;
    }
    assert_eq!(group.leader().await, leader);
    assert_eq!(group.nodes[leader].term(), term);
    assert_eq!(group.judge(), 1, "its spell went on");
}

#[tokio::test]
async fn the_lease_is_deleted_and_its_leader_dead() {
    let mut group = Group::start(2).await;
    let leader = group.leader().await;
    let term = group.nodes[leader].term();
    group.kill(leader);
    group.delete();
    assert_eq!(group.leader().await, 1 - leader);
    assert!(group.nodes[1 - leader].term() > term);
    group.judge();
}

#[tokio::test]
async fn terms_grow_though_nobody_remembers_them() {
    let mut group = Group::start(1).await;
    group.leader().await;
    let term = group.nodes[0].term();
    group.kill(0);
    group.delete();
    group.join(1).await;
    eventually("the next one leads", || when(group.nodes[1].leads())).await;
    assert!(group.nodes[1].term() > term);
    group.judge();
}

#[tokio::test]
async fn the_holder_is_erased_by_hand() {
    let group = Group::start(3).await;
    let leader = group.leader().await;
    let term = group.nodes[leader].term();
    group
        .api
        .update("leases", "default", crate::group::LEASE, |lease| {
            lease["spec"]["holderIdentity"] = json!("");
        })
        .expect("the Lease is changed");
    eventually("the leader wrote over it", || {
        when(group.lease()["spec"]["holderIdentity"] != "")
    })
    .await;
    assert_eq!(group.leader().await, leader);
    assert_eq!(group.nodes[leader].term(), term);
    assert_eq!(group.judge(), 1);
}

#[tokio::test]
async fn the_lease_is_labelled_by_somebody() {
    let group = Group::start(2).await;
    let leader = group.leader().await;
    for count in 0..5 {
        let label = json!({ "count": count.to_string() });
        let labelled = group
            .api
            .update("leases", "default", crate::group::LEASE, |lease| {
                lease["metadata"]["labels"] = label.clone();
            });
        labelled.expect("the Lease is changed");
        let calls = group.nodes[leader].status.borrow().calls;
        eventually("it was renewed", || {
            when(group.nodes[leader].status.borrow().calls > calls + 1)
        })
        .await;
    }
    assert_eq!(
        group.lease()["metadata"]["labels"]["count"],
        "4",
        "it is kept"
    );
    assert_eq!(group.leader().await, leader);
    assert_eq!(group.judge(), 1);
}

#[tokio::test]
async fn watches_are_cut_expired_and_silent() {
    let group = Group::start(3).await;
    let mut leader = group.leader().await;
    for round in 0..4 {
        match round {
            0 => group.api.cut_watches(|_| true),
            1 => group.api.expire_watches(|_| true),
            2 => group.api.end_watches(|_| true),
            _ => group.api.silence_watches(|_| true),
        }
        group.nodes[leader].resign(None);
        let next = eventually("another leads", || {
            group.leading().filter(|now| *now != leader)
        });
        let next = next.await;
        group.nodes[leader].stand(true);
        assert_eq!(group.leader().await, next);
        leader = next;
    }
    assert_eq!(group.judge(), 5);
}

#[tokio::test]
async fn a_lower_term_by_hand_is_risen_above() {
    let group = Group::start(2).await;
    let leader = group.leader().await;
    group
        .api
        .update("leases", "default", crate::group::LEASE, |lease| {
            lease["metadata"]["annotations"]["bellwether.dev/term"] = json!("0");
            lease["spec"]["holderIdentity"] = json!("");
            lease["metadata"]["annotations"]["bellwether.dev/holder"] = json!("");
        })
        .expect("the Lease is changed");
    let risen = || group.leading().and_then(|now| group.nodes[now].term());
    let before = group.nodes[leader].term().unwrap_or(Term(0));
    eventually("somebody leads in a higher term", || {
        when(risen() > Some(before))
    })
    .await;
    group.leader().await;
    group.judge();
}
