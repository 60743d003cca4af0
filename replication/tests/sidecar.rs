//! Sidecars beside real servers, with an election that the test holds.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bellwether_replication::{Clients, Handle, Papers, Server};
use bellwether_testkit as testkit;
use support::{
    address, eventually,
    group::{Group, control, name},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::{sleep, timeout},
};

/// Appends 1, 2, 3, … through a view until it is told to stop; returns what was acknowledged.
async fn write(handle: Handle, stop: Arc<AtomicBool>) -> Vec<u64> {
    let (mut acknowledged, mut next) = (Vec::new(), 1);
    while !stop.load(Ordering::Relaxed) {
        let primary = handle.view().borrow().primary.clone();
        let Some(Server { address, .. }) = primary else {
            sleep(Duration::from_millis(1)).await;
            continue;
        };
        let Ok(stream) = TcpStream::connect((address.host.as_str(), address.port)).await else {
            continue;
        };
        let mut stream = BufReader::new(stream);
        while !stop.load(Ordering::Relaxed) {
            let command = format!("RPUSH log {next}\r\n");
            let mut reply = String::new();
            let sent = stream.get_mut().write_all(command.as_bytes()).await;
            let read = timeout(support::PATIENCE, stream.read_line(&mut reply)).await;
            let read = read.expect("a writer is answered or cut");
            if sent.is_err() || !read.is_ok_and(|bytes| bytes > 0) || !reply.starts_with(':') {
                // Refused, or unknown: a number is never sent twice.
                next += 1;
                break;
            }
            acknowledged.push(next);
            next += 1;
        }
    }
    acknowledged
}

fn kept(server: &testkit::Redis) -> Vec<u64> {
    let text = server
        .command(&["LRANGE", "log", "0", "-1"])
        .expect("it answers");
    let number = |line: &str| line.parse().expect("numbers were written");
    text.lines().map(number).collect()
}

fn assert_all_kept(server: &testkit::Redis, acknowledged: &[u64]) {
    let kept = kept(server);
    assert!(kept.is_sorted(), "in another order than they were written");
    let lost = |number: &&u64| kept.binary_search(number).is_err();
    let missing: Vec<_> = acknowledged.iter().filter(lost).collect();
    assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_forms_and_switches_over_without_losing_a_write() {
    let group = Group::of(3);
    let all = [0, 1, 2];
    let mut primary = group.formed(&all, 2).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(group.handles[0].clone(), Arc::clone(&stop)));
    for round in 0..6 {
        eventually("some writes", || async {
            (kept(&group.servers[primary]).len() > round * 20).then_some(())
        })
        .await;
        let to = (round % 2 == 0).then(|| name((primary + 1) % 3));
        let switched = group.handles[primary]
            .switch_over(to.clone())
            .await
            .unwrap();
        assert_eq!(switched.from, name(primary));
        assert!(to.is_none_or(|to| to == switched.to));
        let now = group.formed(&all, 2).await;
        assert_eq!(name(now), switched.to);
        assert_eq!(group.primaries(), [now].into());
        primary = now;
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writer.await.unwrap();
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    assert_all_kept(&group.servers[primary], &acknowledged);

    let other = (primary + 1) % 3;
    let refused = group.handles[other].switch_over(None).await.unwrap_err();
    assert!(refused.contains(&name(primary)), "{refused}");
    let refused = group.handles[primary]
        .switch_over(Some("nobody".into()))
        .await;
    assert!(refused.unwrap_err().contains("no member is called nobody"));
    assert_eq!(group.primaries(), [primary].into());
    group.servers[primary].command(&["SET", "k", "v"]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_hands_over_and_the_last_one_fences() {
    let mut group = Group::of(2);
    let first = group.formed(&[0, 1], 1).await;
    let second = 1 - first;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(group.handles[second].clone(), Arc::clone(&stop)));
    eventually("some writes", || async {
        (kept(&group.servers[first]).len() > 20).then_some(())
    })
    .await;
    group.handles[first].leave().await;
    let ended = &mut group.sidecars[first];
    timeout(support::PATIENCE, ended)
        .await
        .expect("it ends")
        .unwrap();
    assert_eq!(group.handles[first].view().borrow().primary, None);
    assert_eq!(group.formed(&[second], 1).await, second);
    assert_eq!(group.primaries(), [second].into());
    stop.store(true, Ordering::Relaxed);
    assert_all_kept(&group.servers[second], &writer.await.unwrap());

    group.handles[second].leave().await;
    let ended = &mut group.sidecars[second];
    timeout(support::PATIENCE, ended)
        .await
        .expect("it ends")
        .unwrap();
    assert!(group.primaries().is_empty(), "nobody looks after a primary");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_dies_is_followed_by_another_and_rejoins() {
    let mut group = Group::of(3);
    let all = [0, 1, 2];
    let first = group.formed(&all, 2).await;
    group.servers[first].command(&["SET", "k", "v"]).unwrap();
    eventually("the write on every server", || async {
        let has_it =
            |server: &testkit::Redis| server.command(&["GET", "k"]).is_ok_and(|v| v == "v");
        group.servers.iter().all(has_it).then_some(())
    })
    .await;
    group.servers[first].kill().unwrap();
    let second = group.formed(&all, 1).await;
    assert_ne!(first, second);
    // It comes back empty, and wipes nobody.
    group.servers[first]
        .restart(testkit::Data::Empty, testkit::Boot::ReplicaOfNowhere)
        .unwrap();
    assert_eq!(group.formed(&all, 2).await, second);
    for server in &group.servers {
        assert_eq!(server.command(&["GET", "k"]).unwrap(), "v");
    }
    // Somebody takes the primary's role by hand: the group has one again.
    control(&address(&group.servers[second]))
        .fence(Clients::Cut)
        .await
        .unwrap();
    eventually("a primary", || async {
        (group.primaries().len() == 1).then_some(())
    })
    .await;
    group.formed(&all, 2).await;
}

/// What operators are told of in the examples' pages.
#[tokio::test(flavor = "multi_thread")]
async fn roles_that_somebody_changes_are_put_right() {
    let group = Group::of(3);
    let all = [0, 1, 2];
    let primary = group.formed(&all, 2).await;
    group.servers[primary].command(&["SET", "k", "v"]).unwrap();
    let replica = &group.servers[(primary + 1) % 3];
    let instance = support::instance(replica);
    support::inspected(&instance, "the copy", |found| found.keys == 1).await;

    replica.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    replica.command(&["SET", "astray", "v"]).unwrap();
    support::inspected(&instance, "its old role", |found| {
        found.link() == Some(bellwether_replication::Link::Up) && found.keys == 1
    })
    .await;
    assert_eq!(group.formed(&all, 2).await, primary);

    let to = address(replica);
    let port = to.port.to_string();
    let failover = ["FAILOVER", "TO", &to.host, &port, "TIMEOUT", "5000"];
    group.servers[primary].command(&failover).unwrap();
    eventually("one primary that all follow", || async {
        let now = group.formed(&all, 2).await;
        (group.primaries() == [now].into()).then_some(())
    })
    .await;
    for server in &group.servers {
        assert_eq!(server.command(&["GET", "k"]).unwrap(), "v");
    }
}

/// Who copies functions from elsewhere, or removes them all, must not change whose the data is.
#[tokio::test(flavor = "multi_thread")]
async fn a_passport_that_users_remove_is_written_again() {
    let group = Group::of(2);
    let primary = group.formed(&[0, 1], 1).await;
    let servers = [&group.servers[primary], &group.servers[1 - primary]];
    let stranger = support::fresh();
    let foreign = bellwether_replication::Passport {
        group: "elsewhere".into(),
        ..support::passport(1_000)
    };
    let other = support::instance(&stranger);
    bellwether_replication::Instance::promote(&other, &foreign)
        .await
        .unwrap();
    let code = stranger.command(&["FUNCTION", "LIST", "WITHCODE"]).unwrap();
    let code = &code[code.find("#!lua").expect("its library")..];
    for attack in [
        vec!["FUNCTION", "FLUSH"],
        vec!["FUNCTION", "LOAD", "REPLACE", code.trim_end()],
    ] {
        servers[0].command(&attack).unwrap();
        for server in servers {
            let instance = support::instance(server);
            support::inspected(&instance, "the passport", |found| {
                matches!(&found.papers, Papers::Passport(passport) if passport.group == "flock")
            })
            .await;
        }
    }
    assert_eq!(group.formed(&[0, 1], 1).await, primary);
}
