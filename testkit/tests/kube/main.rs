//! The Kubernetes API under test, asked by kube's own client: our own store, and, where
//! `KUBEBUILDER_ASSETS` names one, a real server. The same tests, the same answers.

mod access;
mod alike;
mod asking;
mod clients;
mod events;
mod faults;
mod links;
mod lists;
mod objects;
mod watches;

use bellwether_testkit::{KubeApi, skip};

#[tokio::test]
async fn the_real_server_is_the_one_that_is_named() {
    if std::env::var_os("KUBEBUILDER_ASSETS").is_none_or(|folder| folder.is_empty()) {
        let reason = "KUBEBUILDER_ASSETS names no etcd and kube-apiserver";
        skip("the tests of the Kubernetes API on a real server", reason);
        return;
    }
    let api = KubeApi::start().unwrap();
    assert!(api.is_real());
    let (_, version) = asking::Asker::new(&api).await.get("/version").await;
    // Ours calls itself by another name.
    let version = version["gitVersion"].as_str().unwrap();
    assert!(
        version.starts_with("v1.") && !version.contains("testkit"),
        "{version}"
    );
    assert!(!KubeApi::start_in_memory().unwrap().is_real());
}
