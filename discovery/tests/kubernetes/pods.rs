use std::time::Duration;

use bellwether_discovery::{Family, Include, KubernetesConfig, Members, Port, Source};
use serde_json::{Value, json};

use crate::flock::{Flock, PATIENCE, member, members, next, nothing_for, patient};

fn by_label() -> KubernetesConfig {
    patient(Source::Pods("app=redis,tier in (cache,queue)".into()))
}

/// As it is when it was just created.
fn pending(number: u8) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("redis-{number}"), "namespace": "default",
            "labels": { "app": "redis", "tier": "cache" },
        },
        "spec": {
            "nodeName": "node", "hostname": format!("redis-{number}"), "subdomain": "redis",
            "containers": [{
                "name": "redis", "image": "redis",
                "ports": [{ "name": "redis", "containerPort": 6379 }],
            }],
        },
        "status": { "phase": "Pending" },
    })
}

fn running(number: u8, address: &str) -> Value {
    let mut pod = pending(number);
    pod["status"] = json!({
        "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }],
        "conditions": [{ "type": "Ready", "status": "True" }],
    });
    pod
}

fn up(flock: &Flock, number: u8) {
    let pod = running(number, &format!("10.0.0.{number}"));
    flock.api.put(&pod).expect("it is a pod");
}

#[tokio::test]
async fn pods_come_and_go_by_list_and_watch_alone() {
    let flock = Flock::new();
    up(&flock, 1);
    let mut discovery = flock.discovery(by_label()).await;
    assert_eq!(next(&mut discovery).await.unwrap(), members([1]));
    flock.api.put(&pending(2)).unwrap();
    nothing_for(Duration::from_millis(200), &mut discovery).await;
    up(&flock, 2);
    assert_eq!(next(&mut discovery).await.unwrap(), members([1, 2]));
    flock.api.remove("pods", "default", "redis-1").unwrap();
    assert_eq!(next(&mut discovery).await.unwrap(), members([2]));
    // It no longer matches.
    let relabel = |pod: &mut Value| pod["metadata"]["labels"]["tier"] = json!("web");
    flock
        .api
        .update("pods", "default", "redis-2", relabel)
        .unwrap();
    assert_eq!(next(&mut discovery).await.unwrap(), members([]));
    assert_eq!(flock.asked(), ["list pods", "watch pods"]);
    assert_eq!(flock.lists(), 1);
}

#[tokio::test]
async fn who_is_terminating_still_runs_and_who_has_ended_does_not() {
    let flock = Flock::new();
    for number in 1..=3 {
        up(&flock, number);
    }
    let mut all = flock.discovery(by_label()).await;
    assert_eq!(next(&mut all).await.unwrap(), members([1, 2, 3]));
    let mut config = by_label();
    config.include = Include::Ready;
    let mut ready = flock.discovery(config).await;
    assert_eq!(next(&mut ready).await.unwrap(), members([1, 2, 3]));

    flock.api.terminate("pods", "default", "redis-1").unwrap();
    assert_eq!(next(&mut ready).await.unwrap(), members([2, 3]));
    let unready = |pod: &mut Value| pod["status"]["conditions"][0]["status"] = json!("False");
    flock
        .api
        .update("pods", "default", "redis-2", unready)
        .unwrap();
    assert_eq!(next(&mut ready).await.unwrap(), members([3]));
    nothing_for(Duration::from_millis(500), &mut all).await;
    let failed = |pod: &mut Value| pod["status"]["phase"] = json!("Failed");
    flock
        .api
        .update("pods", "default", "redis-2", failed)
        .unwrap();
    assert_eq!(next(&mut all).await.unwrap(), members([1, 3]));
    flock.api.remove("pods", "default", "redis-1").unwrap();
    assert_eq!(next(&mut all).await.unwrap(), members([3]));
}

/// From its deletion to its new address, a pod of a StatefulSet is the same member.
#[tokio::test]
async fn a_pod_is_made_anew_elsewhere_unnoticed() {
    let flock = Flock::new();
    up(&flock, 0);
    let mut config = by_label();
    config.headless_service = Some("redis".into());
    // Longer than a busy machine takes from the deletion to the new pod.
    config.linger = PATIENCE;
    let mut discovery = flock.discovery(config).await;
    let same: Members = [member(0, "redis-0.redis.default.svc.cluster.local")].into();
    assert_eq!(next(&mut discovery).await.unwrap(), same);
    flock.api.terminate("pods", "default", "redis-0").unwrap();
    flock.api.remove("pods", "default", "redis-0").unwrap();
    flock.api.put(&pending(0)).unwrap();
    nothing_for(Duration::from_millis(500), &mut discovery).await;
    flock.api.put(&running(0, "10.0.9.9")).unwrap();
    nothing_for(Duration::from_millis(500), &mut discovery).await;
    flock.api.put(&pending(1)).unwrap();
    let found = next(&mut discovery).await.unwrap();
    assert_eq!(
        found.len(),
        2,
        "a pod without address counts by its name: {found:?}"
    );
}

#[tokio::test]
async fn who_is_not_of_the_headless_service_has_its_address() {
    let flock = Flock::new();
    up(&flock, 1);
    let mut config = by_label();
    config.headless_service = Some("other".into());
    let mut discovery = flock.discovery(config).await;
    assert_eq!(next(&mut discovery).await.unwrap(), members([1]));
}

#[tokio::test]
async fn a_pod_of_two_families_is_one_member() {
    let flock = Flock::new();
    let mut pod = running(1, "fd00::1");
    pod["status"]["podIPs"] = json!([{ "ip": "fd00::1" }, { "ip": "10.0.0.1" }]);
    flock.api.put(&pod).unwrap();
    flock.api.put(&running(2, "fd00::2")).unwrap();
    for (family, host) in [(Family::Ipv4, "10.0.0.1"), (Family::Ipv6, "fd00::1")] {
        let mut config = by_label();
        config.family = family;
        let mut discovery = flock.discovery(config).await;
        let expected: Members = [member(1, host), member(2, "fd00::2")].into();
        assert_eq!(next(&mut discovery).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn ports_are_those_that_containers_declare() {
    let flock = Flock::new();
    up(&flock, 1);
    let mut config = by_label();
    config.port = Port::Named("redis".into());
    let mut discovery = flock.discovery(config).await;
    assert_eq!(next(&mut discovery).await.unwrap(), members([1]));
    let mut config = by_label();
    config.port = Port::Named("metrics".into());
    let mut discovery = flock.discovery(config).await;
    assert_eq!(next(&mut discovery).await.unwrap(), members([]));
}

#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let flock = Flock::new();
    for number in 0..1100_u16 {
        let mut pod = running(0, &format!("10.1.{}.{}", number / 256, number % 256));
        pod["metadata"]["name"] = json!(format!("redis-{number}"));
        flock.api.put(&pod).unwrap();
    }
    let mut config = by_label();
    config.max_members = 1100;
    let mut discovery = flock.discovery(config).await;
    assert_eq!(next(&mut discovery).await.unwrap().len(), 1100);
    assert_eq!(flock.lists(), 3);
    flock.api.remove("pods", "default", "redis-7").unwrap();
    assert_eq!(next(&mut discovery).await.unwrap().len(), 1099);
}
