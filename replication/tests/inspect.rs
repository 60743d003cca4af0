//! What real servers say of themselves.

mod support;

use std::time::{Duration, Instant};

use bellwether_replication::{Error, Instance, Link, Redis, RedisOptions, Role};
use bellwether_testkit::{Boot, Data, Options};
use support::{
    address, eventually, fresh, inspected, instance, passport, primary, start, with_args,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_server_and_a_primary_with_data() {
    let empty = fresh();
    let found = instance(&empty).inspect().await.unwrap();
    assert!(!found.has_data() && !found.is_primary());
    assert_eq!(found.link(), Some(Link::Down));
    assert_eq!(found.fit(), Ok(()));

    let primary = primary();
    primary.command(&["SET", "k", "v"]).unwrap();
    primary.command(&["SELECT", "3"]).unwrap();
    let found = instance(&primary).inspect().await.unwrap();
    assert_eq!((found.role, found.keys), (Role::Primary, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_syncs_is_not_fit_and_then_equal() {
    // 2,000 keys at 1 ms each keep the copy on its way for some seconds.
    let primary = start(Options {
        boot: Boot::Plain,
        args: vec!["--rdb-key-save-delay".into(), "1000".into()],
        ..Options::default()
    });
    primary.command(&["DEBUG", "POPULATE", "2000"]).unwrap();
    let replica = fresh();
    let (first, second) = (instance(&primary), instance(&replica));
    second.follow(&address(&primary)).await.unwrap();
    let syncing = inspected(&second, "a sync", |found| {
        found.link() == Some(Link::Syncing)
    })
    .await;
    assert_eq!(syncing.fit(), Err("it is syncing"));
    assert!(syncing.follows(&address(&primary)));
    primary
        .command(&["CONFIG", "SET", "rdb-key-save-delay", "0"])
        .unwrap();
    let replica = inspected(&second, "the link", |found| found.link() == Some(Link::Up)).await;
    assert_eq!(replica.keys, 2000);
    assert_eq!(
        replica.position.replication_id,
        first.inspect().await.unwrap().position.replication_id
    );
}

/// However short it was there.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_left_is_counted() {
    let (primary, replica) = (primary(), fresh());
    let (first, second) = (instance(&primary), instance(&replica));
    let alone = first.inspect().await.unwrap().departed;
    for left in 1..3 {
        second.follow(&address(&primary)).await.unwrap();
        inspected(&second, "the link", |found| found.link() == Some(Link::Up)).await;
        inspected(&first, "the replica", |found| !found.attached.is_empty()).await;
        assert_eq!(first.inspect().await.unwrap().departed, alone + left - 1);
        replica.command(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
        inspected(&first, "the loss", |found| found.departed == alone + left).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loads_answers_and_is_not_fit() {
    let mut server = start(Options {
        boot: Boot::Plain,
        persistent: true,
        args: [
            "--key-load-delay",
            "1000",
            "--loading-process-events-interval-bytes",
            "1024",
        ]
        .map(String::from)
        .to_vec(),
        ..Options::default()
    });
    server.command(&["DEBUG", "POPULATE", "5000"]).unwrap();
    server.command(&["BGREWRITEAOF"]).unwrap();
    eventually("the file", || async {
        let info = server.info("persistence").ok()?;
        let done = info.get("aof_rewrite_in_progress")? == "0"
            && info.get("aof_rewrite_scheduled")? == "0"
            && info.get("aof_current_size")? != "0";
        done.then_some(())
    })
    .await;
    server.restart(Data::Keep, Boot::ReplicaOfNowhere).unwrap();
    let loading = instance(&server).inspect().await.unwrap();
    assert!(loading.loading, "{loading:?}");
    assert_eq!(loading.fit(), Err("it is loading its dataset"));
    assert!(matches!(
        instance(&server).promote(&passport(1)).await,
        Err(Error::Refused { reason, .. }) if reason.contains("LOADING")
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_shows_in_the_run_id() {
    let mut server = fresh();
    let instance = instance(&server);
    let before = instance.inspect().await.unwrap();
    assert_eq!(before.run_id, instance.inspect().await.unwrap().run_id);
    server.restart(Data::Empty, Boot::ReplicaOfNowhere).unwrap();
    // The connection of before is replaced within one call.
    assert_ne!(before.run_id, instance.inspect().await.unwrap().run_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_seen_and_replaced() {
    let server = fresh();
    let instance = instance(&server);
    let before = instance.inspect().await.unwrap();
    for _ in 0..20 {
        server
            .command(&["CLIENT", "KILL", "TYPE", "normal"])
            .unwrap();
        assert_eq!(instance.inspect().await.unwrap().run_id, before.run_id);
    }
    let lost = instance.lost();
    server
        .command(&["CLIENT", "KILL", "TYPE", "normal"])
        .unwrap();
    tokio::time::timeout(support::PATIENCE, lost)
        .await
        .expect("the loss is seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_server_is_unknown_until_it_goes_on() {
    let mut server = fresh();
    let mut options = RedisOptions::default();
    options.timeout = Some(Duration::from_millis(300));
    let instance = Redis::new(address(&server), options);
    eventually("an answer", || async { instance.inspect().await.ok() }).await;
    server.stop().unwrap();
    let asked = Instant::now();
    let error = instance.inspect().await.unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error:?}");
    assert!(asked.elapsed() < Duration::from_secs(10));
    // A new connection is accepted by the system, and answered by nobody.
    let error = instance.inspect().await.unwrap_err();
    assert!(
        matches!(error, Error::Unknown { .. } | Error::Unreachable { .. }),
        "{error:?}"
    );
    server.cont().unwrap();
    eventually("an answer", || async { instance.inspect().await.ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_unreachable() {
    let mut server = fresh();
    let instance = instance(&server);
    server.kill().unwrap();
    let error = instance.inspect().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_config_is_inspected() {
    for server in [
        with_args(&["--rename-command", "CONFIG", "", "--replica-priority", "7"]),
        with_args(&[
            "--user", "default", "on", "nopass", "~*", "&*", "+@all", "-config",
        ]),
    ] {
        let found = instance(&server).inspect().await.unwrap();
        assert_eq!(
            found.priority, 100,
            "what cannot be read is taken for the default"
        );
    }
    let server = with_args(&["--replica-priority", "0"]);
    let found = instance(&server).inspect().await.unwrap();
    assert_eq!(found.fit(), Err("its replica-priority is 0"));
}
