//! Ways to the server that fail: away, silent, cut.

use std::time::Duration;

use bellwether_testkit::kube::{Access, Link};
use bellwether_testkit::{KubeApi, until};
use http::Method;
use serde_json::json;
use tokio::time::timeout;

use crate::asking::{Asker, LEASES, PATIENCE, lease};

const SHORT: Duration = Duration::from_millis(300);

async fn by(api: &KubeApi, link: &Link) -> Asker {
    let user = api.user("linked", Access::all());
    Asker::from(&api.kubeconfig_by(link, &user, "default")).await
}

async fn is_answered(asker: &Asker) -> bool {
    let answer = asker.try_ask(Method::GET, LEASES, "", Vec::new());
    matches!(timeout(SHORT, answer).await, Ok(Ok((200, _))))
}

/// Waits for an answer, however long a busy machine takes for it.
async fn assert_answered(asker: &Asker) {
    assert_eq!(asker.get(LEASES).await.0, 200);
}

#[tokio::test]
async fn an_api_that_is_away_refuses_and_comes_back() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    assert_answered(&asker).await;
    let mut events = asker.watch(&format!("{LEASES}?watch=1")).await;
    for _ in 0..3 {
        api.link().refuse().unwrap();
        let refused = asker.try_ask(Method::GET, LEASES, "", Vec::new()).await;
        refused.unwrap_err();
        let connected = std::net::TcpStream::connect(api.link().address());
        assert_eq!(
            connected.unwrap_err().kind(),
            std::io::ErrorKind::ConnectionRefused
        );
        api.link().heal().unwrap();
        assert_answered(&asker).await;
    }
    assert!(
        !matches!(events.any().await, Some(Ok(_))),
        "the watch was cut"
    );
    until(PATIENCE, "the watch to be forgotten", || {
        api.watches().is_empty()
    })
    .unwrap();
}

#[tokio::test]
async fn a_black_hole_accepts_and_says_nothing() {
    let api = KubeApi::start().unwrap();
    let (old, new) = (Asker::new(&api).await, Asker::new(&api).await);
    assert_answered(&old).await;
    let mut events = old.watch(&format!("{LEASES}?watch=1")).await;
    api.link().silence().unwrap();
    assert!(!is_answered(&old).await, "by a connection that stood");
    assert!(
        !is_answered(&new).await,
        "by a new one, which gets no TLS hello"
    );
    std::net::TcpStream::connect(api.link().address()).unwrap();
    api.put(&lease("x", &json!({}))).unwrap();
    assert!(events.is_silent(SHORT).await);
    api.link().heal().unwrap();
    assert_eq!(events.next().await.0, "ADDED");
    assert_answered(&old).await;
    assert_answered(&new).await;
}

#[tokio::test]
async fn what_was_sent_into_a_black_hole_arrives_late() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    assert_answered(&asker).await;
    api.link().silence().unwrap();
    let body = lease("late", &json!({})).to_string().into_bytes();
    let creation = asker.try_ask(Method::POST, LEASES, "application/json", body);
    timeout(SHORT, creation).await.unwrap_err();
    assert!(api.object("leases", "default", "late").unwrap().is_none());
    api.link().heal().unwrap();
    until(PATIENCE, "the late write", || {
        api.object("leases", "default", "late").ok().flatten()
    })
    .unwrap();
}

#[tokio::test]
async fn links_fail_one_by_one() {
    let api = KubeApi::start().unwrap();
    let (one, two) = (api.new_link().unwrap(), api.new_link().unwrap());
    let (a, b) = (by(&api, &one).await, by(&api, &two).await);
    assert_answered(&a).await;
    assert_answered(&b).await;
    one.silence().unwrap();
    assert!(!is_answered(&a).await);
    assert_answered(&b).await;
    one.heal().unwrap();
    two.refuse().unwrap();
    assert_answered(&a).await;
    assert!(!is_answered(&b).await);
    two.heal().unwrap();
    assert_answered(&b).await;
    let mut events = b.watch(&format!("{LEASES}?watch=1")).await;
    two.break_off().unwrap();
    assert!(
        !matches!(events.any().await, Some(Ok(_))),
        "the watch was cut"
    );
    assert_answered(&b).await;
}

#[tokio::test]
async fn a_server_ends_with_its_value() {
    let api = KubeApi::start_in_memory().unwrap();
    let (address, link) = (api.link().address(), api.new_link().unwrap());
    std::net::TcpStream::connect(address).unwrap();
    drop(api);
    std::net::TcpStream::connect(address).unwrap_err();
    link.silence().unwrap_err();
}
