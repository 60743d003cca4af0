//! What has to hold, whichever the backend.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bellwether_election::{Leadership, Participant, Rank, seat};
use tokio::time::timeout;

use crate::{
    backend::Backend,
    flock::{DEADLINE, Flock, Node, eventually},
};

pub(crate) async fn one_leads_and_all_follow_it_and_see_its_card(backend: Backend) {
    let mut flock = Flock::standing(backend, 3).await;
    flock.leader().await;
    let told = || {
        let leader = (0..3).find(|n| flock.nodes[*n].leads())?;
        let card = format!("card of {}", flock.nodes[leader].id);
        let mut others = (0..3).filter(|n| *n != leader);
        others
            .all(|n| flock.nodes[n].told().is_some_and(|told| told == card))
            .then_some(())
    };
    eventually("followers see the leader's card", told).await;
    if backend.shows_all_cards() {
        for node in &flock.nodes {
            let peers = node.participant.peers();
            let complete = || (peers.borrow().len() == 2).then_some(());
            eventually("all cards are known", complete).await;
            for (peer, told) in &*peers.borrow() {
                assert_eq!(told.card, format!("card of {peer}"));
            }
        }
    }
}

pub(crate) async fn the_highest_rank_leads_where_ranks_count(backend: Backend) {
    let mut flock = Flock::standing(backend, 3).await;
    let leader = flock.leader().await;
    if backend.compares_ranks() {
        assert_eq!(leader, 2);
        // Nor does it depend on who was first.
        flock.nodes[2].withdraw(None);
        assert_eq!(flock.next_leader().await, 1);
    }
}

pub(crate) async fn a_newcomer_leaves_the_leader_alone(backend: Backend) {
    let mut flock = Flock::silent(backend, 3).await;
    flock.nodes[0].stand(true);
    assert_eq!(flock.leader().await, 0);
    let term = flock.last_term;
    flock.nodes[2].stand(true);
    flock.nodes[2].participant.campaign(Rank(vec![9]));
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(2) {
        // A busy machine may end a spell; whoever stands may lead then.
        if flock.nodes[2].leads() {
            assert!(!flock.nodes[0].leads(), "the leader was not left alone");
            assert_ne!(flock.nodes[2].now().term(), Some(term));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn another_leads_when_the_leader_is_gone(backend: Backend) {
    let mut flock = Flock::standing(backend, 3).await;
    let leader = flock.leader().await;
    let since = Instant::now();
    let dead = flock.kill(leader).await;
    flock.next_leader().await;
    println!("{backend:?}: led again after {:?}", since.elapsed());
    assert_eq!(dead.now(), Leadership::Vacant);
    for node in &flock.nodes {
        let peers = node.participant.peers();
        let forgotten = || (!peers.borrow().contains_key(&dead.id)).then_some(());
        eventually("the dead is forgotten", forgotten).await;
    }
}

pub(crate) async fn the_named_successor_takes_over(backend: Backend) {
    let mut flock = Flock::standing(backend, 3).await;
    let leader = flock.leader().await;
    // The least fit, where that makes a difference.
    let successor = usize::from(leader == 0);
    let heir = flock.nodes[successor].id.clone();
    let since = Instant::now();
    flock.nodes[leader].participant.resign(Some(heir));
    let next = flock.next_leader().await;
    println!("{backend:?}: handed over after {:?}", since.elapsed());
    assert_eq!(next, successor);
}

pub(crate) async fn nobody_leads_when_nobody_stands_until_somebody_does(backend: Backend) {
    let mut flock = Flock::standing(backend, 3).await;
    let leader = flock.leader().await;
    for n in (0..3).filter(|n| *n != leader) {
        flock.nodes[n].withdraw(None);
    }
    flock.nodes[leader].withdraw(None);
    let vacant = || {
        let mut nodes = flock.nodes.iter();
        nodes
            .all(|node| node.now() == Leadership::Vacant)
            .then_some(())
    };
    eventually("nobody leads", vacant).await;
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(1) {
        assert!(flock.nodes.iter().all(|node| !node.leads()));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let next = (leader + 1) % 3;
    flock.nodes[next].stand(true);
    assert_eq!(flock.next_leader().await, next);
    // And the same member again, in another spell.
    flock.nodes[next].withdraw(None);
    eventually("it leads no more", || {
        (!flock.nodes[next].leads()).then_some(())
    })
    .await;
    flock.nodes[next].stand(true);
    assert_eq!(flock.next_leader().await, next);
}

pub(crate) async fn new_cards_reach_the_others(backend: Backend) {
    let mut flock = Flock::standing(backend, 3).await;
    flock.leader().await;
    for node in &flock.nodes {
        node.participant
            .announce(format!("news of {}", node.id).into());
    }
    let told = || {
        let leader = (0..3).find(|n| flock.nodes[*n].leads())?;
        let card = format!("news of {}", flock.nodes[leader].id);
        let mut others = (0..3).filter(|n| *n != leader);
        others
            .all(|n| flock.nodes[n].told().is_some_and(|told| told == card))
            .then_some(())
    };
    eventually("followers see the leader's new card", told).await;
    if backend.shows_all_cards() {
        let all = || {
            let news = |participant: &Participant| {
                let peers = participant.peers();
                let peers = peers.borrow();
                let told = peers
                    .iter()
                    .all(|(id, peer)| peer.card == format!("news of {id}"));
                peers.len() == 2 && told
            };
            let mut nodes = flock.nodes.iter();
            nodes.all(|node| news(&node.participant)).then_some(())
        };
        eventually("all see all new cards", all).await;
    }
}

pub(crate) async fn who_leaves_is_replaced_and_its_run_ends(backend: Backend) {
    let mut flock = Flock::standing(backend, 3).await;
    let leader = flock.leader().await;
    let since = Instant::now();
    let left = flock.nodes.remove(leader);
    let mut seen = left.participant.leadership();
    let ended = timeout(DEADLINE, left.leave()).await;
    let (_, end) = ended.expect("it ends in time").expect("it ends by itself");
    end.expect("it was only left");
    println!("{backend:?}: left after {:?}", since.elapsed());
    assert_eq!(*seen.borrow_and_update(), Leadership::Vacant);
    flock.next_leader().await;
    println!("{backend:?}: led again after {:?}", since.elapsed());
}

pub(crate) async fn who_does_not_stand_never_leads(backend: Backend) {
    let mut flock = Flock::silent(backend, 3).await;
    for node in &flock.nodes[..2] {
        node.stand(true);
    }
    let mut silent = flock.nodes[2].participant.leadership();
    let witness = tokio::spawn(async move {
        while silent.changed().await.is_ok() {
            let now = silent.borrow_and_update().clone();
            assert!(!matches!(now, Leadership::Leading { .. }), "{now:?}");
        }
    });
    for _ in 0..3 {
        let leader = flock.leader().await;
        assert_ne!(leader, 2);
        flock.nodes[leader].participant.resign(None);
        flock.next_leader().await;
    }
    let leader = flock.leader().await;
    flock.kill(leader).await;
    let next = flock.next_leader().await;
    assert_eq!(next, 0, "the last that stands");
    drop(flock.nodes.remove(1).leave());
    assert!(!witness.is_finished() || witness.await.is_ok());
}

pub(crate) async fn who_is_left_alone_leads_only_where_no_majority_is_needed(backend: Backend) {
    let mut flock = Flock::standing(backend, 3).await;
    let leader = flock.leader().await;
    flock.kill((leader + 1) % 3).await;
    let leader = eventually("a leader", || flock.nodes.iter().position(Node::leads)).await;
    flock.kill(1 - leader).await;
    let alone = &flock.nodes[0];
    if backend.leads_alone() {
        eventually("it leads", || alone.leads().then_some(())).await;
        return;
    }
    let vacant = || (alone.now() == Leadership::Vacant).then_some(());
    eventually("nobody leads", vacant).await;
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(3) {
        assert!(!alone.leads(), "it leads without a majority");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn an_election_can_run_again(backend: Backend) {
    let mut members = backend.members(1).await;
    let (_, mut election) = members.elections.remove(0);
    for _ in 0..2 {
        let (participant, seat) = seat("card".into());
        let participant = Arc::new(participant);
        let mut leadership = participant.leadership();
        let application = async {
            participant.campaign(Rank::default());
            let leads = |now: &Leadership| matches!(now, Leadership::Leading { .. });
            let led = timeout(DEADLINE, leadership.wait_for(leads)).await;
            led.expect("it leads in time").expect("the backend lives");
            drop(participant);
        };
        let (end, ()) = tokio::join!(election.run(seat), application);
        end.expect("it was only left");
        assert_eq!(*leadership.borrow(), Leadership::Vacant);
    }
}
