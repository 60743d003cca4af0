//! The HTTP face over real sockets: every route, and clients that are slow, silent or garbled.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where its scene cannot be set"
)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bellwether_admin::{Admin, AdminConfig, Report, SwitchoverDone, SwitchoverRequest};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

/// Far more than anything here takes, so that a hang fails instead of hanging.
const DEADLINE: Duration = Duration::from_secs(60);

struct Node {
    address: SocketAddr,
    reports: watch::Sender<Arc<Report>>,
    requests: mpsc::Receiver<SwitchoverRequest>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

fn report(live: bool, ready: Result<(), &str>) -> Arc<Report> {
    Arc::new(Report {
        live,
        ready: ready.map_err(str::to_owned),
        status: json!({ "role": "primary", "term": 7 }),
    })
}

async fn node() -> Node {
    node_of(|admin| admin).await
}

async fn node_of(change: impl FnOnce(Admin) -> Admin) -> Node {
    let (reports, receiver) = watch::channel(report(true, Ok(())));
    let (switchovers, requests) = mpsc::channel(1);
    let (stop, stopped) = oneshot::channel::<()>();
    let config = AdminConfig::new("127.0.0.1:0".parse().unwrap());
    let admin = change(Admin::bind(config).await.unwrap());
    Node {
        address: admin.local_addr(),
        reports,
        requests,
        stop,
        running: tokio::spawn(admin.run(receiver, switchovers, async {
            _ = stopped.await;
        })),
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work).await.expect("hangs")
}

/// Everything that the other side sends until it closes. A reset ends it like a close.
async fn rest(mut client: TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = within(client.read(&mut chunk)).await {
        bytes.extend_from_slice(&chunk[..read]);
    }
    String::from_utf8(bytes).unwrap()
}

async fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut client = within(TcpStream::connect(address)).await.unwrap();
    within(client.write_all(bytes)).await.unwrap();
    client
}

/// The status code and the body.
async fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    let head = format!("{request} HTTP/1.1\r\nHost: node\r\n\r\n");
    split(&rest(send(address, head.as_bytes()).await).await)
}

fn split(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").expect(answer);
    (
        head["HTTP/1.1 ".len()..][..3].parse().unwrap(),
        body.to_owned(),
    )
}

#[tokio::test]
async fn probes_follow_the_report() {
    let node = node().await;
    let both = async || {
        let live = ask(node.address, "GET /livez").await;
        (live, ask(node.address, "GET /readyz").await)
    };
    let ok = (200, "ok\n".to_owned());
    assert_eq!(both().await, (ok.clone(), ok.clone()));

    node.reports
        .send_replace(report(true, Err("loading\r\nits data")));
    assert_eq!(both().await, (ok, (503, "loading  its data\n".to_owned())));

    node.reports.send_replace(report(false, Ok(())));
    assert_eq!(both().await.0.0, 503);
}

#[tokio::test]
async fn a_node_whose_loop_is_gone_is_neither_live_nor_ready() {
    let node = node().await;
    drop(node.reports);
    let gone = (503, "the node's main loop has ended\n".to_owned());
    assert_eq!(ask(node.address, "GET /livez").await, gone);
    assert_eq!(ask(node.address, "GET /readyz").await, gone);
    assert_eq!(ask(node.address, "GET /status").await.0, 200);
}

#[tokio::test]
async fn status_is_the_applications_json() {
    let node = node().await;
    let (code, body) = ask(node.address, "GET /status").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, body), (200, json!({ "role": "primary", "term": 7 })));
}

#[tokio::test]
async fn metrics_are_the_applications_text_of_the_moment() {
    let counted = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&counted);
    let render = move || format!("asked_total {}\n", count.fetch_add(1, Ordering::SeqCst) + 1);
    let node = node_of(|admin| admin.with_metrics(render)).await;
    for n in 1..=2 {
        let request = b"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n";
        let answer = rest(send(node.address, request).await).await;
        assert!(answer.contains("text/plain; version=0.0.4"), "{answer}");
        assert_eq!(split(&answer), (200, format!("asked_total {n}\n")));
    }
    assert_eq!(ask(node.address, "POST /metrics").await.0, 405);
}

#[tokio::test]
async fn without_metrics_there_are_none() {
    let node = node().await;
    let none = (404, "this node shows no metrics\n".to_owned());
    assert_eq!(ask(node.address, "GET /metrics").await, none);
}

#[tokio::test]
async fn other_paths_and_methods_name_the_routes() {
    let node = node().await;
    for (request, code) in [
        ("GET /", 404),
        ("GET /livez/", 404),
        ("GET /switchover", 405),
        ("POST /livez", 405),
    ] {
        let (answered, body) = ask(node.address, request).await;
        assert_eq!(answered, code, "{request}");
        assert!(
            body.contains("POST /switchover[?to=NAME]"),
            "{request}: {body}"
        );
    }
}

#[tokio::test]
async fn a_switchover_is_asked_of_the_application() {
    let mut node = node().await;
    let (answer, ()) = tokio::join!(
        ask(node.address, "POST /switchover?to=10.0.0.2%3A3000"),
        async {
            let request = within(node.requests.recv()).await.unwrap();
            assert_eq!(request.to.as_deref(), Some("10.0.0.2:3000"));
            let done = SwitchoverDone {
                from: "10.0.0.1:3000".to_owned(),
                to: "10.0.0.2:3000".to_owned(),
                took: Duration::from_millis(31),
            };
            request.answer.send(Ok(done)).unwrap();
        }
    );
    let body: serde_json::Value = serde_json::from_str(&answer.1).unwrap();
    assert_eq!(answer.0, 200);
    assert_eq!(
        body,
        json!({ "from": "10.0.0.1:3000", "to": "10.0.0.2:3000", "took_ms": 31 })
    );

    let (answer, ()) = tokio::join!(ask(node.address, "POST /switchover"), async {
        let request = within(node.requests.recv()).await.unwrap();
        assert_eq!(request.to, None);
        request
            .answer
            .send(Err("this node\ndoes not lead".to_owned()))
            .unwrap();
    });
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
async fn a_switchover_with_a_misspelt_wish_is_not_one() {
    let mut node = node().await;
    for wish in ["?too=b", "?to=", "?to=b&to=c"] {
        assert_eq!(
            ask(node.address, &format!("POST /switchover{wish}"))
                .await
                .0,
            400,
            "{wish}"
        );
    }
    let body =
        b"POST /switchover HTTP/1.1\r\nHost: node\r\nContent-Length: 10\r\n\r\n{\"to\":\"b\"}";
    assert_eq!(split(&rest(send(node.address, body).await).await).0, 400);
    assert!(node.requests.try_recv().is_err(), "nobody was asked");
}

#[tokio::test]
async fn silent_and_dribbling_clients_are_cut() {
    let node = node().await;
    let silent = send(node.address, b"").await;
    let halfway = send(node.address, b"GET /livez HTTP/1.1\r\nHost: no").await;
    let mut dribbling = send(node.address, b"GET /livez HTTP/1.1\r\nX: ").await;
    let dribble = within(async {
        while dribbling.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let (silent, halfway, ()) = tokio::join!(rest(silent), rest(halfway), dribble);
    for answer in [silent, halfway] {
        assert!(!answer.contains("200 OK"), "{answer}");
    }
}

#[tokio::test]
async fn crowds_of_idle_clients_keep_no_probe_out() {
    let node = node().await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(send(node.address, b"GET /li").await);
    }
    assert_eq!(ask(node.address, "GET /livez").await.0, 200);
    let oldest = crowd.remove(0);
    assert_eq!(rest(oldest).await, "", "the oldest made room");
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let node = node().await;
    let long_path = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(20_000));
    let many_headers = format!("GET /livez HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(500));
    for garbage in [
        b"\x00\x01\x02\xff\xfe\r\n\r\n".as_slice(),
        b"*1\r\n$4\r\nPING\r\n",
        b"GET  HTTP/9.9\r\n\r\n",
        long_path.as_bytes(),
        many_headers.as_bytes(),
    ] {
        let mut client = within(TcpStream::connect(node.address)).await.unwrap();
        // The refusal may come before all of it is written, and be lost when the socket is reset.
        let _ = within(client.write_all(garbage)).await;
        let answer = rest(client).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
        assert_eq!(ask(node.address, "GET /livez").await.0, 200);
    }
}

#[tokio::test]
async fn a_body_without_end_is_not_read() {
    let node = node().await;
    let head = b"POST /switchover HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = send(node.address, head).await;
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    within(async { while client.write_all(&chunk).await.is_ok() {} }).await;
    assert_eq!(ask(node.address, "GET /livez").await.0, 200);
}

#[tokio::test]
async fn the_end_waits_for_answers_and_not_for_idle_clients() {
    let mut node = node().await;
    let idle = send(node.address, b"GET /li").await;
    let asking = send(
        node.address,
        b"POST /switchover HTTP/1.1\r\nHost: node\r\n\r\n",
    )
    .await;
    let request = within(node.requests.recv()).await.unwrap();

    drop(node.stop);
    within(async { while TcpStream::connect(node.address).await.is_ok() {} }).await;
    request.answer.send(Err("ending".to_owned())).unwrap();
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
