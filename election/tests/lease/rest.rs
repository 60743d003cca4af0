//! What an election costs while nothing happens.

use std::time::{Duration, Instant};

use crate::group::{Group, LEASE, eventually, when};
use bellwether_election::LeaseConfig;
use bellwether_testkit::kube::Request;

#[tokio::test]
async fn at_rest_a_leader_writes_once_a_period_and_a_follower_does_nothing() {
    let default = |member: &str| LeaseConfig::new(LEASE, member);
    let group = Group::with(default, 3).await;
    let leader = group.leader().await;
    eventually("all watch", || when(group.api.watches().len() == 3)).await;
    // On a busy machine a renewal may be so late that a follower looks for itself, once.
    let mut last = String::new();
    for _ in 0..10 {
        match rest(&group, leader).await {
            Ok(()) => return,
            Err(found) => last = found,
        }
        assert_eq!(group.judge(), 1);
    }
    panic!("there is no rest: {last}");
}

/// Some seconds in which the leader does nothing but renew, and the others nothing at all.
async fn rest(group: &Group, leader: usize) -> Result<(), String> {
    group.api.forget_requests();
    let since = Instant::now();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let passed = since.elapsed().as_secs_f64();
    let requests = group.api.requests();
    for (number, node) in group.nodes.iter().enumerate() {
        let of_node = |request: &&Request| request.user.as_deref() == Some(&node.user.name);
        let asked = requests.iter().filter(of_node).map(Request::what);
        let asked: Vec<_> = asked.collect();
        let writes = asked.len() as f64;
        let right = if number == leader {
            let renews = asked.iter().all(|what| what == "patch leases");
            renews && writes >= 2.0 && writes <= passed + 1.0
        } else {
            asked.is_empty()
        };
        if !right {
            return Err(format!(
                "member {number} of {leader}: {asked:?} in {passed} s"
            ));
        }
    }
    Ok(())
}
