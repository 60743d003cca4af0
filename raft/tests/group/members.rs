//! Nodes come, go, and come back as others.

use std::{collections::BTreeSet, time::Duration};

use bellwether_raft::{Config, Error, Member};
use tokio::sync::watch;

use crate::{
    counter::add,
    flock::{Flock, until},
};

#[tokio::test]
async fn a_node_that_lost_its_memory_comes_back_as_another_and_votes() {
    let mut flock = Flock::running(3).await;
    assert_eq!(flock.add(1).await, Some(1));
    // Each of them in turn, so that in the end none is left that was there at the beginning.
    for n in 0..3 {
        drop(flock.nodes.remove(&n));
        flock.start(n).await;
        flock.voters(&[0, 1, 2]).await;
    }
    assert_eq!(flock.add(2).await, Some(3));
    for n in 0..3 {
        assert_eq!(flock.state(n).await.seen, [1, 2]);
    }
}

/// Discovery names these of the members.
fn named(flock: &Flock, which: &[usize]) -> BTreeSet<Member> {
    which.iter().map(|n| flock.members[*n].clone()).collect()
}

fn hasty(mut config: Config) -> Config {
    config.remove_after = Duration::from_millis(300);
    config
}

#[tokio::test]
async fn members_follow_discovery_but_not_below_the_floor() {
    let mut flock = Flock::new(4);
    let discovery = watch::Sender::new(named(&flock, &[0, 1, 2]));
    flock.discovery = Some(discovery.clone());
    for n in 0..3 {
        flock.start_as(n, hasty(flock.config(n))).await;
    }
    flock.voters(&[0, 1, 2]).await;
    assert_eq!(flock.add(1).await, Some(1));

    discovery.send_replace(named(&flock, &[0, 1, 2, 3]));
    flock.start_as(3, hasty(flock.config(3))).await;
    flock.voters(&[0, 1, 2, 3]).await;
    assert_eq!(flock.state(3).await.sum, 1);

    // The leader itself is no longer named: it hands over, and is removed.
    let gone = flock.leader().await;
    let rest: Vec<usize> = (0..4).filter(|n| *n != gone).collect();
    discovery.send_replace(named(&flock, &rest));
    flock.voters(&rest).await;
    assert_eq!(flock.add(2).await, Some(3));
    let refused = flock.nodes[&gone].propose(add(9)).await;
    assert!(
        matches!(refused, Err(Error::NotLeader { .. } | Error::NoQuorum)),
        "{refused:?}"
    );
    drop(flock.nodes.remove(&gone));

    // Of three one more may go, then two are the floor.
    discovery.send_replace(named(&flock, &rest[..2]));
    flock.voters(&rest[..2]).await;
    discovery.send_replace(named(&flock, &rest[..1]));
    let leader = flock.leader().await;
    let commits = flock.nodes[&leader].status().committed;
    // Long enough for many looks at the membership.
    until("many proposals", async || {
        flock.add(0).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = flock.nodes[&flock.leader().await].status().committed;
        (now > commits.map(|index| index + 50)).then_some(())
    })
    .await;
    flock.voters(&rest[..2]).await;
}

#[tokio::test]
async fn leadership_is_transferred_to_whom_it_is_given() {
    let mut flock = Flock::new(3);
    for n in 0..3 {
        flock.start_patient(n).await;
    }
    assert_eq!(flock.add(0).await, Some(0));
    let term = flock.nodes[&flock.leader().await].status().term;
    for round in 0..3 {
        let leader = flock.leader().await;
        let next = (leader + 1) % 3;
        let id = flock.nodes[&next].id();
        // It must have answered before it is fit.
        until("the transfer", async || {
            flock.nodes[&leader].transfer(id).await.ok()
        })
        .await;
        assert_eq!(flock.leader().await, next);
        assert_eq!(flock.nodes[&next].status().term, term + round + 1);
        let refused = flock.nodes[&leader].transfer(id).await;
        assert!(
            matches!(refused, Err(Error::NotLeader { .. })),
            "{refused:?}"
        );
        let refused = flock.nodes[&next]
            .transfer(bellwether_raft::NodeId(7))
            .await;
        assert!(matches!(refused, Err(Error::Unfit(_))), "{refused:?}");
    }
    assert_eq!(flock.add(1).await, Some(1));
}
