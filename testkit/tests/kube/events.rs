//! Events of the group `events.k8s.io`: what they need, and what of them may change.

use bellwether_testkit::KubeApi;
use serde_json::{Value, json};

use crate::asking::{Asker, EVENTS, refusal};

/// As a reporter of our own would make one.
fn event(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "eventTime": "2026-11-20T10:00:00.000000Z",
        "reportingController": "bellwether.dev/lease",
        "reportingInstance": "redis-0",
        "action": "Promote",
        "reason": "BecamePrimary",
        "type": "Normal",
        "note": "it serves",
        "regarding": { "apiVersion": "v1", "kind": "Pod", "name": "redis-0", "namespace": "default" },
    })
}

fn with(event: &Value, field: &str, value: Value) -> Value {
    let mut event = event.clone();
    event[field] = value;
    event
}

/// The fields that a refusal names, as the core group calls them.
fn wrong((_, body): &(u16, Value)) -> Vec<&str> {
    let causes = body["details"]["causes"].as_array();
    let causes = causes.into_iter().flatten();
    let mut fields: Vec<_> = causes.filter_map(|cause| cause["field"].as_str()).collect();
    fields.dedup();
    fields
}

#[tokio::test]
async fn an_event_says_who_tells_what_of_whom_and_when() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let (code, made) = asker.post(EVENTS, &event("a")).await;
    assert_eq!((code, &made["note"]), (201, &json!("it serves")));
    assert_eq!(made["apiVersion"], "events.k8s.io/v1");
    let again = asker.post(EVENTS, &event("a")).await;
    let message = "events.events.k8s.io \"a\" already exists";
    assert_eq!(refusal(&again), (409, "AlreadyExists", message));
    let long = "x".repeat(129);
    for (field, value, named) in [
        ("eventTime", json!(null), "eventTime"),
        ("reportingController", json!(null), "reportingController"),
        ("reportingInstance", json!(null), "reportingInstance"),
        ("reportingInstance", json!(long), "reportingInstance"),
        ("action", json!(null), "action"),
        ("action", json!(long), "action"),
        ("reason", json!(null), "reason"),
        ("reason", json!(long), "reason"),
        ("type", json!("Grave"), "type"),
        ("note", json!("x".repeat(1025)), "message"),
    ] {
        let refused = asker.post(EVENTS, &with(&event("b"), field, value)).await;
        assert_eq!(refused.0, 422, "{field}: {}", refused.1);
        assert_eq!(wrong(&refused), [named], "{}", refused.1);
    }
    let of = |field: &str| format!("{EVENTS}?fieldSelector={field}");
    for (selector, count) in [
        ("", 1),
        ("regarding.name=redis-0", 1),
        ("regarding.name=redis-1", 0),
        ("reason=BecamePrimary", 1),
        ("type=Warning", 0),
    ] {
        let (code, list) = asker.get(&of(selector)).await;
        assert_eq!(code, 200, "{selector}: {list}");
        // A real server may tell something, too.
        let items = list["items"].as_array().unwrap();
        let ours = items.iter().filter(|item| item["metadata"]["name"] == "a");
        assert_eq!(ours.count(), count, "{selector}: {list}");
    }
}

#[tokio::test]
async fn of_an_event_only_the_series_changes() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    assert_eq!(asker.post(EVENTS, &event("a")).await.0, 201);
    let path = format!("{EVENTS}/a");
    let series = |count: u32| json!({ "series": { "count": count, "lastObservedTime": "2026-11-20T10:01:00.000000Z" } });
    let (code, seen) = asker.patch("merge", &path, &series(2)).await;
    assert_eq!((code, &seen["series"]["count"]), (200, &json!(2)));
    assert_eq!(asker.patch("merge", &path, &series(3)).await.0, 200);
    let refused = asker.patch("merge", &path, &series(1)).await;
    assert_eq!((refused.0, wrong(&refused)), (422, vec!["series.count"]));
    for (field, value) in [
        ("note", json!("it serves no more")),
        ("reason", json!("Fenced")),
        ("action", json!("Fence")),
        ("type", json!("Warning")),
        ("reportingInstance", json!("redis-1")),
        ("reportingController", json!("bellwether.dev/other")),
        ("eventTime", json!("2026-11-20T10:02:00.000000Z")),
        (
            "related",
            json!({ "kind": "Pod", "name": "redis-1", "namespace": "default" }),
        ),
    ] {
        let refused = asker.patch("merge", &path, &json!({ field: value })).await;
        assert_eq!(refused.0, 422, "{field}: {}", refused.1);
        let named = if field == "note" { "message" } else { field };
        assert_eq!(wrong(&refused), [named], "{}", refused.1);
    }
    let missing = asker
        .patch("merge", &format!("{EVENTS}/b"), &series(2))
        .await;
    let message = "events.events.k8s.io \"b\" not found";
    assert_eq!(refusal(&missing), (404, "NotFound", message));
    let seen: Vec<_> = api
        .requests()
        .iter()
        .map(bellwether_testkit::kube::Request::what)
        .collect();
    assert!(seen.contains(&"patch events".to_owned()), "{seen:?}");
}
