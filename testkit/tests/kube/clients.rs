//! kube's typed client and its watcher, as the crates under test use them.

use bellwether_testkit::KubeApi;
use bellwether_testkit::kube::{Access, Request};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::asking::client;

#[tokio::test]
async fn a_typed_client_does_everything_with_a_lease() {
    let api = KubeApi::start().unwrap();
    let user = api.user("system:serviceaccount:default:a", Access::all());
    let leases: Api<Lease> = Api::default_namespaced(client(&api.kubeconfig(&user)).await);
    let mut lease = Lease::default();
    lease.metadata.name = Some("x".into());
    let created = leases.create(&PostParams::default(), &lease).await.unwrap();
    assert!(created.metadata.uid.is_some() && created.metadata.creation_timestamp.is_some());
    let mut changed = leases.get("x").await.unwrap();
    changed.spec.get_or_insert_default().holder_identity = Some("a".into());
    let changed = leases
        .replace("x", &PostParams::default(), &changed)
        .await
        .unwrap();
    assert_ne!(
        created.metadata.resource_version,
        changed.metadata.resource_version
    );
    let stale = leases
        .replace("x", &PostParams::default(), &created)
        .await
        .unwrap_err();
    assert!(matches!(stale, kube::Error::Api(status) if status.code == 409));
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"a/b": "c"}}}));
    leases
        .patch("x", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let list = leases.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items.len(), 1);
    leases.delete("x", &DeleteParams::default()).await.unwrap();
    assert!(leases.get_opt("x").await.unwrap().is_none());
    let did: Vec<_> = api.requests().iter().map(Request::what).collect();
    let expected = [
        "create", "get", "update", "update", "patch", "list", "delete", "get",
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|verb| format!("{verb} leases"))
        .collect();
    assert_eq!(did, expected);
}
