//! Tokens and what their users may do.

use bellwether_testkit::KubeApi;
use bellwether_testkit::kube::Access;
use serde_json::{Value, json};

use crate::asking::{Asker, LEASES, PODS, lease, refusal};

const GROUP: &str = "coordination.k8s.io";

#[tokio::test]
async fn who_is_not_known_is_refused() {
    let api = KubeApi::start().unwrap();
    let user = api.user("a", Access::all());
    let asker = Asker::of(&api, &user).await;
    assert_eq!(asker.get(LEASES).await.0, 200);
    api.forget_user(&user);
    let refused = asker.get(LEASES).await;
    assert_eq!(refusal(&refused), (401, "Unauthorized", "Unauthorized"));
    let refused = asker.get("/version").await;
    assert_eq!(refusal(&refused).0, 401);
    let last = api.requests().pop().unwrap();
    assert_eq!((last.user, last.status), (None, Some(401)));
}

#[tokio::test]
async fn a_missing_permission_is_told_as_rbac_does() {
    let api = KubeApi::start().unwrap();
    let user = api.user("system:serviceaccount:default:redis-0", Access::none());
    let asker = Asker::of(&api, &user).await;
    let who = "User \"system:serviceaccount:default:redis-0\" cannot";
    let what = "in API group \"coordination.k8s.io\" in the namespace \"default\"";
    let refused = asker
        .put(&format!("{LEASES}/x"), &lease("x", &json!({})))
        .await;
    let message = format!(
        "leases.coordination.k8s.io \"x\" is forbidden: {who} update resource \"leases\" {what}"
    );
    assert_eq!(refusal(&refused), (403, "Forbidden", &*message));
    let details = json!({"name": "x", "group": GROUP, "kind": "leases"});
    assert_eq!(refused.1["details"], details);
    let refused = asker.get(&format!("{LEASES}?watch=1")).await;
    let message =
        format!("leases.coordination.k8s.io is forbidden: {who} watch resource \"leases\" {what}");
    assert_eq!(refusal(&refused), (403, "Forbidden", &*message));
    let refused = asker.get("/apis/coordination.k8s.io/v1/leases").await;
    assert!(
        refusal(&refused)
            .2
            .ends_with("\"coordination.k8s.io\" at the cluster scope")
    );
    let refused = asker
        .patch("merge", &format!("{PODS}/p/status"), &json!({}))
        .await;
    let message = format!(
        "pods \"p\" is forbidden: {who} patch resource \"pods/status\" in API group \"\" in the \
         namespace \"default\""
    );
    assert_eq!(refusal(&refused), (403, "Forbidden", &*message));
    let nowhere = "/apis/coordination.k8s.io/v1/namespaces/nowhere/leases/x";
    assert_eq!(
        asker.get(nowhere).await.0,
        403,
        "before the namespace is looked for"
    );
    assert_eq!(asker.get("/version").await.0, 200);
}

#[tokio::test]
async fn permissions_are_given_and_taken() {
    let api = KubeApi::start().unwrap();
    let user = api.user(
        "a",
        Access::none().allow(&["get", "update"], GROUP, "leases"),
    );
    let asker = Asker::of(&api, &user).await;
    let path = format!("{LEASES}/x");
    // Who may update but not create, cannot create by updating.
    let refused = asker.put(&path, &lease("x", &json!({}))).await;
    assert_eq!(refusal(&refused).0, 403);
    assert!(
        refusal(&refused)
            .2
            .contains("cannot create resource \"leases\"")
    );
    let applied = format!("{path}?fieldManager=a");
    let with_patch = Access::none().allow(&["get", "update", "patch"], GROUP, "leases");
    api.permit(&user, with_patch.clone());
    let refused = asker
        .patch("apply", &applied, &lease("x", &json!({})))
        .await;
    assert_eq!(refusal(&refused).0, 403);
    api.permit(&user, with_patch.allow(&["create"], GROUP, "leases"));
    let (code, x) = asker.put(&path, &lease("x", &json!({}))).await;
    assert_eq!(code, 201);
    api.permit(
        &user,
        Access::none().allow(&["get", "update"], GROUP, "leases"),
    );
    assert_eq!(asker.put(&path, &x).await.0, 200);
    assert_eq!(asker.delete(&path, &Value::Null).await.0, 403);

    api.permit(&user, Access::all().deny(&["update"], GROUP, "*"));
    assert_eq!(asker.put(&path, &x).await.0, 403);
    assert_eq!(asker.get(PODS).await.0, 200);
    api.permit(&user, Access::all().within("other"));
    assert_eq!(asker.get(&path).await.0, 403);
    assert_eq!(asker.get(&path.replace("default", "other")).await.0, 404);

    let read = ["get", "list", "watch"];
    api.permit(
        &user,
        Access::none().allow(&read, GROUP, "leases").named(&["x"]),
    );
    assert_eq!(asker.get(&path).await.0, 200);
    assert_eq!(asker.get(&format!("{LEASES}/y")).await.0, 403);
    assert_eq!(asker.get(LEASES).await.0, 403);
    let by_name = format!("{LEASES}?fieldSelector=metadata.name%3Dx");
    assert_eq!(asker.get(&by_name).await.0, 200);
    let mut events = asker.watch(&format!("{by_name}&watch=1")).await;
    assert_eq!(events.next().await.0, "ADDED");
}
