//! A majority is lost for good, and somebody says so.

use bellwether_raft::{Consistency, Error, Group, Leadership};

use crate::{
    counter::{Counter, add, sum},
    flock::{Flock, until},
};

async fn alone(mut flock: Flock, n: usize) -> Flock {
    flock.nodes.retain(|other, _| *other == n);
    let node = flock.nodes.remove(&n).expect("it runs");
    let node = node.force_new_group().await;
    flock.nodes.insert(n, node.expect("it goes on"));
    flock
}

async fn add_at(node: &Group<Counter>, number: u64) -> u64 {
    let taken = until("a proposal", async || node.propose(add(number)).await.ok());
    sum(&taken.await)
}

#[tokio::test]
async fn who_is_left_goes_on_alone_and_takes_in_who_comes_without_data() {
    let flock = Flock::running(3).await;
    assert_eq!(flock.add(1).await, Some(1));
    flock.state(2).await;
    let mut flock = alone(flock, 2).await;
    assert_eq!(add_at(&flock.nodes[&2], 2).await, 3);
    flock.voters(&[2]).await;
    for n in 0..2 {
        flock.start(n).await;
    }
    flock.voters(&[0, 1, 2]).await;
    assert_eq!(flock.add(3).await, Some(6));
    for n in 0..3 {
        assert_eq!(flock.state(n).await.seen, [1, 2, 3]);
    }
}

#[tokio::test]
async fn the_new_group_and_what_is_left_of_the_old_one_never_mix() {
    let flock = Flock::on_disk(3).await;
    assert_eq!(flock.add(1).await, Some(1));
    flock.state(0).await;
    let mut flock = alone(flock, 0).await;
    assert_eq!(add_at(&flock.nodes[&0], 10).await, 11);

    // The others were not lost after all.
    for n in 1..3 {
        flock.start(n).await;
    }
    let old = until("the old group leads", async || {
        let leads = |n: &usize| {
            let leadership = flock.nodes[n].leadership();
            let now = leadership.borrow();
            matches!(*now, Leadership::Leading { .. })
        };
        [1, 2].into_iter().find(leads)
    });
    assert_eq!(add_at(&flock.nodes[&old.await], 100).await, 101);
    assert_eq!(add_at(&flock.nodes[&0], 20).await, 31);

    // After a restart it is what it has become.
    flock.nodes.remove(&0).expect("it runs").shutdown().await;
    flock.start(0).await;
    assert_eq!(add_at(&flock.nodes[&0], 30).await, 61);
    let seen = async |n: usize| {
        let node = &flock.nodes[&n];
        let read = node.read(Consistency::Local, |counter| counter.seen.clone());
        read.await.unwrap()
    };
    assert_eq!(seen(0).await, [1, 10, 20, 30]);
    for n in 1..3 {
        until("the follower catches up", async || {
            (seen(n).await == [1, 100]).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn who_belongs_to_no_group_has_none_to_renew() {
    let mut flock = Flock::new(3);
    flock.start(0).await;
    let node = flock.nodes.remove(&0).expect("it runs");
    let refused = node.force_new_group().await;
    assert!(matches!(refused, Err(Error::Unfit(_))), "{refused:?}");
}
