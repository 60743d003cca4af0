//! Proposals at nodes that do not lead.

use std::time::Duration;

use bellwether_raft::{Error, Group};

use crate::{
    counter::{Counter, add, sum},
    flock::{Flock, until},
};

#[tokio::test]
async fn whoever_is_asked_brings_a_proposal_to_the_leader() {
    let flock = Flock::running(3).await;
    assert_eq!(flock.add(1).await, Some(1));
    for n in 0..3 {
        let reply = until("a proposal is taken", async || {
            match flock.nodes[&n].submit(add(1)).await {
                Ok(reply) => Some(Some(sum(&reply))),
                // It may have been applied; the sum then shows it.
                Err(Error::Unknown) => Some(None),
                Err(Error::NotLeader { .. } | Error::NoQuorum) => None,
                Err(error) => panic!("{error}"),
            }
        });
        if let Some(sum) = reply.await {
            assert!((2..=2 + n as u64).contains(&sum), "{sum} at node {n}");
        }
    }
}

#[tokio::test]
async fn a_proposal_that_is_too_large_or_has_no_leader_is_refused() {
    let mut flock = Flock::new(2);
    let mut config = flock.config(0);
    config.max_proposal = 64;
    config.proposal_timeout = Duration::from_secs(1);
    flock.start_as(0, config).await;
    let alone: &Group<Counter> = &flock.nodes[&0];
    let refused = alone.submit(vec![0; 65].into()).await;
    assert!(
        matches!(refused, Err(Error::TooLarge { .. })),
        "{refused:?}"
    );
    let refused = alone.submit(add(1)).await;
    assert!(
        matches!(refused, Err(Error::NotLeader { leader: None })),
        "{refused:?}"
    );
}
