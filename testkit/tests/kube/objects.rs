//! Create, replace, patch, delete: what is checked, in which order, and how it is refused.

use crate::asking::{Asker, LEASES, PODS, SERVICES, SLICES, lease, refusal, version};
use bellwether_testkit::KubeApi;
use bellwether_testkit::kube::Request;
use http::Method;
use serde_json::{Value, json};

const NOBODY: &str = "11111111-1111-1111-1111-111111111111";
const MODIFIED: &str = "the object has been modified; please apply your changes to the latest \
                        version and try again";

/// The lease with this holder instead.
fn held(lease: &Value, holder: &str) -> Value {
    let mut lease = lease.clone();
    lease["spec"]["holderIdentity"] = holder.into();
    lease
}

/// The object, as if it had been sent without its version, or its uid.
fn without(object: &Value, field: &str) -> Value {
    let mut object = object.clone();
    object["metadata"]
        .as_object_mut()
        .expect("a map")
        .remove(field);
    object
}

#[tokio::test]
async fn objects_are_created_once() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let (code, x) = asker
        .post(LEASES, &lease("x", &json!({"holderIdentity": "a"})))
        .await;
    assert_eq!((code, &x["spec"]), (201, &json!({"holderIdentity": "a"})));
    assert_eq!(
        (&x["kind"], &x["metadata"]["namespace"]),
        (&json!("Lease"), &json!("default"))
    );
    assert!(x["metadata"]["uid"].is_string() && x["metadata"]["creationTimestamp"].is_string());
    let again = asker.post(LEASES, &lease("x", &json!({}))).await;
    let message = "leases.coordination.k8s.io \"x\" already exists";
    assert_eq!(refusal(&again), (409, "AlreadyExists", message));
    assert_eq!(
        again.1["details"],
        json!({"name": "x", "group": "coordination.k8s.io", "kind": "leases"})
    );

    let nowhere = "/apis/coordination.k8s.io/v1/namespaces/nowhere/leases";
    let missing = asker.post(nowhere, &lease("x", &json!({}))).await;
    assert_eq!(
        refusal(&missing),
        (404, "NotFound", "namespaces \"nowhere\" not found")
    );
    let mut elsewhere = lease("y", &json!({}));
    elsewhere["metadata"]["namespace"] = "other".into();
    let message = "the namespace of the provided object does not match the namespace sent on the \
                   request";
    let refused = asker.post(LEASES, &elsewhere).await;
    assert_eq!(refusal(&refused), (400, "BadRequest", message));

    let versioned = json!({"metadata": {"name": "y", "resourceVersion": "5"}});
    let message = "resourceVersion should not be set on objects to be created";
    assert_eq!(
        refusal(&asker.post(LEASES, &versioned).await),
        (500, "", message)
    );
    let (code, generated) = asker
        .post(LEASES, &json!({"metadata": {"generateName": "g-"}}))
        .await;
    assert_eq!((code, &generated["spec"]), (201, &json!({})));
    let name = generated["metadata"]["name"].as_str().unwrap();
    assert_eq!((&name[..2], name.len()), ("g-", 7));
    let unnamed = asker.post(LEASES, &json!({"metadata": {}})).await;
    let message = "Lease.coordination.k8s.io \"\" is invalid: metadata.name: Required value: name \
                   or generateName is required";
    assert_eq!(refusal(&unnamed), (422, "Invalid", message));

    let tried = asker
        .post(&format!("{LEASES}?dryRun=All"), &lease("dry", &json!({})))
        .await;
    assert_eq!(tried.0, 201);
    let message = "leases.coordination.k8s.io \"dry\" not found";
    let missing = asker.get(&format!("{LEASES}/dry")).await;
    assert_eq!(refusal(&missing), (404, "NotFound", message));
}

#[tokio::test]
async fn a_lease_is_replaced_only_as_it_was_seen() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let path = format!("{LEASES}/x");
    let (_, first) = asker
        .post(LEASES, &lease("x", &json!({"holderIdentity": "a"})))
        .await;
    let (code, second) = asker.put(&path, &held(&first, "b")).await;
    assert_eq!(
        (code, &second["spec"]["holderIdentity"]),
        (200, &json!("b"))
    );
    assert_eq!(second["metadata"]["uid"], first["metadata"]["uid"]);

    let conflict = "Operation cannot be fulfilled on leases.coordination.k8s.io \"x\": ";
    for stale in [
        held(&first, "c"),
        first.clone(),
        held(&without(&first, "uid"), "c"),
    ] {
        let refused = asker.put(&path, &stale).await;
        assert_eq!(
            refusal(&refused),
            (409, "Conflict", &*format!("{conflict}{MODIFIED}"))
        );
    }
    // Leases cannot be overwritten whatever they hold.
    let message = "leases.coordination.k8s.io \"x\" is invalid: metadata.resourceVersion: Invalid \
                   value: 0: must be specified for an update";
    for version in [json!(null), json!(""), json!("0")] {
        let mut blind = held(&second, "c");
        blind["metadata"]["resourceVersion"] = version;
        let refused = asker.put(&path, &blind).await;
        assert_eq!(refusal(&refused), (422, "Invalid", message));
        assert_eq!(refused.1["details"]["kind"], "leases");
    }
    let mut other = held(&second, "c");
    other["metadata"]["uid"] = NOBODY.into();
    let refused = asker.put(&path, &other).await;
    let (code, reason, message) = refusal(&refused);
    assert_eq!((code, reason), (409, "Conflict"));
    assert!(
        message.contains("UID in precondition: 11111111-"),
        "{message}"
    );
    let mut garbled = second.clone();
    garbled["metadata"]["resourceVersion"] = "abc".into();
    let message = "strconv.ParseUint: parsing \"abc\": invalid syntax";
    assert_eq!(
        refusal(&asker.put(&path, &garbled).await),
        (500, "", message)
    );

    // What changes nothing is no write.
    let (code, same) = asker.put(&path, &second).await;
    assert_eq!((code, version(&same)), (200, version(&second)));
    // And what is left out is removed.
    let (code, bare) = asker
        .put(&path, &without(&lease("x", &json!({})), "none"))
        .await;
    assert_eq!(code, 422, "{bare}");
    let mut bare = lease("x", &json!({"leaseDurationSeconds": 5}));
    bare["metadata"]["resourceVersion"] = version(&second).into();
    let (code, bare) = asker.put(&path, &bare).await;
    assert_eq!(
        (code, &bare["spec"]),
        (200, &json!({"leaseDurationSeconds": 5}))
    );
    assert_eq!(
        bare["metadata"]["creationTimestamp"],
        first["metadata"]["creationTimestamp"]
    );

    let message = "the name of the object (y) does not match the name on the URL (x)";
    let refused = asker.put(&path, &lease("y", &json!({}))).await;
    assert_eq!(refusal(&refused), (400, "BadRequest", message));
    let message =
        "the name of the object (x based on URL) was undeterminable: name must be provided";
    let refused = asker.put(&path, &json!({"metadata": {}})).await;
    assert_eq!(refusal(&refused), (400, "BadRequest", message));
}

#[tokio::test]
async fn a_put_creates_leases_and_services_and_nothing_else() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    // Even with a version: a lease that was deleted comes back, unless its uid is sent, too.
    let mut late = lease("x", &json!({"holderIdentity": "late"}));
    late["metadata"]["resourceVersion"] = "5".into();
    let (code, created) = asker.put(&format!("{LEASES}/x"), &late).await;
    assert_eq!(
        (code, &created["spec"]["holderIdentity"]),
        (201, &json!("late"))
    );
    asker.delete(&format!("{LEASES}/x"), &Value::Null).await;
    let refused = asker.put(&format!("{LEASES}/x"), &created).await;
    let (code, reason, message) = refusal(&refused);
    assert_eq!((code, reason), (409, "Conflict"));
    assert!(message.ends_with("UID in object meta: "), "{message}");

    let mut zero = lease("zero", &json!({}));
    zero["metadata"]["resourceVersion"] = "0".into();
    let (code, answer) = asker.put(&format!("{LEASES}/zero"), &zero).await;
    assert_eq!(code, 201, "{answer}");

    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    assert_eq!(asker.put(&format!("{SERVICES}/s"), &service).await.0, 201);
    let slice = json!({"metadata": {"name": "x"}, "addressType": "IPv4", "endpoints": []});
    let message = "endpointslices.discovery.k8s.io \"x\" not found";
    let refused = asker.put(&format!("{SLICES}/x"), &slice).await;
    assert_eq!(refusal(&refused), (404, "NotFound", message));
    let pod = json!({"metadata": {"name": "x"}, "spec": {"containers": []}});
    let refused = asker.put(&format!("{PODS}/x"), &pod).await;
    assert_eq!(refusal(&refused), (404, "NotFound", "pods \"x\" not found"));
    let nowhere = "/apis/coordination.k8s.io/v1/namespaces/nowhere/leases/x";
    let refused = asker.put(nowhere, &lease("x", &json!({}))).await;
    assert_eq!(
        refusal(&refused),
        (404, "NotFound", "namespaces \"nowhere\" not found")
    );
}

#[tokio::test]
async fn json_patches_test_and_replace() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let path = format!("{LEASES}/x");
    let (_, x) = asker
        .post(LEASES, &lease("x", &json!({"holderIdentity": "a"})))
        .await;
    let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": version(&x)});
    let take = json!({"op": "replace", "path": "/spec/holderIdentity", "value": "b"});
    let (code, taken) = asker.patch("json", &path, &json!([test, take])).await;
    assert_eq!((code, &taken["spec"]["holderIdentity"]), (200, &json!("b")));
    let rejected = "the server rejected our request due to an error in our request";
    for patch in [
        json!([test, take]),
        json!([{"op": "add", "path": "/metadata/annotations/a", "value": "1"}]),
        json!([{"op": "remove", "path": "/spec/nothing"}]),
        json!([{"op": "replace", "path": "/metadata/labels/a", "value": "1"}]),
        json!([{"op": "guess", "path": "/spec"}]),
    ] {
        let refused = asker.patch("json", &path, &patch).await;
        assert_eq!(refusal(&refused), (422, "Invalid", rejected), "{patch}");
    }
    let liberal = json!([
        {"op": "test", "path": "/metadata/labels", "value": null},
        {"op": "add", "path": "/metadata/annotations", "value": {}},
        {"op": "replace", "path": "/metadata/annotations/bellwether.dev~1term", "value": "7"},
    ]);
    let (code, noted) = asker.patch("json", &path, &liberal).await;
    assert_eq!(
        (
            code,
            &noted["metadata"]["annotations"]["bellwether.dev/term"]
        ),
        (200, &json!("7"))
    );

    let stale =
        json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": version(&x)}]);
    assert_eq!(
        refusal(&asker.patch("json", &path, &stale).await).1,
        "Conflict"
    );
    let blind = json!([{"op": "remove", "path": "/metadata/resourceVersion"}]);
    assert_eq!(asker.patch("json", &path, &blind).await.0, 422);
    let renamed = json!([{"op": "replace", "path": "/metadata/name", "value": "y"}]);
    assert_eq!(asker.patch("json", &path, &renamed).await.0, 400);
    assert_eq!(
        asker.patch("json", &path, &json!({"op": "add"})).await.0,
        400
    );
    assert_eq!(
        asker
            .patch("json", &format!("{LEASES}/none"), &json!([]))
            .await
            .0,
        404
    );
    let (code, same) = asker.patch("json", &path, &json!([])).await;
    assert_eq!((code, version(&same)), (200, version(&noted)));
}

#[tokio::test]
async fn merge_patches_merge_and_mind_versions() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let path = format!("{LEASES}/x");
    let spec = json!({"holderIdentity": "a", "leaseDurationSeconds": 5});
    let (_, x) = asker.post(LEASES, &lease("x", &spec)).await;
    for (kind, holder) in [("merge", "b"), ("strategic-merge", "c")] {
        let before = asker.get(&path).await.1;
        let patch = |object: &Value| {
            let metadata = json!({"resourceVersion": version(object)});
            json!({"metadata": metadata, "spec": {"holderIdentity": holder}})
        };
        let (code, after) = asker.patch(kind, &path, &patch(&before)).await;
        assert_eq!(
            (code, &after["spec"]["holderIdentity"]),
            (200, &json!(holder))
        );
        assert_eq!(after["spec"]["leaseDurationSeconds"], 5);
        for stale in [
            patch(&x),
            json!({"metadata": {"resourceVersion": version(&x)}}),
        ] {
            let refused = asker.patch(kind, &path, &stale).await;
            assert_eq!(refusal(&refused).1, "Conflict", "{kind}");
        }
        let cleared = json!({"spec": {"holderIdentity": null}, "metadata": {"labels": {"a": "1"}}});
        let (code, after) = asker.patch(kind, &path, &cleared).await;
        assert_eq!(
            (code, &after["spec"]),
            (200, &json!({"leaseDurationSeconds": 5}))
        );
        assert_eq!(after["metadata"]["labels"], json!({"a": "1"}));
        let (code, same) = asker.patch(kind, &path, &json!({})).await;
        assert_eq!((code, version(&same)), (200, version(&after)));
        let wrong = json!({"spec": {"leaseDurationSeconds": 0}});
        assert_eq!(
            refusal(&asker.patch(kind, &path, &wrong).await).1,
            "Invalid"
        );
        let wrong = json!({"spec": {"leaseDurationSeconds": "x"}});
        let refused = asker.patch(kind, &path, &wrong).await;
        // The strategic patch is decoded by another path, which only differs in what it calls it.
        assert!(matches!(refused.0, 400 | 422), "{}", refused.1);
        let other = json!({"metadata": {"uid": NOBODY}});
        assert_eq!(asker.patch(kind, &path, &other).await.0, 422, "{kind}");
        assert_eq!(asker.patch(kind, &path, &json!([])).await.0, 400);
        assert_eq!(
            asker
                .patch(kind, &format!("{LEASES}/none"), &json!({}))
                .await
                .0,
            404
        );
    }
    let unknown = asker
        .ask(Method::PATCH, &path, "application/json", &json!({}))
        .await;
    assert_eq!(refusal(&unknown).0, 415);
}

#[tokio::test]
async fn applied_fields_have_owners() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let apply = async |by: &str, spec: Value| {
        let path = format!("{LEASES}/x?fieldManager={by}");
        asker.patch("apply", &path, &lease("x", &spec)).await
    };
    let (code, created) = apply("one", json!({"holderIdentity": "a"})).await;
    assert_eq!(
        (code, &created["spec"]),
        (201, &json!({"holderIdentity": "a"}))
    );
    let (code, same) = apply("one", json!({"holderIdentity": "a"})).await;
    assert_eq!((code, version(&same)), (200, version(&created)));
    assert_eq!(apply("two", json!({"holderIdentity": "a"})).await.0, 200);
    let refused = apply("three", json!({"holderIdentity": "c"})).await;
    let message = "Apply failed with 2 conflicts: conflicts with \"one\":\n- \
                   .spec.holderIdentity\nconflicts with \"two\":\n- .spec.holderIdentity";
    assert_eq!(refusal(&refused), (409, "Conflict", message));
    assert_eq!(
        refused.1["details"]["causes"][0]["reason"],
        "FieldManagerConflict"
    );
    assert_eq!(
        apply("three&force=true", json!({"holderIdentity": "c"}))
            .await
            .0,
        200
    );
    let (_, more) = apply("one", json!({"leaseTransitions": 1})).await;
    assert_eq!(
        more["spec"],
        json!({"holderIdentity": "c", "leaseTransitions": 1})
    );
    let (_, less) = apply("one", json!({})).await;
    assert_eq!(less["spec"], json!({"holderIdentity": "c"}));

    let path = format!("{LEASES}/x?fieldManager=putter");
    let (_, put) = asker.put(&path, &held(&less, "d")).await;
    assert_eq!(put["spec"]["holderIdentity"], "d");
    let refused = apply("three", json!({"holderIdentity": "c"})).await;
    let message = "Apply failed with 1 conflict: conflict with \"putter\" using \
                   coordination.k8s.io/v1: .spec.holderIdentity";
    assert_eq!(refusal(&refused), (409, "Conflict", message));

    let path = format!("{LEASES}/x?fieldManager=three&force=true");
    let mut stale = lease("x", &json!({"holderIdentity": "c"}));
    stale["metadata"]["resourceVersion"] = version(&created).into();
    assert_eq!(
        refusal(&asker.patch("apply", &path, &stale).await).1,
        "Conflict"
    );
    let nobody = asker
        .patch("apply", &format!("{LEASES}/x"), &lease("x", &json!({})))
        .await;
    let message = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is \
                   required for apply patch";
    assert_eq!(refusal(&nobody), (422, "Invalid", message));
}

#[tokio::test]
async fn deletion_minds_preconditions_and_finalizers() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let path = format!("{LEASES}/x");
    let (_, x) = asker.post(LEASES, &lease("x", &json!({}))).await;
    for wrong in [json!({"uid": NOBODY}), json!({"resourceVersion": "1"})] {
        let refused = asker.delete(&path, &json!({"preconditions": wrong})).await;
        let (code, reason, message) = refusal(&refused);
        assert_eq!((code, reason), (409, "Conflict"));
        let start = "Operation cannot be fulfilled on Lease.coordination.k8s.io \"x\": the ";
        assert!(message.starts_with(start), "{message}");
    }
    let right = json!({"uid": x["metadata"]["uid"], "resourceVersion": version(&x)});
    let (code, status) = asker.delete(&path, &json!({"preconditions": right})).await;
    assert_eq!((code, &status["status"]), (200, &json!("Success")));
    assert_eq!(status["details"]["uid"], x["metadata"]["uid"]);
    let message = "leases.coordination.k8s.io \"x\" not found";
    let missing = asker.delete(&path, &Value::Null).await;
    assert_eq!(refusal(&missing), (404, "NotFound", message));

    let mut held = lease("x", &json!({}));
    held["metadata"]["finalizers"] = json!(["bellwether.dev/hold"]);
    asker.post(LEASES, &held).await;
    let (code, marked) = asker.delete(&path, &Value::Null).await;
    assert_eq!(code, 200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let more = json!({"metadata": {"finalizers": ["bellwether.dev/hold", "bellwether.dev/more"]}});
    let refused = asker.patch("merge", &path, &more).await;
    assert_eq!(refusal(&refused).1, "Invalid");
    let let_go = json!({"metadata": {"finalizers": null}});
    assert_eq!(asker.patch("merge", &path, &let_go).await.0, 200);
    assert_eq!(asker.get(&path).await.0, 404);

    for name in ["a", "b", "c"] {
        let mut lease = lease(name, &json!({}));
        lease["metadata"]["labels"] = json!({"keep": (name == "b").to_string()});
        asker.post(LEASES, &lease).await;
    }
    let some = format!("{LEASES}?labelSelector=keep%3Dfalse");
    assert_eq!(asker.delete(&some, &Value::Null).await.0, 200);
    assert_eq!(api.objects("leases", "default").unwrap().len(), 1);
}

#[tokio::test]
async fn leases_are_validated() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let try_spec = async |spec: Value| {
        let tried = format!("{LEASES}?dryRun=All");
        asker.post(&tried, &lease("x", &spec)).await
    };
    let message = "Lease.coordination.k8s.io \"x\" is invalid: [spec.leaseDurationSeconds: Invalid \
                   value: 0: must be greater than 0, spec.leaseTransitions: Invalid value: -1: \
                   must be greater than or equal to 0]";
    let refused = try_spec(json!({"leaseDurationSeconds": 0, "leaseTransitions": -1})).await;
    assert_eq!(refusal(&refused), (422, "Invalid", message));
    assert_eq!(
        refused.1["details"]["causes"].as_array().map(Vec::len),
        Some(2)
    );
    for (field, value) in [
        ("leaseDurationSeconds", json!("6")),
        ("leaseDurationSeconds", json!(6.5)),
        ("leaseDurationSeconds", json!(2_147_483_648_u64)),
        ("holderIdentity", json!(1)),
        ("renewTime", json!("2026-01-01T00:00:00Z")),
        ("renewTime", json!("2026-01-01T00:00:00.123Z")),
        ("renewTime", json!("2026-01-01T00:00:00.123456789Z")),
        ("renewTime", json!("2026-01-01 00:00:00.123456Z")),
        ("acquireTime", json!(1_700_000_000)),
    ] {
        let refused = try_spec(json!({field: value})).await;
        let (code, reason, message) = refusal(&refused);
        assert_eq!((code, reason), (400, "BadRequest"), "{value}");
        let start = "Lease in version \"v1\" cannot be handled as a Lease: ";
        assert!(message.starts_with(start), "{message}");
    }
    for (spec, kept) in [
        (json!({"holderIdentity": ""}), json!({"holderIdentity": ""})),
        (
            json!({"holderIdentity": null, "renewTime": null}),
            json!({}),
        ),
        (
            json!({"leaseDurationSeconds": 1}),
            json!({"leaseDurationSeconds": 1}),
        ),
        (json!({"nonsense": 1}), json!({})),
        // Coordinated leader election is off unless asked for.
        (
            json!({"strategy": "OldestEmulationVersion", "preferredHolder": "b"}),
            json!({}),
        ),
        (
            json!({"renewTime": "0001-01-01T00:00:00.000000Z"}),
            json!({"renewTime": null}),
        ),
        (
            json!({"renewTime": "2026-01-01T02:00:00.123456+02:00"}),
            json!({"renewTime": "2026-01-01T00:00:00.123456Z"}),
        ),
    ] {
        let (code, object) = try_spec(spec).await;
        assert_eq!((code, &object["spec"]), (201, &kept));
    }
}

#[tokio::test]
async fn names_labels_and_annotations_are_validated() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let tried = format!("{LEASES}?dryRun=All");
    for (name, code) in [
        ("a.b-c", 201),
        ("1", 201),
        ("A", 422),
        ("a_b", 422),
        ("-a", 422),
        ("a..b", 422),
        (&"a".repeat(253), 201),
        (&"a".repeat(254), 422),
    ] {
        assert_eq!(
            asker.post(&tried, &lease(name, &json!({}))).await.0,
            code,
            "{name}"
        );
    }
    for (metadata, code) in [
        (json!({"annotations": {"A.b/C": "any thing"}}), 201),
        (json!({"annotations": {"a": "x".repeat(262_143)}}), 201),
        (json!({"annotations": {"a": "x".repeat(262_144)}}), 422),
        (json!({"annotations": {"a b": ""}}), 422),
        (json!({"annotations": {"a".repeat(64): ""}}), 422),
        (json!({"annotations": {"a": 1}}), 400),
        (json!({"labels": {"a": ""}}), 201),
        (json!({"labels": {"a": "b/c"}}), 422),
        (json!({"labels": {"a": "b".repeat(64)}}), 422),
        (json!({"labels": {"a/b/c": ""}}), 422),
    ] {
        let mut object = json!({"metadata": metadata});
        object["metadata"]["name"] = "a".into();
        let answer = asker.post(&tried, &object).await;
        assert_eq!(answer.0, code, "{}", answer.1["message"]);
    }
    let big = json!({"metadata": {"name": "a", "annotations": {"a": "x".repeat(3 << 20)}}});
    let refused = asker.post(LEASES, &big).await;
    let message = "Request entity too large: limit is 3145728";
    assert_eq!(refusal(&refused), (413, "RequestEntityTooLarge", message));
    let dotted = json!({"metadata": {"name": "a.b"}, "spec": {"ports": [{"port": 1}]}});
    assert_eq!(refusal(&asker.post(SERVICES, &dotted).await).1, "Invalid");
}

#[tokio::test]
async fn a_service_is_pointed_at_a_pod() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let path = format!("{SERVICES}/s");
    let spec = json!({"selector": {"app": "redis", "x": "y"}, "ports": [{"port": 6379}]});
    let (_, s) = asker
        .post(SERVICES, &json!({"metadata": {"name": "s"}, "spec": spec}))
        .await;
    assert!(s["spec"]["clusterIP"].is_string());
    assert_eq!(s["spec"]["type"], "ClusterIP");
    let point = json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": version(&s)},
        {"op": "add", "path": "/spec/selector", "value": {"pod": "p"}},
        {"op": "add", "path": "/metadata/annotations", "value": {"bellwether.dev/term": "3"}},
    ]);
    let (code, pointed) = asker.patch("json", &path, &point).await;
    assert_eq!(
        (code, &pointed["spec"]["selector"]),
        (200, &json!({"pod": "p"}))
    );
    assert_eq!(asker.patch("json", &path, &point).await.0, 422);
    let merged = json!({"spec": {"selector": {"role": "x"}}});
    let (_, both) = asker.patch("merge", &path, &merged).await;
    assert_eq!(both["spec"]["selector"], json!({"pod": "p", "role": "x"}));
    for value in ["a/b".to_owned(), "a".repeat(64)] {
        let wrong = json!([{"op": "add", "path": "/spec/selector", "value": {"pod": value}}]);
        assert_eq!(
            refusal(&asker.patch("json", &path, &wrong).await).1,
            "Invalid"
        );
    }
    // Unlike a lease, a Service may be overwritten, and keeps its address then.
    let blind = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}]}});
    let (code, overwritten) = asker.put(&path, &blind).await;
    assert_eq!(
        (code, &overwritten["spec"]["clusterIP"]),
        (200, &s["spec"]["clusterIP"])
    );
    assert!(overwritten["spec"].get("selector").is_none());
    let message = format!("Operation cannot be fulfilled on services \"s\": {MODIFIED}");
    let refused = asker.put(&path, &s).await;
    assert_eq!(refusal(&refused), (409, "Conflict", &*message));
    let add = json!([{"op": "replace", "path": "/spec/selector", "value": {"pod": "q"}}]);
    let (code, added) = asker.patch("json", &path, &add).await;
    assert_eq!(
        (code, &added["spec"]["selector"]),
        (200, &json!({"pod": "q"}))
    );
}

#[tokio::test]
async fn pods_have_a_status_apart_and_end_gracefully() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let path = format!("{PODS}/p");
    let containers = json!([{"name": "c", "image": "i"}]);
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "labels": {"app": "redis"}},
        "spec": {"containers": containers, "nodeName": "n"},
        "status": {"phase": "Running", "podIP": "10.1.2.3"},
    });
    let (code, created) = asker.post(PODS, &pod).await;
    assert_eq!(
        (code, &created["status"]["phase"]),
        (201, &json!("Pending"))
    );
    assert!(created["status"].get("podIP").is_none());
    let ready = json!({
        "phase": "Running",
        "podIP": "10.1.2.3",
        "podIPs": [{"ip": "10.1.2.3"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    });
    let status = format!("{path}/status");
    let (code, running) = asker
        .patch("merge", &status, &json!({"status": ready}))
        .await;
    assert_eq!(
        (code, &running["status"]["podIP"]),
        (200, &json!("10.1.2.3"))
    );
    let through = json!({"status": {"podIP": "10.9.9.9"}, "metadata": {"labels": {"role": "x"}}});
    let (code, labelled) = asker.patch("merge", &path, &through).await;
    assert_eq!(
        (code, &labelled["status"]["podIP"]),
        (200, &json!("10.1.2.3"))
    );
    assert_eq!(
        labelled["metadata"]["labels"],
        json!({"app": "redis", "role": "x"})
    );
    for (field, count) in [
        ("status.podIP=10.1.2.3", 1),
        ("status.phase=Running,spec.nodeName=n", 1),
        ("status.phase!=Running", 0),
        ("metadata.name=q", 0),
    ] {
        let path = format!("{PODS}?fieldSelector={}", field.replace('=', "%3D"));
        let (_, list) = asker.get(&path).await;
        assert_eq!(
            list["items"].as_array().map(Vec::len),
            Some(count),
            "{field}"
        );
    }
    let refused = asker
        .get(&format!("{PODS}?fieldSelector=spec.hostname%3Dp"))
        .await;
    let message = "field label not supported: spec.hostname";
    assert_eq!(refusal(&refused), (400, "BadRequest", message));

    let (code, ending) = asker.delete(&path, &Value::Null).await;
    assert_eq!(
        (code, &ending["metadata"]["deletionGracePeriodSeconds"]),
        (200, &json!(30))
    );
    let (code, ending) = asker.get(&path).await;
    assert_eq!(code, 200);
    assert!(ending["metadata"]["deletionTimestamp"].is_string());
    asker.delete(&path, &json!({"gracePeriodSeconds": 0})).await;
    assert_eq!(asker.get(&path).await.0, 404);
    // Past the front, an object comes with its status.
    let put = api.put(&pod).unwrap();
    assert_eq!(put["status"]["podIP"], "10.1.2.3");
    assert!(api.terminate("pods", "default", "p").unwrap());
    assert!(api.object("pods", "default", "p").unwrap().is_some());
    assert!(api.remove("pods", "default", "p").unwrap());
    assert!(!api.remove("pods", "default", "p").unwrap());
}

#[tokio::test]
async fn endpointslices_hold_addresses_of_one_family() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let slice = |name: &str, kind: &str, addresses: &[&str]| {
        json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "s"}},
            "addressType": kind,
            "endpoints": [{"addresses": addresses}],
            "ports": [{"port": 6379}],
        })
    };
    let (code, four) = asker
        .post(SLICES, &slice("four", "IPv4", &["10.1.2.3"]))
        .await;
    assert_eq!((code, &four["metadata"]["generation"]), (201, &json!(1)));
    assert_eq!(
        four["endpoints"],
        json!([{"addresses": ["10.1.2.3"], "conditions": {}}])
    );
    assert_eq!(
        four["ports"],
        json!([{"name": "", "protocol": "TCP", "port": 6379}])
    );
    assert_eq!(
        asker
            .post(SLICES, &slice("six", "IPv6", &["fd00::1"]))
            .await
            .0,
        201
    );
    for (kind, addresses) in [("IPv6", &["10.1.2.3"][..]), ("IPv4", &[]), ("IPX", &["a"])] {
        let refused = asker.post(SLICES, &slice("wrong", kind, addresses)).await;
        assert_eq!(refusal(&refused).1, "Invalid", "{kind}");
    }
    let (code, bare) = asker
        .post(
            SLICES,
            &json!({"metadata": {"name": "bare"}, "addressType": "IPv4"}),
        )
        .await;
    assert_eq!((code, bare.get("endpoints")), (201, Some(&Value::Null)));
    assert_eq!(bare.get("ports"), Some(&Value::Null));
    let turned = asker
        .put(
            &format!("{SLICES}/four"),
            &slice("four", "IPv6", &["fd00::2"]),
        )
        .await;
    assert_eq!(refusal(&turned).1, "Invalid");
    let moved = slice("four", "IPv4", &["10.1.2.4"]);
    let (code, moved) = asker.put(&format!("{SLICES}/four"), &moved).await;
    assert_eq!((code, &moved["metadata"]["generation"]), (200, &json!(2)));
    let of_service = format!("{SLICES}?labelSelector=kubernetes.io%2Fservice-name%3Ds");
    let (_, list) = asker.get(&of_service).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn paths_and_methods_that_are_not_served() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let unknown = "the server could not find the requested resource";
    for path in [
        "/apis/coordination.k8s.io/v1/namespaces/default/unknown",
        "/apis/coordination.k8s.io/v9/namespaces/default/leases",
        "/api/v1/unknown",
        &format!("{LEASES}/x/status"),
        &format!("{LEASES}/x/unknown"),
    ] {
        assert_eq!(
            refusal(&asker.get(path).await),
            (404, "NotFound", unknown),
            "{path}"
        );
    }
    let nothing = asker.get("/unknown").await;
    assert_eq!(nothing, (404, "404 page not found\n".into()));
    let body = lease("x", &json!({}));
    for (method, path) in [
        (Method::POST, format!("{LEASES}/x")),
        (Method::PUT, LEASES.into()),
        (Method::PATCH, LEASES.into()),
        (Method::OPTIONS, LEASES.into()),
    ] {
        let refused = asker
            .ask(method, &path, "application/merge-patch+json", &body)
            .await;
        assert_eq!(refusal(&refused).0, 405, "{path}");
    }
    let text = asker.ask(Method::POST, LEASES, "text/plain", &body).await;
    assert_eq!(refusal(&text).1, "UnsupportedMediaType");
    for path in [
        "/version",
        "/api",
        "/apis",
        "/api/v1",
        "/apis/discovery.k8s.io/v1",
    ] {
        assert_eq!(asker.get(path).await.0, 200, "{path}");
    }
    assert_eq!(asker.get("/readyz").await, (200, "ok".into()));
    let leases = asker.get("/apis/coordination.k8s.io/v1").await.1;
    assert_eq!(leases["resources"][0]["name"], "leases");
}

#[tokio::test]
async fn a_namespace_ends_with_what_is_in_it() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    api.add_namespace("team").unwrap();
    api.add_namespace("team").unwrap();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/team/leases";
    assert_eq!(asker.post(leases, &lease("x", &json!({}))).await.0, 201);
    let (_, ending) = asker.delete("/api/v1/namespaces/team", &Value::Null).await;
    assert_eq!(ending["status"]["phase"], "Terminating");
    let refused = asker.post(leases, &lease("y", &json!({}))).await;
    let message = "leases.coordination.k8s.io \"y\" is forbidden: unable to create new content in \
                   namespace team because it is being terminated";
    assert_eq!(refusal(&refused), (403, "Forbidden", message));
    assert_eq!(
        refused.1["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
    assert!(api.remove("namespaces", "", "team").unwrap());
    assert_eq!(asker.get("/api/v1/namespaces/team").await.0, 404);
    assert_eq!(asker.get(&format!("{leases}/x")).await.0, 404);
    assert!(!api.remove("namespaces", "", "team").unwrap());
}

#[tokio::test]
async fn requests_are_recorded() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    asker.post(LEASES, &lease("x", &json!({}))).await;
    asker.get(&format!("{LEASES}/x")).await;
    asker
        .get(&format!("{LEASES}?fieldSelector=metadata.name%3Dx"))
        .await;
    asker
        .patch("merge", &format!("{LEASES}/x"), &json!({"spec": {}}))
        .await;
    asker
        .patch("merge", &format!("{PODS}/p/status"), &json!({}))
        .await;
    asker.delete(&format!("{LEASES}/x"), &Value::Null).await;
    asker.get("/version").await;
    let requests = api.requests();
    let what: Vec<_> = requests.iter().map(Request::what).collect();
    let expected = [
        "create leases",
        "get leases",
        "list leases",
        "patch leases",
        "patch pods/status",
        "delete leases",
        "get ",
    ];
    assert_eq!(what, expected);
    let statuses: Vec<_> = requests.iter().map(|request| request.status).collect();
    assert_eq!(statuses, [201, 200, 200, 200, 404, 200, 200].map(Some));
    let list = &requests[2];
    assert_eq!(
        (&*list.group, &*list.namespace, &*list.name),
        ("coordination.k8s.io", "default", "x")
    );
    assert_eq!(list.user.as_deref(), Some("asker"));
    assert_eq!(requests[3].content_type, "application/merge-patch+json");
    assert_eq!(requests[3].body, Some(json!({"spec": {}})));
    assert!(requests[3].is_write() && !list.is_write());
    assert!(requests.windows(2).all(|pair| pair[0].at <= pair[1].at));
    api.forget_requests();
    asker.get("/version").await;
    assert_eq!(api.requests().len(), 1);
}
