//! A node's HTTP face, and a client that speaks HTTP by hand.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bellwether_admin::{Admin, AdminConfig, Report, Request, Role};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

/// Far more than anything here takes, so that a hang fails instead of hanging.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) reports: watch::Sender<Arc<Report>>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) running: JoinHandle<()>,
}

pub(crate) fn report(live: bool, ready: Result<(), &str>, role: Role) -> Arc<Report> {
    Arc::new(Report {
        live,
        ready: ready.map_err(str::to_owned),
        paused: false,
        role,
        status: json!({ "role": "primary", "term": 7 }),
    })
}

impl Node {
    pub(crate) fn becomes(&self, role: Role) {
        self.reports.send_replace(report(true, Ok(()), role));
    }
}

pub(crate) async fn node() -> Node {
    node_of(Ipv4Addr::LOCALHOST, |admin| admin).await
}

pub(crate) async fn node_of(at: Ipv4Addr, change: impl FnOnce(Admin) -> Admin) -> Node {
    let (reports, receiver) = watch::channel(report(true, Ok(()), Role::Neither));
    let (request_sender, requests) = mpsc::channel(2);
    let (stop, stopped) = oneshot::channel::<()>();
    let admin = change(Admin::bind(AdminConfig::new((at, 0).into())).await.unwrap());
    Node {
        address: (Ipv4Addr::LOCALHOST, admin.local_addr().port()).into(),
        reports,
        requests,
        stop,
        running: tokio::spawn(admin.run(receiver, request_sender, async {
            _ = stopped.await;
        })),
    }
}

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work).await.expect("hangs")
}

/// Everything that the other side sends until it closes. A reset ends it like a close.
pub(crate) async fn rest(mut client: TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = within(client.read(&mut chunk)).await {
        bytes.extend_from_slice(&chunk[..read]);
    }
    String::from_utf8(bytes).unwrap()
}

pub(crate) async fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut client = within(TcpStream::connect(address)).await.unwrap();
    within(client.write_all(bytes)).await.unwrap();
    client
}

/// The whole answer to a request of these first line and headers, the line without its version.
pub(crate) async fn answer(address: SocketAddr, request: &str, headers: &str) -> String {
    let head = format!("{request} HTTP/1.1\r\nHost: node\r\n{headers}\r\n");
    rest(send(address, head.as_bytes()).await).await
}

/// The status code and the body.
pub(crate) async fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    split(&answer(address, request, "").await)
}

pub(crate) fn split(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").expect(answer);
    (
        head["HTTP/1.1 ".len()..][..3].parse().unwrap(),
        body.to_owned(),
    )
}
