//! Nodes that come back with what they had.

use std::collections::BTreeMap;

use bellwether_raft::{Config, Consistency, Group, Roster, Storage};
use bytes::Bytes;

use crate::{
    counter::{Counter, add},
    flock::{Flock, until},
};

/// A log that is cut after a few entries.
fn short(mut config: Config) -> Config {
    config.max_proposal = 1024;
    config.max_batch = 4 * 1024;
    config.snapshot_after = 4 * 1024;
    config
}

#[tokio::test]
async fn a_group_that_ends_as_a_whole_goes_on_where_it_was() {
    let mut flock = Flock::on_disk(3).await;
    for number in 1..=5 {
        assert_eq!(flock.add(number).await, Some((1..=number).sum()));
    }
    let ids: BTreeMap<_, _> = flock
        .nodes
        .iter()
        .map(|(n, node)| (*n, node.id()))
        .collect();
    for life in 6..9 {
        flock.nodes.clear();
        for n in 0..3 {
            flock.start(n).await;
            assert_eq!(flock.nodes[&n].id(), ids[&n]);
        }
        assert_eq!(flock.add(life).await, Some((1..=life).sum()));
    }
    for n in 0..3 {
        assert_eq!(flock.state(n).await.seen, (1..9).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn who_was_away_is_sent_a_snapshot_and_the_rest() {
    let mut flock = Flock::on_disk(3).await;
    flock.leader().await;
    for n in 0..3 {
        flock.nodes.remove(&n).expect("it runs").shutdown().await;
        flock.start_as(n, short(flock.config(n))).await;
    }
    assert_eq!(flock.add(1).await, Some(1));
    let leader = flock.leader().await;
    let away = (leader + 1) % 3;
    flock.nodes.remove(&away).expect("it runs").shutdown().await;

    let many: Vec<Bytes> = (0..50).map(add).collect();
    until("the log is cut", async || {
        for _ in 0..20 {
            flock.nodes[&leader].propose_many(many.clone()).await.ok()?;
        }
        flock.nodes[&leader].status().purged
    })
    .await;
    flock.start_as(away, short(flock.config(away))).await;
    let expected = flock.state(leader).await;
    let found = until("the node has caught up", async || {
        let local = flock.nodes[&away]
            .read(Consistency::Local, Counter::clone)
            .await;
        local
            .ok()
            .filter(|state| state.seen.len() >= expected.seen.len())
    });
    assert_eq!(found.await, expected);
    assert!(flock.nodes[&away].status().snapshot.is_some());

    // It restarts from the snapshot that it was sent, and from the log behind it.
    flock.nodes.remove(&away).expect("it runs").shutdown().await;
    flock.start_as(away, short(flock.config(away))).await;
    assert_eq!(flock.state(away).await, expected);
}

#[tokio::test]
async fn a_directory_serves_one_node_of_one_group() {
    let flock = Flock::on_disk(1).await;
    assert_eq!(flock.add(1).await, Some(1));
    let refused = async |change: fn(&mut Config)| {
        let mut config = flock.config(0);
        config.listen.set_port(0);
        change(&mut config);
        let mut members = flock.members.clone();
        members[0].name.clone_from(&config.member);
        let started = Group::start(config, Roster::fixed(members), Counter::default()).await;
        started.expect_err("it is not its own").to_string()
    };
    let said = refused(|_| ()).await;
    assert!(
        said.contains("node-0: is used by another process"),
        "{said}"
    );
    let directory = flock.config(0).storage;
    let Flock {
        mut nodes,
        disk,
        members,
        ..
    } = flock;
    nodes.remove(&0).expect("it runs").shutdown().await;
    for (group, member, expected) in [
        (
            "herd",
            "node-0",
            "belongs to group \"flock\", not to \"herd\"",
        ),
        (
            "flock",
            "dolly",
            "belongs to member \"node-0\", not to \"dolly\"",
        ),
    ] {
        let mut members = members.clone();
        members[0].name = member.into();
        let said = until("the directory is free", async || {
            let config = Config::new(group, member, ([127, 0, 0, 1], 0).into(), directory.clone());
            let roster = Roster::fixed(members.clone());
            let started = Group::start(config, roster, Counter::default()).await;
            let said = started.expect_err("it is another's").to_string();
            (!said.contains("another process")).then_some(said)
        });
        let said = said.await;
        assert!(said.contains(expected), "{said}");
    }
    assert!(
        matches!(directory, Storage::Directory(path) if path.starts_with(disk.expect("it has one").path()))
    );
}
