//! Redis Sentinel: three of them elect a replica.

use std::time::Duration;

use bellwether_testkit::{Boot, Options, Redis, Sentinel, install, until};

#[test]
fn three_sentinels_fail_over() {
    install::redis_server().unwrap();
    let mut primary = Redis::start(Options {
        boot: Boot::Plain,
        ..Options::default()
    })
    .unwrap();
    let replica = Redis::fresh().unwrap();
    let port = primary.port().to_string();
    replica.command(&["REPLICAOF", "127.0.0.1", &port]).unwrap();
    let patience = Duration::from_secs(60);
    until(patience, "the link", || {
        replica
            .role()
            .is_ok_and(|role| role.follows(primary.port()))
    })
    .unwrap();
    let sentinels = Sentinel::three(primary.address(), 1, Duration::from_millis(500)).unwrap();
    assert_eq!(sentinels[0].primary().unwrap(), primary.address());
    primary.kill().unwrap();
    until(patience, "the sentinels to promote", || {
        sentinels
            .iter()
            .all(|sentinel| sentinel.primary().is_ok_and(|of| of == replica.address()))
    })
    .unwrap();
    until(patience, "the replica to be primary", || {
        replica.role().is_ok_and(|role| role.is_primary())
    })
    .unwrap();
}
