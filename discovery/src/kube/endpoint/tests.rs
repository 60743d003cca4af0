use super::*;
use serde_json::{Value, json};

fn reader(port: &str, headless_service: Option<&str>) -> Reader {
    Reader {
        port: port.parse().unwrap(),
        headless_service: headless_service.map(Into::into),
    }
}

fn ip(text: &str) -> Option<Host> {
    Some(Host::Ip(text.parse().unwrap()))
}

fn slice(kind: &str, endpoints: &Value, ports: &Value) -> EndpointSlice {
    serde_json::from_value(json!({
        "addressType": kind, "metadata": { "name": "redis-x" },
        "endpoints": endpoints, "ports": ports,
    }))
    .unwrap()
}

fn read(reader: &Reader, kind: &str, endpoint: &Value) -> Vec<Endpoint> {
    reader.slice(&slice(kind, &json!([endpoint]), &json!([])))
}

fn pod(spec: &Value, status: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "redis-0" }, "spec": spec, "status": status,
    }))
    .unwrap()
}

#[test]
fn a_slice_names_pods_else_host_names_else_nobody() {
    let reader = reader("6379", None);
    let redis_0 = json!({ "kind": "Pod", "name": "redis-0" });
    for (endpoint, name, label) in [
        (
            json!({ "addresses": ["10.0.0.1"], "targetRef": redis_0, "hostname": "zero" }),
            Some("redis-0"),
            Some("zero"),
        ),
        (
            json!({ "addresses": ["10.0.0.1", "10.0.0.2"], "targetRef": redis_0 }),
            Some("redis-0"),
            None,
        ),
        (
            json!({ "addresses": ["10.0.0.1"], "hostname": "zero" }),
            Some("zero"),
            Some("zero"),
        ),
        (
            json!({ "addresses": ["10.0.0.1"], "targetRef": { "kind": "VM", "name": "a" } }),
            None,
            None,
        ),
    ] {
        let found = read(&reader, "IPv4", &endpoint);
        let expected = Endpoint {
            state: State::Ready,
            name: name.map(Into::into),
            label: label.map(Into::into),
            address: ip("10.0.0.1"),
            port: Some(6379),
        };
        assert_eq!(found, [expected], "{endpoint}");
    }
}

#[test]
fn under_another_headless_service_a_pod_is_known_by_its_own_name() {
    let reader = reader("6379", Some("redis-peers"));
    let label = |endpoint: &Value| read(&reader, "IPv4", endpoint)[0].label.clone();
    let pod =
        |name| json!({ "addresses": ["10.0.0.1"], "targetRef": { "kind": "Pod", "name": name } });
    assert_eq!(label(&pod("redis-0")).as_deref(), Some("redis-0"));
    assert_eq!(label(&pod("redis.0")), None, "DNS cannot know it by that");
    assert_eq!(label(&json!({ "addresses": ["10.0.0.1"] })), None);
}

#[test]
fn addresses_are_of_the_type_of_the_slice() {
    let reader = reader("6379", None);
    for (kind, address, expected) in [
        ("IPv4", "10.0.0.1", ip("10.0.0.1")),
        ("IPv6", "fd00:0::1", ip("fd00::1")),
        (
            "FQDN",
            "Redis.Example.",
            Some(Host::Name("redis.example".into())),
        ),
        ("IPv4", "10.0.0", None),
        ("FQDN", "", None),
    ] {
        let found = read(&reader, kind, &json!({ "addresses": [address] }));
        let found = found.into_iter().next().and_then(|found| found.address);
        assert_eq!(found, expected, "{kind} {address}");
    }
    assert_eq!(read(&reader, "IPv4", &json!({ "addresses": [] })), []);
}

#[test]
fn readiness_is_what_the_probe_says() {
    let reader = reader("6379", None);
    for (conditions, expected) in [
        (json!(null), State::Ready),
        (json!({}), State::Ready),
        (json!({ "ready": true }), State::Ready),
        (json!({ "ready": false }), State::Unready),
        (
            // The Service publishes addresses that are not ready.
            json!({ "ready": true, "serving": false, "terminating": false }),
            State::Unready,
        ),
        (
            json!({ "ready": true, "serving": true, "terminating": true }),
            State::Terminating,
        ),
        (
            json!({ "ready": false, "serving": true, "terminating": true }),
            State::Terminating,
        ),
    ] {
        let endpoint = json!({ "addresses": ["10.0.0.1"], "conditions": conditions });
        assert_eq!(
            read(&reader, "IPv4", &endpoint)[0].state,
            expected,
            "{conditions}"
        );
    }
    for (status, expected) in [
        (json!({}), State::Unready),
        (
            json!({ "conditions": [{ "type": "Ready", "status": "True" }] }),
            State::Ready,
        ),
        (
            json!({ "conditions": [{ "type": "Ready", "status": "Unknown" },
                                   { "type": "Initialized", "status": "True" }] }),
            State::Unready,
        ),
    ] {
        let mut pod = pod(&json!({ "containers": [] }), &status);
        assert_eq!(reader.pod(&pod)[0].state, expected, "{status}");
        let now = serde_json::from_value(json!("2026-11-20T12:00:00Z")).unwrap();
        pod.metadata.deletion_timestamp = Some(now);
        assert_eq!(reader.pod(&pod)[0].state, State::Terminating);
    }
}

#[test]
fn ports_of_slices_are_found_by_name() {
    for (ports, expected) in [
        (json!([{ "name": "redis", "port": 6379 }]), Some(6379)),
        (
            json!([{ "name": "metrics", "port": 9121, "protocol": "TCP" },
                   { "name": "redis", "port": 6380, "protocol": "TCP" }]),
            Some(6380),
        ),
        (
            json!([{ "name": "redis", "port": 6379, "protocol": "UDP" }]),
            None,
        ),
        (json!([{ "name": "redis" }]), None),
        (json!([{ "name": "", "port": 6379 }]), None),
        (json!(null), None),
    ] {
        let slice = slice("IPv4", &json!([{ "addresses": ["10.0.0.1"] }]), &ports);
        assert_eq!(
            reader("redis", None).slice(&slice)[0].port,
            expected,
            "{ports}"
        );
        assert_eq!(reader("7", None).slice(&slice)[0].port, Some(7));
    }
}

#[test]
fn ports_of_pods_are_those_of_containers_that_stay() {
    let container = |port: Value| json!({ "name": "a", "ports": [port] });
    let redis = container(json!({ "name": "redis", "containerPort": 6379 }));
    let once = json!({ "containers": [], "initContainers": [redis] });
    let mut sidecar = once.clone();
    sidecar["initContainers"][0]["restartPolicy"] = json!("Always");
    let udp = container(json!({ "name": "redis", "containerPort": 1, "protocol": "UDP" }));
    for (spec, expected) in [
        (json!({ "containers": [udp.clone(), redis] }), Some(6379)),
        (json!({ "containers": [udp] }), None),
        (json!({ "containers": [{ "name": "a" }] }), None),
        (once, None),
        (sidecar, Some(6379)),
    ] {
        let pod = pod(&spec, &json!({ "podIP": "10.0.0.1" }));
        assert_eq!(reader("redis", None).pod(&pod)[0].port, expected, "{spec}");
        assert_eq!(reader("7", None).pod(&pod)[0].port, Some(7));
    }
}

#[test]
fn a_pod_has_an_endpoint_for_each_address_or_one_without() {
    let reader = reader("6379", None);
    let addresses = |status: &Value| {
        let pod = pod(&json!({ "containers": [] }), status);
        let found = reader.pod(&pod).into_iter();
        found.map(|found| found.address).collect::<Vec<_>>()
    };
    let both =
        json!({ "podIP": "10.0.0.1", "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }] });
    assert_eq!(addresses(&both), [ip("10.0.0.1"), ip("fd00::1")]);
    assert_eq!(addresses(&json!({ "podIP": "10.0.0.1" })), [ip("10.0.0.1")]);
    assert_eq!(addresses(&json!({ "phase": "Pending" })), [None]);
    for phase in ["Succeeded", "Failed"] {
        assert_eq!(
            addresses(&json!({ "phase": phase, "podIP": "10.0.0.1" })),
            []
        );
    }
}

#[test]
fn dns_knows_a_pod_whose_subdomain_is_the_headless_service() {
    let known = json!({ "containers": [], "hostname": "redis-0", "subdomain": "redis" });
    let label = |headless, spec: &Value| {
        let pod = pod(spec, &json!({}));
        reader("6379", headless).pod(&pod)[0].label.clone()
    };
    assert_eq!(label(Some("redis"), &known).as_deref(), Some("redis-0"));
    assert_eq!(label(Some("other"), &known), None);
    assert_eq!(label(None, &known), None);
    let strangers = json!({ "containers": [], "hostname": "redis-0" });
    assert_eq!(label(Some("redis"), &strangers), None);
    assert_eq!(label(None, &strangers), None, "no subdomain is no Service");
}
