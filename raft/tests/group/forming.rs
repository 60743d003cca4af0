//! A group comes to be, serves, and loses its leader.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bellwether_raft::{Consistency, Error, Group, Leadership};

use crate::{
    counter::{add, sum},
    flock::{Flock, PATIENCE, until},
};

#[tokio::test]
async fn a_group_of_one_serves_alone() {
    let flock = Flock::running(1).await;
    assert_eq!(flock.leader().await, 0);
    assert_eq!(flock.add(3).await, Some(3));
    let node = &flock.nodes[&0];
    let replies = node.propose_many(vec![add(1), add(2)]).await.unwrap();
    assert_eq!(replies.iter().map(sum).collect::<Vec<_>>(), [4, 6]);
    for consistency in [
        Consistency::Local,
        Consistency::Lease,
        Consistency::Linearizable,
    ] {
        let seen = node.read(consistency, |counter| counter.sum).await.unwrap();
        assert_eq!(seen, 6, "{consistency:?}");
    }
}

#[tokio::test]
async fn three_that_start_at_once_form_one_group() {
    let flock = Flock::running(3).await;
    let leader = flock.leader().await;
    for number in 1..=10 {
        assert_eq!(flock.add(number).await, Some((1..=number).sum()));
    }
    // Who follows reads what was acknowledged, and refuses what only the leader may do.
    for (n, node) in &flock.nodes {
        assert_eq!(flock.state(*n).await.sum, 55);
        let status = node.status();
        let voters: BTreeSet<_> = status.voters.iter().map(|peer| peer.id).collect();
        assert_eq!(voters, flock.nodes.values().map(Group::id).collect());
        if *n != leader {
            let refused = node.propose(add(1)).await;
            assert!(
                matches!(&refused, Err(Error::NotLeader { leader: Some(peer) })
                    if peer.id == flock.nodes[&leader].id()),
                "{refused:?}"
            );
            let refused = node.read(Consistency::Lease, |counter| counter.sum).await;
            assert!(
                matches!(refused, Err(Error::NotLeader { .. })),
                "{refused:?}"
            );
        }
    }
}

#[tokio::test]
async fn when_the_leader_dies_the_others_go_on_with_all_that_was_acknowledged() {
    let mut flock = Flock::running(3).await;
    assert_eq!(flock.add(1).await, Some(1));
    let leader = flock.leader().await;
    let leadership = flock.nodes[&leader].leadership();
    drop(flock.nodes.remove(&leader));
    assert_eq!(flock.add(2).await, Some(3));
    // Who acted by its leadership is told, whatever its lease says.
    assert_eq!(*leadership.borrow(), Leadership::Vacant);
    for n in flock.nodes.keys() {
        assert_eq!(flock.state(*n).await.seen, [1, 2]);
    }
}

#[tokio::test]
async fn a_leader_that_ends_cleanly_hands_over() {
    let mut flock = Flock::new(3);
    for n in 0..3 {
        flock.start_patient(n).await;
    }
    assert_eq!(flock.add(1).await, Some(1));
    let leader = flock.leader().await;
    let began = Instant::now();
    let node = flock.nodes.remove(&leader).expect("it leads");
    let leadership = node.leadership();
    node.shutdown().await;
    assert_eq!(*leadership.borrow(), Leadership::Vacant);
    assert_eq!(flock.add(2).await, Some(3));
    // Without it the others would have waited for longer.
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn without_a_majority_nothing_new_is_taken_and_local_reads_go_on() {
    let mut flock = Flock::running(3).await;
    assert_eq!(flock.add(1).await, Some(1));
    let leader = flock.leader().await;
    flock.nodes.retain(|n, _| *n == leader);
    let node = &flock.nodes[&leader];
    let refused = until("the lease ends", async || {
        match node.propose(add(9)).await {
            Err(Error::Unknown) | Ok(_) => None,
            Err(refused) => Some(refused),
        }
    });
    let refused = refused.await;
    assert!(matches!(refused, Error::NoQuorum), "{refused:?}");
    let stale = node.read(Consistency::Lease, |counter| counter.sum).await;
    assert!(stale.is_err(), "{stale:?}");
    let fresh = node
        .read(Consistency::Linearizable, |counter| counter.sum)
        .await;
    assert!(matches!(fresh, Err(Error::NoQuorum)), "{fresh:?}");
    assert_eq!(
        node.read(Consistency::Local, |counter| counter.sum)
            .await
            .unwrap(),
        1
    );
}

#[tokio::test]
async fn what_was_taken_before_the_majority_was_lost_ends_as_unknown() {
    let timeout = Duration::from_secs(3);
    until("a proposal is taken within the lease", async || {
        let mut flock = Flock::new(3);
        for n in 0..3 {
            let mut config = flock.config(n);
            (config.election_min, config.election_max) = (timeout / 2, timeout);
            config.proposal_timeout = timeout;
            config.peer_timeout = timeout;
            flock.start_as(n, config).await;
        }
        assert_eq!(flock.add(1).await, Some(1));
        let leader = flock.leader().await;
        flock.nodes.retain(|n, _| *n == leader);
        let node = &flock.nodes[&leader];
        let began = Instant::now();
        match node.propose(add(9)).await {
            Err(Error::Unknown) => assert!(began.elapsed() >= timeout),
            // A machine that is so busy has to try again.
            Err(Error::NoQuorum | Error::NotLeader { .. }) => return None,
            other => panic!("{other:?}"),
        }
        let refused = node.propose(add(9)).await;
        assert!(matches!(refused, Err(Error::NoQuorum)), "{refused:?}");
        let seen = node.read(Consistency::Local, |counter| counter.sum).await;
        assert_eq!(seen.expect("it is local"), 1);
        Some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let flock = Flock::running(1).await;
    let node = &flock.nodes[&flock.leader().await];
    let bound = flock.config(0).max_proposal;
    let refused = node.propose(vec![0; bound + 1].into()).await;
    assert!(
        matches!(refused, Err(Error::TooLarge { bytes, bound: b }) if bytes == bound + 1 && b == bound),
        "{refused:?}"
    );
    let many = vec![bytes::Bytes::from(vec![0; bound]); 2];
    let refused = node.propose_many(many).await;
    assert!(
        matches!(refused, Err(Error::TooLarge { .. })),
        "{refused:?}"
    );
    assert_eq!(flock.add(1).await, Some(1));
}
