//! The port's beginning and end.

use bellwether_admin::{Admin, AdminConfig, Request};
use tokio::net::TcpStream;

use crate::scene::{node, rest, send, split, within};

#[tokio::test]
async fn the_end_waits_for_answers_and_not_for_idle_clients() {
    let mut node = node().await;
    let idle = send(node.address, b"GET /li").await;
    let asking = send(
        node.address,
        b"POST /switchover HTTP/1.1\r\nHost: node\r\n\r\n",
    )
    .await;
    let Some(Request::Switchover { answer, .. }) = within(node.requests.recv()).await else {
        panic!("no switchover was asked for");
    };

    drop(node.stop);
    within(async { while TcpStream::connect(node.address).await.is_ok() {} }).await;
    answer.send(Err("ending".to_owned())).unwrap();
    assert_eq!(split(&rest(asking).await), (409, "ending\n".to_owned()));
    within(node.running).await.unwrap();
    assert_eq!(rest(idle).await, "");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let node = node().await;
    let error = Admin::bind(AdminConfig::new(node.address))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {}", node.address)
    );
}
