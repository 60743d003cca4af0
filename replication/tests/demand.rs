//! Primaries that demand replicas of themselves, so that they stop without an agent.

mod support;

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bellwether_replication::{Error, Instance, MinReplicas, Redis};
use bellwether_testkit::{self as testkit, Data, Options};
use support::{
    PATIENCE, address, eventually, fresh, group::Group, group::Kind, inspected, instance, passport,
    with_args,
};

const ONE: MinReplicas = MinReplicas {
    count: 1,
    max_lag: Duration::from_secs(2),
};

/// Agents from now on have their server demand one replica.
fn one(config: &mut bellwether_replication::SidecarConfig) {
    config.min_replicas_to_write = 1;
}

fn group_of(size: usize, options: &Options) -> Group {
    let mut group = Group::without_agents(Kind::Vote, size, options);
    group.configure = one;
    for number in 0..size {
        group.start_agent(number);
    }
    group
}

fn write(server: &testkit::Redis) -> Result<(), String> {
    let reply = server.command(&["SET", "k", "v"]);
    reply.map(drop).map_err(|error| format!("{error:#}"))
}

/// Waits until it takes writes.
async fn takes_writes(server: &testkit::Redis) {
    eventually("a write", || async { write(server).ok() }).await;
}

/// Waits until it refuses writes for want of replicas; how long that took.
async fn refuses_writes(server: &testkit::Redis) -> Duration {
    let since = Instant::now();
    eventually("NOREPLICAS", || async {
        let refusal = write(server).err()?;
        refusal.contains("NOREPLICAS").then_some(())
    })
    .await;
    since.elapsed()
}

async fn demanded(instance: &Redis) -> Option<u32> {
    let found = instance.inspect().await.ok()?;
    found.min_replicas.map(|demand| demand.count)
}

/// Writes without pause, many at a time, until it is told to stop; how many were refused.
fn refused_writes(mut stream: TcpStream, stop: &AtomicBool) -> usize {
    const AT_ONCE: usize = 50;
    let mut replies = BufReader::new(stream.try_clone().expect("a handle")).lines();
    let mut refused = 0;
    while !stop.load(Ordering::Relaxed) {
        let batch = "SET k v\r\n".repeat(AT_ONCE);
        stream.write_all(batch.as_bytes()).expect("it is connected");
        for reply in replies.by_ref().take(AT_ONCE) {
            let reply = reply.expect("it is not cut");
            assert!(reply.starts_with("-NOREPLICAS"), "{reply}");
            refused += 1;
        }
    }
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demand_is_made_and_inspected() {
    let server = fresh();
    let instance = instance(&server);
    assert_eq!(demanded(&instance).await, Some(0));
    for _ in 0..2 {
        instance.demand_replicas(ONE).await.unwrap();
        let found = instance.inspect().await.unwrap();
        assert_eq!(found.min_replicas, Some(ONE));
    }
    instance.promote(&passport(1)).await.unwrap();
    assert!(write(&server).unwrap_err().contains("NOREPLICAS"));

    let replica = fresh();
    let other = support::instance(&replica);
    other.follow(&address(&server)).await.unwrap();
    takes_writes(&server).await;
    // Its connection ends: that is noticed at once, whatever the lag.
    replica.command(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
    refuses_writes(&server).await;
}

/// Clients that write without pause must find no gap while the passport is written.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_passport_is_written_without_replicas() {
    let server = fresh();
    let instance = instance(&server);
    instance.demand_replicas(ONE).await.unwrap();
    instance.promote(&passport(1)).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let stream = TcpStream::connect(server.address()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || refused_writes(stream, &stop))
        })
        .collect();
    for term in 2..=100 {
        instance.stamp(&passport(term)).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        let refused = writer.join().expect("no write was acknowledged");
        assert!(refused > 1_000, "only {refused} tried");
    }
    let found = instance.inspect().await.unwrap();
    assert_eq!(found.papers.passport(), Some(&passport(100)));
    assert_eq!((found.min_replicas, found.keys), (Some(ONE), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_primary_stops_when_its_replicas_turn_away() {
    let group = group_of(3, &Options::default());
    let old = group.formed(&[0, 1, 2], 2).await;
    let [second, third] = [(old + 1) % 3, (old + 2) % 3];
    takes_writes(&group.servers[old]).await;
    (0..3).for_each(|number| group.kill_agent(number));
    // What the next leader and the others' agents would do; nobody reaches the old primary.
    let of = |number: usize| instance(&group.servers[number]);
    of(second).promote(&passport(1_000)).await.unwrap();
    let next = address(&group.servers[second]);
    of(third).follow(&next).await.unwrap();
    let took = refuses_writes(&group.servers[old]).await;
    println!("refused {took:?} after the last replica turned away");
    assert!(group.servers[old].role().unwrap().is_primary());
    // It is as before once a replica is back.
    of(third)
        .follow(&address(&group.servers[old]))
        .await
        .unwrap();
    takes_writes(&group.servers[old]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_primary_stops_when_its_replicas_fall_silent() {
    let mut group = group_of(3, &Options::default());
    let old = group.formed(&[0, 1, 2], 2).await;
    takes_writes(&group.servers[old]).await;
    (0..3).for_each(|number| group.kill_agent(number));
    let others = [(old + 1) % 3, (old + 2) % 3];
    for other in others {
        group.servers[other].stop().unwrap();
    }
    let took = refuses_writes(&group.servers[old]).await;
    println!("refused {took:?} after the last replica fell silent");
    for other in others {
        group.servers[other].cont().unwrap();
    }
    takes_writes(&group.servers[old]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_alone_is_written_to_and_demands_a_replica_once_it_has_one() {
    let mut group = Group::without_agents(Kind::Vote, 2, &Options::default());
    group.configure = one;
    group.start_agent(0);
    group.formed(&[0], 0).await;
    write(&group.servers[0]).unwrap();
    assert_eq!(demanded(&instance(&group.servers[0])).await, Some(0));
    group.start_agent(1);
    group.formed(&[0, 1], 1).await;
    let alone = instance(&group.servers[0]);
    inspected(&alone, "the demand", |found| {
        found.min_replicas == Some(ONE)
    })
    .await;
    takes_writes(&group.servers[0]).await;

    // What somebody takes back stays so while it cannot be met, and no longer.
    group.kill_agent(1);
    group.servers[1].kill().unwrap();
    refuses_writes(&group.servers[0]).await;
    group
        .decided(0, "min-replicas-to-write is 1, attached are 0")
        .await;
    let told = || async {
        let trouble = group.handles[0].status().borrow().trouble.clone();
        trouble.filter(|trouble| trouble.contains("refuses writes"))
    };
    eventually("the trouble", told).await;
    let set = ["CONFIG", "SET", "min-replicas-to-write", "0"];
    group.servers[0].command(&set).unwrap();
    write(&group.servers[0]).unwrap();
    group.servers[1]
        .restart(Data::Empty, testkit::Boot::ReplicaOfNowhere)
        .unwrap();
    group.start_agent(1);
    group.formed(&[0, 1], 1).await;
    inspected(&alone, "the demand", |found| {
        found.min_replicas == Some(ONE)
    })
    .await;
    takes_writes(&group.servers[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_promoted_next_demands_it_too_and_who_was_restarted_does_not_for_now() {
    let mut group = group_of(3, &Options::default());
    let first = group.formed(&[0, 1, 2], 2).await;
    let demands = |number: usize| {
        let server = instance(&group.servers[number]);
        async move { demanded(&server).await }
    };
    assert_eq!(demands(first).await, Some(1));
    let switched = group.handles[first].switch_over(None).await.unwrap();
    let second = group.formed(&[0, 1, 2], 2).await;
    assert_eq!(switched.to, support::group::name(second));
    assert_eq!(demands(second).await, Some(1));
    takes_writes(&group.servers[second]).await;
    group.servers[second]
        .restart(Data::Empty, testkit::Boot::ReplicaOfNowhere)
        .unwrap();
    let third = group.formed(&[0, 1, 2], 2).await;
    assert_ne!(third, second);
    let demands = |number: usize| {
        let server = instance(&group.servers[number]);
        async move { demanded(&server).await }
    };
    assert_eq!(demands(third).await, Some(1));
    assert_eq!(demands(second).await, Some(0));
    takes_writes(&group.servers[third]).await;
}

/// A user who may not set it: the group is led all the same, and that is shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_demand_that_is_refused_is_shown() {
    let server = with_args(&[
        "--rename-command",
        "CONFIG",
        "",
        "--replica-read-only",
        "yes",
    ]);
    let refused = instance(&server).demand_replicas(ONE).await.unwrap_err();
    assert!(matches!(&refused, Error::Refused { .. }), "{refused}");
    assert_eq!(demanded(&instance(&server)).await, None);

    let options = Options {
        args: ["--rename-command", "CONFIG", ""].map(String::from).into(),
        ..Options::default()
    };
    let group = group_of(2, &options);
    let primary = group.formed(&[0, 1], 1).await;
    write(&group.servers[primary]).unwrap();
    eventually("the trouble", || async {
        let trouble = group.handles[primary].status().borrow().trouble.clone()?;
        trouble
            .contains("CONFIG SET min-replicas-to-write")
            .then_some(())
    })
    .await;
    assert_eq!(group.formed(&[0, 1], 1).await, primary);
}
