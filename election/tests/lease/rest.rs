//! What an election costs while nothing happens.

use std::time::{Duration, Instant};

use crate::group::{Group, LEASE, eventually, when};
use bellwether_election::LeaseConfig;

#[tokio::test]
async fn at_rest_a_leader_writes_once_a_period_and_a_follower_does_nothing() {
    let default = |member: &str| LeaseConfig::new(LEASE, member);
    let group = Group::with(default, 3).await;
    let leader = group.leader().await;
    eventually("all watch", || when(group.api.watches().len() == 3)).await;
    group.api.forget_requests();
    let since = Instant::now();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let passed = since.elapsed();
    let requests = group.api.requests();
    assert_eq!(group.judge(), 1);
    for (number, node) in group.nodes.iter().enumerate() {
        let of_node = |request: &&bellwether_testkit::kube::Request| {
            request.user.as_deref() == Some(&node.user.name)
        };
        let asked: Vec<_> = requests
            .iter()
            .filter(of_node)
            .map(|one| one.what())
            .collect();
        if number == leader {
            let writes = asked.len() as f64;
            assert!(
                writes >= 3.0 && writes <= passed.as_secs_f64() + 1.0,
                "{asked:?}"
            );
            assert!(asked.iter().all(|what| what == "patch leases"), "{asked:?}");
        } else {
            assert!(asked.is_empty(), "{asked:?}");
        }
    }
}
