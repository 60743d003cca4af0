//! The timestamp election over real TCP, on loopback.

mod group;
mod hostile;

use std::{collections::BTreeSet, time::Duration};

use bellwether_election::{Election, Leadership, Rank, Timestamp, TimestampConfig, seat};
use bytes::Bytes;
use tokio::sync::watch;

use group::{Group, Node, eventually};

#[tokio::test]
async fn three_members_form_a_group() {
    let group = Group::start(3).await;
    let leader = group.leader().await;
    let term = group.nodes[leader].term().expect("it leads");
    for node in &group.nodes {
        let peers = node.participant.peers();
        eventually("the peers' cards are known", || peers.borrow().len() == 2).await;
        let card = format!("card of {}", group.nodes[leader].id.member);
        if let Leadership::Following {
            card: told,
            term: followed,
            ..
        } = node.now()
        {
            assert_eq!(told, card.as_bytes());
            assert_eq!(followed, term);
        }
    }
}

#[tokio::test]
async fn the_highest_rank_wins_the_first_vote() {
    let mut group = Group::unspoken(3).await;
    for (rank, node) in (0..).zip(&group.nodes) {
        node.participant.campaign(Rank(vec![rank]));
    }
    assert_eq!(group.leader().await, 2);
    // A newcomer respects who leads, whatever its own rank.
    let late = group.add().await;
    group.nodes[late].participant.campaign(Rank(vec![9]));
    assert_eq!(group.leader().await, 2);
}

#[tokio::test]
async fn another_leads_when_the_leader_is_killed() {
    let mut group = Group::start(3).await;
    let leader = group.leader().await;
    let before = group.nodes[leader].term();
    let since = std::time::Instant::now();
    group.kill(leader).await;
    let next = group.leader().await;
    println!("led again after {:?}", since.elapsed());
    assert!(group.nodes[next].term() > before);
    let peers = group.nodes[next].participant.peers();
    eventually("the dead is forgotten", || peers.borrow().len() == 1).await;
}

#[tokio::test]
async fn the_named_successor_takes_over() {
    let group = Group::start(3).await;
    let leader = group.leader().await;
    let successor = (leader + 1) % 3;
    let before = group.nodes[leader].term();
    let heir = group.nodes[successor].id.clone();
    let since = std::time::Instant::now();
    group.nodes[leader].participant.resign(Some(heir));
    eventually("the successor leads", || group.nodes[successor].leads()).await;
    println!("handed over after {:?}", since.elapsed());
    assert_eq!(group.leader().await, successor);
    assert!(group.nodes[successor].term() > before);
}

#[tokio::test]
async fn who_leaves_is_replaced() {
    let mut group = Group::start(3).await;
    let leader = group.leader().await;
    let since = std::time::Instant::now();
    let Node {
        participant, task, ..
    } = group.nodes.remove(leader);
    let mut seen = participant.leadership();
    drop(participant);
    task.await
        .expect("the task ends by itself")
        .expect("without an error");
    println!("left after {:?}", since.elapsed());
    assert_eq!(*seen.borrow_and_update(), Leadership::Vacant);
    group.leader().await;
    println!("led again after {:?}", since.elapsed());
}

#[tokio::test]
async fn a_member_that_is_alone_leads_and_steps_down_for_a_better_one() {
    let group = Group::islands(2).await;
    for (rank, node) in (0..).zip(&group.nodes) {
        node.participant.campaign(Rank(vec![rank]));
    }
    for node in &group.nodes {
        eventually("each leads its island", || node.leads()).await;
    }
    let worse = group.nodes[0].term();
    group.bridge();
    eventually("the worse follows", || !group.nodes[0].leads()).await;
    assert_eq!(group.leader().await, 1);
    assert!(group.nodes[1].term() > worse);
}

#[tokio::test]
async fn one_connection_of_two_members_remains() {
    let group = Group::start(2).await;
    group.leader().await;
    let opened = || -> u64 {
        group
            .nodes
            .iter()
            .map(|node| node.stats.borrow().connections_opened)
            .sum()
    };
    // Each dials itself and the other at the start; afterwards nobody has a reason to.
    let first = opened();
    assert!(first <= 8, "{first} ends of connections");
    let mut peers = group.nodes[0].participant.peers();
    let lost = tokio::time::timeout(Duration::from_secs(2), async {
        while !peers.borrow_and_update().is_empty() {
            peers.changed().await.expect("the backend lives");
        }
    });
    assert!(lost.await.is_err(), "the peer was lost for a while");
    assert_eq!(opened(), first);
}

#[tokio::test]
async fn a_card_reaches_the_others_at_once() {
    let group = Group::start(3).await;
    let leader = group.leader().await;
    group.nodes[leader].participant.announce("news".into());
    for node in group.nodes.iter().filter(|node| !node.leads()) {
        let told = || match node.now() {
            Leadership::Following { card, .. } => card == "news",
            _ => false,
        };
        eventually("followers see the leader's new card", told).await;
    }
}

#[tokio::test]
async fn who_cannot_reach_the_leader_follows_it_through_another() {
    let group = Group::islands(3).await;
    let [leader, middle, end] = &group.nodes[..] else {
        unreachable!("three were started")
    };
    // The ends never learn of each other's address.
    for (node, other) in [(leader, middle), (middle, leader), (end, middle)] {
        node.members.send_replace([other.host_and_port()].into());
    }
    leader.participant.campaign(Rank(vec![1]));
    middle.participant.resign(None);
    end.participant.campaign(Rank(vec![9]));
    eventually("one leads", || leader.leads() || end.leads()).await;
    let (leader, end) = if leader.leads() {
        (leader, end)
    } else {
        (end, leader)
    };
    let card = format!("card of {}", leader.id.member);
    let follows = || match end.now() {
        Leadership::Following {
            leader: followed,
            card: told,
            ..
        } => followed == leader.id && told == card.as_bytes(),
        _ => false,
    };
    eventually("the other end follows", follows).await;
    assert_eq!(end.participant.peers().borrow().len(), 1);
}

#[tokio::test]
async fn an_election_can_run_again_as_another_life() {
    let config = TimestampConfig::new("flock", "a", ([127, 0, 0, 1], 0).into());
    let (_members, listed) = watch::channel(BTreeSet::new());
    let mut election = Timestamp::new(config, listed).expect("loopback can be listened on");
    let (node, address) = (election.node().clone(), election.local_addr());
    for _ in 0..2 {
        let (participant, seat) = seat(Bytes::new());
        participant.campaign(Rank::default());
        let mut leadership = participant.leadership();
        let application = async {
            let leads = |now: &Leadership| matches!(now, Leadership::Leading { .. });
            leadership.wait_for(leads).await.expect("the backend lives");
            drop(participant);
        };
        let (end, ()) = tokio::join!(election.run(seat), application);
        end.expect("it was only left");
        assert_eq!(*leadership.borrow(), Leadership::Vacant);
    }
    assert_eq!(election.local_addr(), address);
    assert_ne!(*election.node(), node);
}

/// A member whose whole runtime stands still is a process that is stopped, as far as its peers and
/// its sockets are concerned.
#[tokio::test]
async fn a_stopped_leader_is_replaced_after_its_lease_has_ended() {
    let mut group = Group::start(2).await;
    let stopped = group.add_apart().await;
    group.nodes[stopped].participant.campaign(Rank::default());
    let leader = group.leader().await;
    group.nodes[leader]
        .participant
        .resign(Some(group.nodes[stopped].id.clone()));
    eventually("it leads", || group.nodes[stopped].leads()).await;
    assert_eq!(group.leader().await, stopped);

    group.nodes[stopped].stop(Duration::from_secs(4));
    let other = || (0..2).find(|n| group.nodes[*n].leads());
    eventually("another leads", || {
        let old = group.nodes[stopped].leads();
        let new = other();
        // Read in this order: the old lease does not come back.
        assert!(!old || new.is_none(), "two lead");
        new.is_some()
    })
    .await;
    let next = other().expect("seen above");
    assert!(group.nodes[next].term() > group.nodes[stopped].term());
    assert_eq!(
        group.leader().await,
        next,
        "the stopped one follows when it continues"
    );
}
