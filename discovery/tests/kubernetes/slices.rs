use std::time::Duration;

use bellwether_discovery::{Error, Family, Include, Member, Members, Port};
use serde_json::json;

use crate::flock::{
    Flock, PATIENCE, endpoint, endpoints, member, members, next, nothing_for, nothing_until,
    service, until_they_are,
};

#[tokio::test]
async fn members_come_and_go_by_list_and_watch_alone() {
    let flock = Flock::new();
    flock.slice("redis-a", "IPv4", &endpoints([1, 2]));
    let mut discovery = flock.discovery(service()).await;
    assert_eq!(next(&mut discovery).await.unwrap(), members([1, 2]));
    flock.slice("redis-a", "IPv4", &endpoints([1, 2, 3]));
    assert_eq!(next(&mut discovery).await.unwrap(), members([1, 2, 3]));
    flock.slice("redis-a", "IPv4", &endpoints([3]));
    until_they_are(&mut discovery, &members([3])).await;
    flock
        .api
        .remove("endpointslices", "default", "redis-a")
        .unwrap();
    until_they_are(&mut discovery, &members([])).await;
    flock.slice("redis-b", "IPv4", &endpoints([4]));
    assert_eq!(next(&mut discovery).await.unwrap(), members([4]));
    assert_eq!(
        flock.asked(),
        ["list endpointslices", "watch endpointslices"]
    );
    assert_eq!(flock.lists(), 1);
}

#[tokio::test]
async fn at_rest_only_the_watch_is_renewed_from_where_it_was() {
    let flock = Flock::new();
    flock.slice("redis-a", "IPv4", &endpoints([1]));
    let mut config = service();
    config.max_silence = Duration::from_secs(1);
    let mut discovery = flock.discovery(config).await;
    assert_eq!(next(&mut discovery).await.unwrap(), members([1]));
    let api = &flock.api;
    nothing_until(&mut discovery, || api.requests().len() >= 4).await;
    let verbs: Vec<_> = api.requests().iter().map(|request| request.verb).collect();
    assert_eq!(verbs[..4], ["list", "watch", "watch", "watch"]);
    flock.slice("redis-a", "IPv4", &endpoints([1, 2]));
    assert_eq!(next(&mut discovery).await.unwrap(), members([1, 2]));
}

#[tokio::test]
async fn a_service_that_does_not_exist_yet_has_no_members() {
    let flock = Flock::new();
    let mut discovery = flock.discovery(service()).await;
    assert_eq!(next(&mut discovery).await.unwrap(), members([]));
    flock.slice("redis-a", "IPv4", &[]);
    nothing_for(Duration::from_millis(200), &mut discovery).await;
    flock.slice("redis-a", "IPv4", &endpoints([1]));
    assert_eq!(next(&mut discovery).await.unwrap(), members([1]));
}

#[tokio::test]
async fn the_slices_of_other_services_are_not_looked_at() {
    let flock = Flock::new();
    flock.slice("redis-a", "IPv4", &endpoints([1]));
    flock.slice("other", "IPv4", &endpoints([2]));
    let relabel = |slice: &mut serde_json::Value| {
        slice["metadata"]["labels"]["kubernetes.io/service-name"] = json!("other");
    };
    let api = &flock.api;
    api.update("endpointslices", "default", "other", relabel)
        .unwrap();
    let mut discovery = flock.discovery(service()).await;
    assert_eq!(next(&mut discovery).await.unwrap(), members([1]));
    api.update("endpointslices", "default", "redis-a", relabel)
        .unwrap();
    until_they_are(&mut discovery, &members([])).await;
}

#[tokio::test]
async fn all_or_the_ready_only() {
    let flock = Flock::new();
    let mut three = endpoints([1, 2, 3]);
    three[1]["conditions"] = json!({ "ready": false, "serving": false, "terminating": false });
    three[2]["conditions"] = json!({ "ready": false, "serving": true, "terminating": true });
    flock.slice("redis-a", "IPv4", &three);
    let mut all = flock.discovery(service()).await;
    assert_eq!(next(&mut all).await.unwrap(), members([1, 2, 3]));

    let mut config = service();
    config.include = Include::Ready;
    let mut ready = flock.discovery(config).await;
    assert_eq!(next(&mut ready).await.unwrap(), members([1]));
    three[1]["conditions"] = json!({ "ready": true, "serving": true, "terminating": false });
    flock.slice("redis-a", "IPv4", &three);
    assert_eq!(next(&mut ready).await.unwrap(), members([1, 2]));
    three[0]["conditions"]["ready"] = json!(false);
    three[0]["conditions"]["serving"] = json!(false);
    flock.slice("redis-a", "IPv4", &three);
    assert_eq!(next(&mut ready).await.unwrap(), members([2]));
    nothing_for(Duration::from_millis(500), &mut all).await;
}

/// The whole StatefulSet is made anew on other nodes.
#[tokio::test]
async fn all_addresses_change_at_once_and_no_member_does() {
    let flock = Flock::new();
    let named = |number: u8, address: &str| {
        let mut endpoint = endpoint(number, address);
        endpoint["hostname"] = json!(format!("redis-{number}"));
        endpoint
    };
    let host = |number| format!("redis-{number}.redis.default.svc.cluster.local");
    flock.slice(
        "redis-a",
        "IPv4",
        &[named(0, "10.0.0.1"), named(1, "10.0.0.2")],
    );
    let mut discovery = flock.discovery(service()).await;
    let both: Members = [0, 1].map(|number| member(number, &host(number))).into();
    assert_eq!(next(&mut discovery).await.unwrap(), both);

    flock.slice(
        "redis-a",
        "IPv4",
        &[named(0, "10.0.9.1"), named(1, "10.0.9.2")],
    );
    nothing_for(Duration::from_secs(1), &mut discovery).await;
    flock.slice(
        "redis-a",
        "IPv4",
        &[
            named(0, "10.0.9.1"),
            named(1, "10.0.9.2"),
            named(2, "10.0.9.3"),
        ],
    );
    let three: Members = [0, 1, 2].map(|number| member(number, &host(number))).into();
    assert_eq!(
        next(&mut discovery).await.unwrap(),
        three,
        "the watch was alive"
    );
}

#[tokio::test]
async fn all_addresses_change_at_once_where_dns_knows_nobody() {
    let flock = Flock::new();
    flock.slice("redis-a", "IPv4", &endpoints([1, 2]));
    let mut discovery = flock.discovery(service()).await;
    assert_eq!(next(&mut discovery).await.unwrap(), members([1, 2]));
    flock.slice(
        "redis-a",
        "IPv4",
        &[endpoint(1, "10.0.9.1"), endpoint(2, "10.0.9.2")],
    );
    let anew: Members = [member(1, "10.0.9.1"), member(2, "10.0.9.2")].into();
    assert_eq!(next(&mut discovery).await.unwrap(), anew);
}

#[tokio::test]
async fn hosts_are_under_the_headless_service_that_is_named() {
    let flock = Flock::new();
    flock.slice("redis-a", "IPv4", &endpoints([0]));
    let mut config = service();
    config.headless_service = Some("redis-peers".into());
    config.cluster_domain = "flock.example.".into();
    let mut discovery = flock.discovery(config).await;
    let expected = member(0, "redis-0.redis-peers.default.svc.flock.example");
    assert_eq!(next(&mut discovery).await.unwrap(), [expected].into());
}

#[tokio::test]
async fn a_pod_of_two_families_is_one_member() {
    let flock = Flock::new();
    flock.slice(
        "redis-4",
        "IPv4",
        &[endpoint(1, "10.0.0.1"), endpoint(2, "10.0.0.2")],
    );
    flock.slice(
        "redis-6",
        "IPv6",
        &[endpoint(1, "fd00::1"), endpoint(3, "fd00::3")],
    );
    let mut four = flock.discovery(service()).await;
    let expected: Members = [
        member(1, "10.0.0.1"),
        member(2, "10.0.0.2"),
        member(3, "fd00::3"),
    ]
    .into();
    assert_eq!(next(&mut four).await.unwrap(), expected);

    let mut config = service();
    config.family = Family::Ipv6;
    let mut six = flock.discovery(config).await;
    let expected: Members = [
        member(1, "fd00::1"),
        member(2, "10.0.0.2"),
        member(3, "fd00::3"),
    ]
    .into();
    assert_eq!(next(&mut six).await.unwrap(), expected);
    flock.slice("redis-6", "IPv6", &[endpoint(3, "fd00::3")]);
    let expected: Members = [
        member(1, "10.0.0.1"),
        member(2, "10.0.0.2"),
        member(3, "fd00::3"),
    ]
    .into();
    assert_eq!(
        next(&mut six).await.unwrap(),
        expected,
        "it has but the other"
    );
}

#[tokio::test]
async fn who_has_no_pod_is_named_by_its_address() {
    let flock = Flock::new();
    let bare = |address: &str| json!({ "addresses": [address] });
    flock.slice("redis-4", "IPv4", &[bare("10.0.0.1")]);
    flock.slice("redis-6", "IPv6", &[bare("fd00::1")]);
    let mut discovery = flock.discovery(service()).await;
    let expected = [Member::at("10.0.0.1", 6379), Member::at("fd00::1", 6379)];
    assert_eq!(next(&mut discovery).await.unwrap(), expected.into());
}

#[tokio::test]
async fn a_pod_moves_between_slices_unnoticed() {
    let flock = Flock::new();
    let mut config = service();
    // Longer than a busy machine takes between the two writes of a move.
    config.linger = PATIENCE;
    let mut discovery = flock.discovery(config).await;
    flock.slice("redis-a", "IPv4", &endpoints([1, 2]));
    flock.slice("redis-b", "IPv4", &endpoints([3]));
    until_they_are(&mut discovery, &members([1, 2, 3])).await;
    // First gone, then there; then the other way round; then as a controller compacts them.
    flock.slice("redis-a", "IPv4", &endpoints([1]));
    flock.slice("redis-b", "IPv4", &endpoints([2, 3]));
    flock.slice("redis-a", "IPv4", &endpoints([1, 3]));
    flock.slice("redis-b", "IPv4", &endpoints([2]));
    flock
        .api
        .remove("endpointslices", "default", "redis-b")
        .unwrap();
    flock.slice("redis-a", "IPv4", &endpoints([1, 2, 3]));
    nothing_for(Duration::from_millis(500), &mut discovery).await;
    flock.slice("redis-c", "IPv4", &endpoints([4]));
    let found = next(&mut discovery).await.unwrap();
    assert_eq!(found, members([1, 2, 3, 4]), "the watch was alive");
}

#[tokio::test]
async fn ports_are_looked_up_by_name() {
    let flock = Flock::new();
    flock.slice("redis-a", "IPv4", &endpoints([1]));
    flock.slice("redis-b", "IPv4", &endpoints([2]));
    flock
        .api
        .update("endpointslices", "default", "redis-b", |slice| {
            slice["ports"] = json!([{ "name": "metrics", "port": 9121, "protocol": "TCP" },
                                    { "name": "redis", "port": 7000, "protocol": "TCP" }]);
        })
        .unwrap();
    let mut config = service();
    config.port = Port::Named("redis".into());
    let mut discovery = flock.discovery(config).await;
    let mut expected = members([1, 2]).into_iter();
    let first = expected.next().unwrap();
    let second = Member {
        port: 7000,
        ..expected.next().unwrap()
    };
    assert_eq!(next(&mut discovery).await.unwrap(), [first, second].into());

    let mut config = service();
    config.port = Port::Named("rdeis".into());
    let mut discovery = flock.discovery(config).await;
    assert_eq!(next(&mut discovery).await.unwrap(), members([]));
}

#[tokio::test]
async fn more_members_than_allowed_are_refused_once() {
    let flock = Flock::new();
    flock.slice("redis-a", "IPv4", &endpoints([1, 2]));
    let mut config = service();
    config.max_members = 2;
    let mut discovery = flock.discovery(config).await;
    assert_eq!(next(&mut discovery).await.unwrap(), members([1, 2]));
    flock.slice("redis-a", "IPv4", &endpoints([1, 2, 3]));
    let error = next(&mut discovery).await.unwrap_err();
    assert!(matches!(
        error,
        Error::TooMany {
            found: 3,
            limit: 2,
            ..
        }
    ));
    assert_eq!(
        error.to_string(),
        "kubernetes://default/service/redis names 3 members, more than 2"
    );
    flock.slice("redis-a", "IPv4", &endpoints([1, 2, 3, 4]));
    nothing_for(Duration::from_millis(200), &mut discovery).await;
    flock.slice("redis-a", "IPv4", &endpoints([3, 4]));
    assert_eq!(next(&mut discovery).await.unwrap(), members([3, 4]));
}
