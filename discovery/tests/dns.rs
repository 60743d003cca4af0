//! Discovery by DNS against a real server whose records change at run time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bellwether_discovery::{Discovery, Dns, DnsConfig, Error, Member, Members, Peers};
use bellwether_testkit::DnsServer;

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);
const NAME: &str = "flock.test";

/// Patient, so that a busy machine is not taken for a silent server.
fn config(server: &DnsServer) -> DnsConfig {
    let mut config = DnsConfig::default();
    config.servers = vec![server.address()];
    config.timeout = PATIENCE;
    config
}

fn dns(query: &str, config: DnsConfig) -> Dns {
    let query = query.parse().expect("it is a query");
    Dns::new(query, config).expect("the configuration is good")
}

fn flock(config: DnsConfig) -> Dns {
    dns(&format!("dns://{NAME}:3000"), config)
}

async fn next(discovery: &mut Dns) -> Result<Members, Error> {
    let next = tokio::time::timeout(2 * PATIENCE, discovery.changed()).await;
    next.expect("something happens in time")
}

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

fn members(last: impl IntoIterator<Item = u8>) -> Members {
    last.into_iter()
        .map(|last| Member::at(ip(last).to_string(), 3000))
        .collect()
}

#[tokio::test]
async fn members_come_and_go() {
    let server = DnsServer::start().unwrap();
    let mut discovery = flock(config(&server));
    assert_eq!(
        next(&mut discovery).await.unwrap(),
        members([]),
        "no such name"
    );
    server.set_addresses(NAME, SECOND, &[ip(1)]).unwrap();
    assert_eq!(next(&mut discovery).await.unwrap(), members([1]));
    server.set_addresses(NAME, SECOND, &[ip(2), ip(1)]).unwrap();
    assert_eq!(next(&mut discovery).await.unwrap(), members([1, 2]));
    server.set_addresses(NAME, SECOND, &[ip(2), ip(3)]).unwrap();
    assert_eq!(next(&mut discovery).await.unwrap(), members([2, 3]));
    server
        .set_services(NAME, SECOND, &[("other.test", 1)])
        .unwrap();
    server.set_addresses(NAME, SECOND, &[]).unwrap();
    assert_eq!(
        next(&mut discovery).await.unwrap(),
        members([]),
        "no such records"
    );
    server.set_addresses(NAME, SECOND, &[ip(2)]).unwrap();
    assert_eq!(next(&mut discovery).await.unwrap(), members([2]));
    server.remove(NAME).unwrap();
    assert_eq!(next(&mut discovery).await.unwrap(), members([]));
}

#[tokio::test]
async fn asks_again_when_the_ttl_ends_and_not_before() {
    let server = DnsServer::start().unwrap();
    server.set_addresses(NAME, 3 * SECOND, &[ip(1)]).unwrap();
    let mut discovery = flock(config(&server));
    next(&mut discovery).await.unwrap();
    let answered = Instant::now();
    server.set_addresses(NAME, 3 * SECOND, &[ip(2)]).unwrap();
    assert_eq!(next(&mut discovery).await.unwrap(), members([2]));
    assert!(
        answered.elapsed() >= 2 * SECOND,
        "asked after {:?}",
        answered.elapsed()
    );
    assert_eq!(server.queries(), 4, "A and AAAA, twice");
}

#[tokio::test]
async fn a_long_ttl_is_bounded() {
    let server = DnsServer::start().unwrap();
    server
        .set_addresses(NAME, 86_400 * SECOND, &[ip(1)])
        .unwrap();
    let mut config = config(&server);
    config.max_interval = SECOND;
    let mut discovery = flock(config);
    next(&mut discovery).await.unwrap();
    server
        .set_addresses(NAME, 86_400 * SECOND, &[ip(2)])
        .unwrap();
    assert_eq!(next(&mut discovery).await.unwrap(), members([2]));
}

#[tokio::test]
async fn a_short_ttl_is_bounded() {
    let server = DnsServer::start().unwrap();
    server
        .set_addresses(NAME, Duration::ZERO, &[ip(1)])
        .unwrap();
    let mut config = config(&server);
    config.min_interval = SECOND;
    let mut discovery = flock(config);
    next(&mut discovery).await.unwrap();
    let began = Instant::now();
    let unchanged = tokio::time::timeout(3 * SECOND, discovery.changed()).await;
    assert!(unchanged.is_err(), "the same members are no change");
    let rounds = began.elapsed().as_secs() + 1;
    assert!(server.queries() > 2, "it asks again");
    assert!(
        server.queries() <= 2 + 2 * rounds,
        "{} in {rounds} s",
        server.queries()
    );
}

#[tokio::test]
async fn answers_too_long_for_udp_come_by_tcp() {
    let server = DnsServer::start().unwrap();
    let four = (1..=100).map(ip);
    let six = (1..=50).map(|last| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last).into());
    let all: Vec<IpAddr> = four.chain(six).collect();
    server.set_addresses(NAME, SECOND, &all).unwrap();
    let found = next(&mut flock(config(&server))).await.unwrap();
    assert_eq!(found.len(), 150);
    assert!(found.contains(&Member {
        name: "[fd00::32]:3000".into(),
        host: "fd00::32".into(),
        port: 3000,
    }));
}

#[tokio::test]
async fn too_many_members_are_refused() {
    let server = DnsServer::start().unwrap();
    server
        .set_addresses(NAME, SECOND, &[ip(1), ip(2), ip(3)])
        .unwrap();
    let mut config = config(&server);
    config.max_members = 2;
    let mut discovery = flock(config);
    let error = next(&mut discovery).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "dns://flock.test:3000 names 3 members, more than 2"
    );
    server.set_addresses(NAME, SECOND, &[ip(1), ip(2)]).unwrap();
    assert_eq!(next(&mut discovery).await.unwrap(), members([1, 2]));
}

#[tokio::test]
async fn services_name_host_and_port() {
    let server = DnsServer::start().unwrap();
    let name = "_peer._tcp.flock.test";
    let services = [
        ("Redis-0.flock.test", 3000),
        ("redis-1.flock.test", 3001),
        (".", 5),
        ("off.test", 0),
    ];
    server.set_services(name, SECOND, &services).unwrap();
    let peers: Peers = format!("srv://{name}").parse().unwrap();
    let mut discovery = peers.into_discovery(config(&server)).unwrap();
    let found = discovery.changed().await.unwrap();
    let expected = [
        Member::at("redis-0.flock.test", 3000),
        Member::at("redis-1.flock.test", 3001),
    ];
    assert_eq!(found, expected.into());
    assert_eq!(found.first().unwrap().name, "redis-0.flock.test:3000");
}

#[tokio::test]
async fn a_silent_resolver_is_reported_once_and_changes_nothing() {
    let server = DnsServer::start().unwrap();
    server.set_addresses(NAME, SECOND, &[ip(1)]).unwrap();
    let mut config = config(&server);
    config.timeout = 2 * SECOND;
    config.max_retry_interval = SECOND;
    let mut discovery = flock(config);
    assert_eq!(next(&mut discovery).await.unwrap(), members([1]));

    server.silence();
    let error = next(&mut discovery).await.unwrap_err();
    assert!(matches!(error, Error::Unanswered { .. }), "{error}");
    assert_eq!(error.to_string(), "dns://flock.test:3000 is not answered");
    let asked = server.queries();
    let more = tokio::time::timeout(8 * SECOND, discovery.changed()).await;
    assert!(more.is_err(), "one report per outage, and no members");
    assert!(server.queries() > asked, "it keeps asking");

    server.set_addresses(NAME, SECOND, &[ip(1), ip(2)]).unwrap();
    server.revive();
    assert_eq!(next(&mut discovery).await.unwrap(), members([1, 2]));
    server.silence();
    next(&mut discovery)
        .await
        .expect_err("another outage is another report");
}

#[tokio::test]
async fn a_failing_resolver_does_not_empty_the_group() {
    let server = DnsServer::start().unwrap();
    server.set_addresses(NAME, SECOND, &[ip(1)]).unwrap();
    let mut discovery = flock(config(&server));
    assert_eq!(next(&mut discovery).await.unwrap(), members([1]));
    server.fail();
    next(&mut discovery).await.unwrap_err();
    server.set_addresses(NAME, SECOND, &[ip(2)]).unwrap();
    server.revive();
    assert_eq!(next(&mut discovery).await.unwrap(), members([2]));
}

#[tokio::test]
async fn the_timeout_holds_for_all_servers_together() {
    let servers: Vec<DnsServer> = (0..4).map(|_| DnsServer::start().unwrap()).collect();
    servers.iter().for_each(DnsServer::silence);
    let mut config = config(&servers[0]);
    config.servers = servers.iter().map(DnsServer::address).collect();
    config.timeout = 2 * SECOND;
    let began = Instant::now();
    next(&mut flock(config)).await.unwrap_err();
    // The servers one after the other would take at least eight.
    let took = began.elapsed();
    assert!((SECOND..6 * SECOND).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_and_is_found_later() {
    let there = DnsServer::start().unwrap();
    there.set_addresses(NAME, SECOND, &[ip(1)]).unwrap();
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let mut config = config(&there);
    config.timeout = 2 * SECOND;
    config.servers = vec![nowhere];
    next(&mut flock(config.clone())).await.unwrap_err();
    config.servers.push(there.address());
    config.timeout = PATIENCE;
    assert_eq!(next(&mut flock(config)).await.unwrap(), members([1]));
}

#[tokio::test]
async fn a_dropped_call_loses_nothing() {
    let server = DnsServer::start().unwrap();
    server.set_addresses(NAME, SECOND, &[ip(1)]).unwrap();
    let mut discovery = flock(config(&server));
    let mut dropped = 0;
    for expected in [1, 2, 3] {
        let deadline = Instant::now() + PATIENCE;
        let found = loop {
            assert!(Instant::now() < deadline, "dropped calls make no progress");
            tokio::select! {
                biased;
                found = discovery.changed() => break found.unwrap(),
                () = tokio::task::yield_now() => dropped += 1,
            }
        };
        assert_eq!(found, members([expected]));
        server
            .set_addresses(NAME, SECOND, &[ip(expected + 1)])
            .unwrap();
    }
    assert!(dropped > 100, "{dropped} calls were dropped");
    assert_eq!(
        server.queries(),
        6,
        "no question was asked anew because a call was dropped"
    );
}
