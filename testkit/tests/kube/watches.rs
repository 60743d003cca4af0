//! Watches: what comes first, what comes then, and how they end.

use std::time::{Duration, Instant};

use bellwether_testkit::KubeApi;
use bellwether_testkit::kube::Request;
use serde_json::{Value, json};

use crate::asking::{Asker, Events, LEASES, SLICES, lease, refusal, version};

/// The query of a watch.
fn watch(query: &str) -> String {
    format!("{LEASES}?watch=1&{query}")
}

async fn made(asker: &Asker, name: &str) -> String {
    let (code, lease) = asker.post(LEASES, &lease(name, &json!({}))).await;
    assert_eq!(code, 201);
    version(&lease).into()
}

async fn changed(asker: &Asker, name: &str, holder: &str) -> String {
    let patch = json!({"spec": {"holderIdentity": holder}});
    let (code, lease) = asker
        .patch("merge", &format!("{LEASES}/{name}"), &patch)
        .await;
    assert_eq!(code, 200);
    version(&lease).into()
}

async fn labelled(asker: &Asker, name: &str, app: &str) -> String {
    let patch = json!({"metadata": {"labels": {"app": app}}});
    let (code, lease) = asker
        .patch("merge", &format!("{LEASES}/{name}"), &patch)
        .await;
    assert_eq!(code, 200);
    version(&lease).into()
}

fn event(kind: &str, name: &str, version: &str) -> (String, String, String) {
    (kind.into(), name.into(), version.into())
}

/// Waits until the watch has ended, and passes bookmarks over.
async fn end(events: &mut Events) -> Result<(), String> {
    loop {
        match events.any().await {
            None => return Ok(()),
            Some(Ok((kind, _))) if kind == "BOOKMARK" => {}
            Some(Ok(event)) => panic!("not the end, but {event:?}"),
            Some(Err(error)) => return Err(error),
        }
    }
}

#[tokio::test]
async fn without_a_version_everything_comes_first() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let (a, b) = (made(&asker, "a").await, made(&asker, "b").await);
    for query in ["", "resourceVersion=0", "resourceVersion="] {
        let mut events = asker.watch(&watch(query)).await;
        assert_eq!(events.seen().await, event("ADDED", "a", &a));
        assert_eq!(events.seen().await, event("ADDED", "b", &b));
    }
    let one = "fieldSelector=metadata.name%3Db";
    let mut events = asker.watch(&watch(one)).await;
    assert_eq!(events.seen().await, event("ADDED", "b", &b));
    let changed = changed(&asker, "b", "x").await;
    let (kind, object) = events.next().await;
    assert_eq!((&*kind, version(&object)), ("MODIFIED", &*changed));
    assert_eq!(object["spec"]["holderIdentity"], "x");
    assert_eq!(
        (&object["kind"], &object["apiVersion"]),
        (&json!("Lease"), &json!("coordination.k8s.io/v1"))
    );
}

#[tokio::test]
async fn from_a_version_nothing_is_missed() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    made(&asker, "a").await;
    let (_, list) = asker.get(LEASES).await;
    let from = watch(&format!("resourceVersion={}", version(&list)));
    let mut running = asker.watch(&from).await;
    let modified = changed(&asker, "a", "x").await;
    let added = made(&asker, "b").await;
    assert_eq!(
        asker.delete(&format!("{LEASES}/a"), &Value::Null).await.0,
        200
    );
    let mut later = asker.watch(&from).await;
    for events in [&mut running, &mut later] {
        assert_eq!(events.seen().await, event("MODIFIED", "a", &modified));
        assert_eq!(events.seen().await, event("ADDED", "b", &added));
        let (kind, gone) = events.next().await;
        assert_eq!(
            (&*kind, &gone["spec"]["holderIdentity"]),
            ("DELETED", &json!("x"))
        );
        let number = |version: &str| version.parse::<u64>().unwrap();
        assert!(
            number(version(&gone)) > number(&added),
            "a deletion has a version of its own"
        );
    }
}

#[tokio::test]
async fn what_leaves_the_selection_is_deleted_to_it() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    made(&asker, "a").await;
    let from = labelled(&asker, "a", "x").await;
    let mut events = asker
        .watch(&watch(&format!(
            "labelSelector=app%3Dx&resourceVersion={from}"
        )))
        .await;
    let left = labelled(&asker, "a", "y").await;
    changed(&asker, "a", "unseen").await;
    let back = labelled(&asker, "a", "x").await;
    let (kind, gone) = events.next().await;
    assert_eq!((&*kind, version(&gone)), ("DELETED", &*left));
    assert_eq!(
        gone["metadata"]["labels"]["app"], "x",
        "as it was selected last"
    );
    let (kind, object) = events.next().await;
    assert_eq!((&*kind, version(&object)), ("ADDED", &*back));
    assert_eq!(object["spec"]["holderIdentity"], "unseen");
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let a = made(&asker, "a").await;
    let query = "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut events = asker.watch(&watch(query)).await;
    assert_eq!(events.seen().await, event("ADDED", "a", &a));
    let (kind, object) = events.any().await.unwrap().unwrap();
    assert_eq!(kind, "BOOKMARK");
    let annotations = json!({"k8s.io/initial-events-end": "true"});
    assert_eq!(object["metadata"]["annotations"], annotations);
    // Without a version, that is what is meant.
    let mut events = asker
        .watch(&watch("allowWatchBookmarks=true&resourceVersion=0"))
        .await;
    assert_eq!(events.seen().await, event("ADDED", "a", &a));
    let (_, object) = events.any().await.unwrap().unwrap();
    assert_eq!(object["metadata"]["annotations"], annotations);
    for (query, code) in [
        ("sendInitialEvents=true&allowWatchBookmarks=true", 422),
        ("resourceVersionMatch=NotOlderThan&resourceVersion=0", 422),
        ("resourceVersion=abc", 500),
        ("fieldSelector=spec.x%3Da", 400),
    ] {
        assert_eq!(refusal(&asker.get(&watch(query)).await).0, code, "{query}");
    }
}

#[tokio::test]
async fn a_watch_ends_after_its_timeout() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let begin = Instant::now();
    let nowhere = "/apis/coordination.k8s.io/v1/namespaces/nowhere/leases?watch=1&timeoutSeconds=1";
    let mut events = asker.watch(nowhere).await;
    assert_eq!(end(&mut events).await, Ok(()));
    assert!(begin.elapsed() >= Duration::from_millis(900));
    let a = made(&asker, "a").await;
    // Before its end it is told how far it is, if there is anything to tell.
    let query = "timeoutSeconds=4&allowWatchBookmarks=true&fieldSelector=metadata.name%3Da";
    let path = watch(&format!("{query}&resourceVersion={a}"));
    let mut events = asker.watch(&path).await;
    let b = made(&asker, "b").await;
    let (kind, bookmark) = events.any().await.unwrap().unwrap();
    assert_eq!((&*kind, &bookmark["kind"]), ("BOOKMARK", &json!("Lease")));
    let number = |version: &str| version.parse::<u64>().unwrap();
    assert!(number(version(&bookmark)) >= number(&b));
}

#[tokio::test]
async fn a_watch_from_the_future_waits() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let now: u64 = made(&asker, "a").await.parse().unwrap();
    // Deaf to the next few changes, whatever else a real server writes meanwhile.
    let mut events = asker
        .watch(&watch(&format!("resourceVersion={}", now + 500)))
        .await;
    changed(&asker, "a", "x").await;
    assert!(events.is_silent(Duration::from_millis(300)).await);
}

#[tokio::test]
async fn a_compacted_version_is_told_in_the_stream() {
    let api = KubeApi::start_in_memory().unwrap();
    let asker = Asker::new(&api).await;
    let old = made(&asker, "a").await;
    changed(&asker, "a", "x").await;
    let mut running = asker.watch(&watch(&format!("resourceVersion={old}"))).await;
    assert_eq!(running.next().await.0, "MODIFIED");
    api.compact();
    let mut events = asker.watch(&watch(&format!("resourceVersion={old}"))).await;
    let (kind, status) = events.any().await.unwrap().unwrap();
    assert_eq!(kind, "ERROR");
    assert_eq!(refusal(&(410, status)).1, "Expired");
    assert_eq!(end(&mut events).await, Ok(()));
    let (_, list) = asker.get(LEASES).await;
    let mut fresh = asker
        .watch(&watch(&format!("resourceVersion={}", version(&list))))
        .await;
    let modified = changed(&asker, "a", "y").await;
    assert_eq!(fresh.seen().await, event("MODIFIED", "a", &modified));
    assert_eq!(running.seen().await, event("MODIFIED", "a", &modified));
}

#[tokio::test]
async fn bookmarks_come_when_they_are_wanted() {
    let api = KubeApi::start_in_memory().unwrap();
    let asker = Asker::new(&api).await;
    let a = made(&asker, "a").await;
    let path = watch(&format!("resourceVersion={a}&allowWatchBookmarks=true"));
    let mut events = asker.watch(&path).await;
    let plain = watch(&format!("resourceVersion={a}"));
    let mut without = asker.watch(&plain).await;
    // Any change tells how far the watch is, also one of which it says nothing.
    api.put(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}))
        .unwrap();
    let mut at = a.clone();
    while at == a {
        api.bookmark();
        let (kind, bookmark) = events.any().await.unwrap().unwrap();
        assert_eq!(kind, "BOOKMARK");
        at = version(&bookmark).to_owned();
    }
    let modified = changed(&asker, "a", "x").await;
    assert_eq!(events.seen().await, event("MODIFIED", "a", &modified));
    let (kind, _) = without.any().await.unwrap().unwrap();
    assert_eq!(kind, "MODIFIED", "who does not allow bookmarks gets none");
}

#[tokio::test]
async fn running_watches_are_ended_cut_expired_and_silenced() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let a = made(&asker, "a").await;
    let path = watch(&format!("resourceVersion={a}"));
    let ours = |request: &Request| request.resource == "leases";

    let mut ended = asker.watch(&path).await;
    assert_eq!(api.watches().len(), 1);
    api.end_watches(ours);
    assert_eq!(end(&mut ended).await, Ok(()));

    let mut cut = asker.watch(&path).await;
    api.cut_watches(ours);
    assert!(end(&mut cut).await.is_err());

    let mut expired = asker.watch(&path).await;
    api.expire_watches(ours);
    let (kind, status) = expired.any().await.unwrap().unwrap();
    assert_eq!((&*kind, &status["code"]), ("ERROR", &json!(410)));
    assert_eq!(end(&mut expired).await, Ok(()));

    let mut silent = asker.watch(&path).await;
    let mut other = asker
        .watch(&format!("{SLICES}?watch=1&resourceVersion={a}"))
        .await;
    api.silence_watches(|request| request.resource == "leases");
    let modified = changed(&asker, "a", "x").await;
    assert!(silent.is_silent(Duration::from_millis(300)).await);
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "s"},
        "addressType": "IPv4",
        "endpoints": [],
    });
    api.put(&slice).unwrap();
    assert_eq!(other.next().await.0, "ADDED");
    api.revive_watches(|_| true);
    assert_eq!(silent.seen().await, event("MODIFIED", "a", &modified));
}
