//! Lists: selectors, pages, versions.

use bellwether_testkit::{KubeApi, skip};
use serde_json::{Value, json};

use crate::asking::{Asker, LEASES, lease, refusal, version};

async fn three(asker: &Asker) {
    for (name, tier) in [("a", "web"), ("b", "db"), ("c", "")] {
        let mut lease = lease(name, &json!({}));
        if !tier.is_empty() {
            lease["metadata"]["labels"] = json!({"tier": tier});
        }
        assert_eq!(asker.post(LEASES, &lease).await.0, 201);
    }
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("it is a list");
    let names = items.iter().map(|item| item["metadata"]["name"].as_str());
    names.map(|name| name.expect("it has a name")).collect()
}

#[tokio::test]
async fn selectors_select() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    three(&asker).await;
    for (selector, expected) in [
        ("labelSelector=tier%3Dweb", "a"),
        ("labelSelector=tier!%3Dweb", "bc"),
        ("labelSelector=tier+in+(web,db)", "ab"),
        ("labelSelector=tier+notin+(web)", "bc"),
        ("labelSelector=tier", "ab"),
        ("labelSelector=!tier", "c"),
        ("labelSelector=tier,tier!%3Dweb", "b"),
        ("fieldSelector=metadata.name%3Db", "b"),
        (
            "fieldSelector=metadata.name!%3Db,metadata.namespace%3Ddefault",
            "ac",
        ),
        ("fieldSelector=metadata.namespace%3Dother", ""),
        ("", "abc"),
    ] {
        let (code, list) = asker.get(&format!("{LEASES}?{selector}")).await;
        assert_eq!(
            (code, names(&list).concat()),
            (200, expected.into()),
            "{selector}"
        );
        assert_eq!(list["kind"], "LeaseList");
        let items = list["items"].as_array().unwrap();
        assert!(
            items.iter().all(|item| item.get("kind").is_none()),
            "{list}"
        );
    }
    let everywhere =
        "/apis/coordination.k8s.io/v1/leases?fieldSelector=metadata.namespace%3Ddefault";
    assert_eq!(names(&asker.get(everywhere).await.1), ["a", "b", "c"]);
    let nowhere = "/apis/coordination.k8s.io/v1/namespaces/nowhere/leases";
    let (code, list) = asker.get(nowhere).await;
    assert_eq!((code, names(&list).len()), (200, 0));

    let message = "\"spec.holderIdentity\" is not a known field selector: only \"metadata.name\", \
                   \"metadata.namespace\"";
    let refused = asker
        .get(&format!("{LEASES}?fieldSelector=spec.holderIdentity%3Da"))
        .await;
    assert_eq!(refusal(&refused), (400, "BadRequest", message));
    let message = "invalid selector: 'metadata.name'; can't understand 'metadata.name'";
    let refused = asker
        .get(&format!("{LEASES}?fieldSelector=metadata.name"))
        .await;
    assert_eq!(refusal(&refused), (400, "BadRequest", message));
    let refused = asker.get(&format!("{LEASES}?labelSelector=a+b+c")).await;
    assert_eq!(refusal(&refused).1, "BadRequest");
}

#[tokio::test]
async fn pages_show_one_moment() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    three(&asker).await;
    let (_, first) = asker.get(&format!("{LEASES}?limit=2")).await;
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    // What happens meanwhile is not seen.
    asker.delete(&format!("{LEASES}/c"), &Value::Null).await;
    asker.post(LEASES, &lease("d", &json!({}))).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (_, second) = asker
        .get(&format!("{LEASES}?limit=2&continue={token}"))
        .await;
    assert_eq!(names(&second), ["c"]);
    assert_eq!(version(&second), version(&first));
    assert!(second["metadata"].get("continue").is_none());
    let exact = format!("{LEASES}?resourceVersionMatch=Exact&resourceVersion=");
    let (_, then) = asker.get(&format!("{exact}{}", version(&first))).await;
    assert_eq!(names(&then), ["a", "b", "c"]);

    let garbled = asker.get(&format!("{LEASES}?limit=2&continue=abc")).await;
    assert_eq!(refusal(&garbled).1, "BadRequest");
    let both = asker
        .get(&format!("{LEASES}?resourceVersion=1&continue={token}"))
        .await;
    let message = "specifying resource version is not allowed when using continue";
    assert_eq!(refusal(&both), (400, "BadRequest", message));
    if api.is_real() {
        skip(
            "pages_show_one_moment",
            "a real server forgets only after five minutes",
        );
        return;
    }
    api.compact();
    let gone = asker.get(&format!("{exact}{}", version(&first))).await;
    let message = "The resourceVersion for the provided list is too old.";
    assert_eq!(refusal(&gone), (410, "Expired", message));
    let gone = asker
        .get(&format!("{LEASES}?limit=2&continue={token}"))
        .await;
    assert_eq!(refusal(&gone).1, "Expired");
    let now = gone.1["metadata"]["continue"].as_str().unwrap();
    let (_, rest) = asker.get(&format!("{LEASES}?continue={now}")).await;
    assert_eq!(names(&rest), ["d"]);
}

#[tokio::test]
async fn versions_are_at_least_what_is_asked() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    three(&asker).await;
    let (_, list) = asker.get(LEASES).await;
    for asked in ["0", "1", version(&list)] {
        let (code, list) = asker
            .get(&format!("{LEASES}?resourceVersion={asked}"))
            .await;
        assert_eq!((code, names(&list)), (200, vec!["a", "b", "c"]));
        let path = format!("{LEASES}/a?resourceVersion={asked}");
        assert_eq!(asker.get(&path).await.0, 200);
    }
    for path in [LEASES.into(), format!("{LEASES}/a")] {
        let future = asker.get(&format!("{path}?resourceVersion=99999999")).await;
        let (code, reason, message) = refusal(&future);
        assert_eq!((code, reason), (504, "Timeout"));
        let start = "Timeout: Too large resource version: 99999999, current: ";
        assert!(message.starts_with(start), "{message}");
        assert_eq!(
            future.1["details"]["causes"][0]["reason"],
            "ResourceVersionTooLarge"
        );
        assert_eq!(future.1["details"]["retryAfterSeconds"], 1);
    }
    let garbled = asker.get(&format!("{LEASES}?resourceVersion=abc")).await;
    let message = "invalid resource version: resourceVersion: Invalid value: \"abc\": \
                   strconv.ParseUint: parsing \"abc\": invalid syntax";
    assert_eq!(refusal(&garbled), (400, "BadRequest", message));
    let garbled = asker.get(&format!("{LEASES}/a?resourceVersion=abc")).await;
    assert_eq!(refusal(&garbled).0, 500);
    for (query, message) in [
        (
            "resourceVersionMatch=NotOlderThan",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (
            "sendInitialEvents=true",
            "sendInitialEvents is forbidden for list",
        ),
    ] {
        let refused = asker.get(&format!("{LEASES}?{query}")).await;
        let (code, reason, told) = refusal(&refused);
        assert_eq!((code, reason), (422, "Invalid"));
        assert!(told.ends_with(message), "{told}");
    }
}
