//! The Kubernetes API under test, asked by kube's own client.

use bellwether_testkit::kube::{Access, KubeApi, Request, User};
use futures_util::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{
    Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

async fn client(api: &KubeApi, user: &User) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(&api.kubeconfig(user)).expect("it is YAML");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("it is a kubeconfig");
    Client::try_from(config).expect("it suffices")
}

fn lease(name: &str) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(name.into()),
            ..ObjectMeta::default()
        },
        ..Lease::default()
    }
}

#[tokio::test]
async fn a_lease_is_created_read_changed_and_deleted() {
    let api = KubeApi::start().unwrap();
    let user = api.user("system:serviceaccount:default:a", Access::all());
    let leases: Api<Lease> = Api::default_namespaced(client(&api, &user).await);
    let created = leases
        .create(&PostParams::default(), &lease("x"))
        .await
        .unwrap();
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

#[tokio::test]
async fn a_watch_tells_what_happens() {
    let api = KubeApi::start().unwrap();
    let user = api.user("watcher", Access::all());
    let leases: Api<Lease> = Api::default_namespaced(client(&api, &user).await);
    leases
        .create(&PostParams::default(), &lease("x"))
        .await
        .unwrap();
    let mut events = Box::pin(leases.watch(&WatchParams::default(), "0").await.unwrap());
    let mut next = async || match events.next().await {
        Some(Ok(WatchEvent::Added(lease))) => ("added", lease.metadata.name.unwrap()),
        Some(Ok(WatchEvent::Modified(lease))) => ("modified", lease.metadata.name.unwrap()),
        Some(Ok(WatchEvent::Deleted(lease))) => ("deleted", lease.metadata.name.unwrap()),
        other => panic!("{other:?}"),
    };
    assert_eq!(next().await, ("added", "x".into()));
    api.update("leases", "default", "x", |lease| {
        lease["spec"]["holderIdentity"] = "a".into();
    })
    .unwrap();
    assert_eq!(next().await, ("modified", "x".into()));
    api.put(&json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "y"},
    }))
    .unwrap();
    assert_eq!(next().await, ("added", "y".into()));
    assert!(api.remove("leases", "default", "x").unwrap());
    assert_eq!(next().await, ("deleted", "x".into()));
    assert_eq!(api.watches().len(), 1);
}
