//! What is asked of the application.

use std::time::Duration;

use bellwether_admin::{Request, SwitchoverDone};
use serde_json::json;

use crate::scene::{Node, ask, node, rest, send, split, within};

/// Waits for a switchover, and answers it.
async fn switched(node: &mut Node, outcome: Result<SwitchoverDone, String>) -> Option<String> {
    match within(node.requests.recv()).await {
        Some(Request::Switchover { to, answer }) => {
            answer.send(outcome).unwrap();
            to
        }
        other => panic!("{other:?} instead of a switchover"),
    }
}

/// Waits for a pause, or for its end if that is `wanted`, and answers it.
async fn paused(node: &mut Node, wanted: bool, outcome: Result<(), String>) {
    let answer = match within(node.requests.recv()).await {
        Some(Request::Pause { answer }) if wanted => answer,
        Some(Request::Resume { answer }) if !wanted => answer,
        other => panic!("{other:?} where pause is {wanted}"),
    };
    answer.send(outcome).unwrap();
}

#[tokio::test]
async fn a_switchover_is_asked_of_the_application() {
    let mut node = node().await;
    let address = node.address;
    let done = SwitchoverDone {
        from: "10.0.0.1:3000".to_owned(),
        to: "10.0.0.2:3000".to_owned(),
        took: Duration::from_millis(31),
    };
    let (answer, to) = tokio::join!(
        ask(address, "POST /switchover?to=10.0.0.2%3A3000"),
        switched(&mut node, Ok(done))
    );
    assert_eq!(to.as_deref(), Some("10.0.0.2:3000"));
    let body: serde_json::Value = serde_json::from_str(&answer.1).unwrap();
    assert_eq!(answer.0, 200);
    assert_eq!(
        body,
        json!({ "from": "10.0.0.1:3000", "to": "10.0.0.2:3000", "took_ms": 31 })
    );

    let (answer, to) = tokio::join!(
        ask(address, "POST /switchover"),
        switched(&mut node, Err("this node\ndoes not lead".to_owned()))
    );
    assert_eq!(to, None);
    assert_eq!(answer, (409, "this node does not lead\n".to_owned()));
}

#[tokio::test]
async fn switchovers_go_one_at_a_time() {
    let mut node = node().await;
    let head = b"POST /switchover HTTP/1.1\r\nHost: node\r\n\r\n";
    let first = send(node.address, head).await;
    let request = within(node.requests.recv()).await.unwrap();
    let second = ask(node.address, "POST /switchover").await;
    assert_eq!(
        second,
        (409, "another switchover is under way\n".to_owned())
    );

    drop(request);
    let first = split(&rest(first).await);
    assert_eq!(first, (503, "the node dropped the request\n".to_owned()));

    drop(node.requests);
    assert_eq!(ask(node.address, "POST /switchover").await.0, 503);
}

#[tokio::test]
async fn pausing_and_resuming_are_asked_as_often_as_wanted() {
    let mut node = node().await;
    let address = node.address;
    for (path, wanted, said) in [
        ("/pause", true, "paused\n"),
        ("/pause", true, "paused\n"),
        ("/resume", false, "resumed\n"),
        ("/resume", false, "resumed\n"),
    ] {
        let request = format!("POST {path}");
        let (answer, ()) = tokio::join!(ask(address, &request), paused(&mut node, wanted, Ok(())));
        assert_eq!(answer, (200, said.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn pausing_and_resuming_may_be_refused() {
    let mut node = node().await;
    let address = node.address;
    for (path, wanted) in [("/pause", true), ("/resume", false)] {
        let request = format!("POST {path}");
        let refusal = Err("this program\rcannot pause".to_owned());
        let (answer, ()) = tokio::join!(ask(address, &request), paused(&mut node, wanted, refusal));
        assert_eq!(answer, (409, "this program cannot pause\n".to_owned()));
    }
}

#[tokio::test]
async fn a_pause_and_its_end_do_not_cross_each_other() {
    let mut node = node().await;
    let first = send(node.address, b"POST /pause HTTP/1.1\r\nHost: node\r\n\r\n").await;
    let request = within(node.requests.recv()).await.unwrap();
    let busy = (409, "another pause or resume is under way\n".to_owned());
    assert_eq!(ask(node.address, "POST /resume").await, busy);
    assert_eq!(ask(node.address, "POST /pause").await, busy);

    drop(request);
    let first = split(&rest(first).await);
    assert_eq!(first, (503, "the node dropped the request\n".to_owned()));
    drop(node.requests);
    for path in ["/pause", "/resume"] {
        let answer = ask(node.address, &format!("POST {path}")).await;
        assert_eq!(answer, (503, "the node takes no requests\n".to_owned()));
    }
}

/// A switchover takes a while, and may hang; that is when one wants to pause.
#[tokio::test]
async fn a_pause_does_not_wait_for_a_switchover() {
    let mut node = node().await;
    let address = node.address;
    let head = b"POST /switchover HTTP/1.1\r\nHost: node\r\n\r\n";
    let switching = send(address, head).await;
    let switchover = within(node.requests.recv()).await.unwrap();
    let (answer, ()) = tokio::join!(ask(address, "POST /pause"), paused(&mut node, true, Ok(())));
    assert_eq!(answer.0, 200, "{}", answer.1);
    drop(switchover);
    assert_eq!(split(&rest(switching).await).0, 503);
}

#[tokio::test]
async fn a_wish_that_is_misspelt_is_not_one() {
    let mut node = node().await;
    for wish in [
        "/switchover?too=b",
        "/switchover?to=",
        "/switchover?to=b&to=c",
        "/pause?for=10m",
        "/resume?now",
    ] {
        let answer = ask(node.address, &format!("POST {wish}")).await;
        assert_eq!(answer.0, 400, "{wish}: {}", answer.1);
    }
    for path in ["/switchover", "/pause", "/resume"] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: node\r\nContent-Length: 10\r\n\r\n");
        let request = head + "{\"to\":\"b\"}";
        let answer = rest(send(node.address, request.as_bytes()).await).await;
        assert_eq!(split(&answer).0, 400, "{path}: {answer}");
    }
    assert!(node.requests.try_recv().is_err(), "nobody was asked");
}
