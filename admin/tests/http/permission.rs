//! Who may ask for changes.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use bellwether_admin::{Admin, AdminConfig, Request};
use bellwether_testkit::skip;

use crate::scene::{Node, answer, ask, node, node_of, split, within};

const CHANGES: [&str; 3] = ["POST /switchover", "POST /pause", "POST /resume"];

/// Answers everything by saying no.
fn refuse_all(mut node: Node) -> SocketAddr {
    let refusal = || "refused by the application".to_owned();
    tokio::spawn(async move {
        let _kept = (node.reports, node.stop, node.running);
        while let Some(request) = node.requests.recv().await {
            match request {
                Request::Switchover { answer, .. } => answer.send(Err(refusal())).unwrap(),
                Request::Pause { answer } | Request::Resume { answer } => {
                    answer.send(Err(refusal())).unwrap();
                }
            }
        }
    });
    node.address
}

async fn with_token(token: &str) -> Node {
    node_of(Ipv4Addr::LOCALHOST, |admin| admin.with_token(token.into())).await
}

#[tokio::test]
async fn the_token_lets_in() {
    let address = refuse_all(with_token("open-sesame").await);
    for change in CHANGES {
        for header in [
            "Authorization: Bearer open-sesame\r\n",
            "authorization: bearer open-sesame\r\n",
            "Authorization: Bearer open-sesame\r\nOrigin: http://dashboard.example\r\n",
        ] {
            let answer = split(&answer(address, change, header).await);
            let expected = (409, "refused by the application\n".to_owned());
            assert_eq!(answer, expected, "{change} with {header}");
        }
    }
}

#[tokio::test]
async fn without_the_token_nothing_is_asked() {
    let mut node = with_token("open-sesame").await;
    for change in CHANGES
        .iter()
        .copied()
        .chain(["POST /none", "DELETE /pause"])
    {
        for header in [
            "",
            "Authorization: \r\n",
            "Authorization: Bearer\r\n",
            "Authorization: Bearer open-sesam\r\n",
            "Authorization: Bearer open-sesamee\r\n",
            "Authorization: Bearer \u{e9}\r\n",
            "Authorization: Basic open-sesame\r\n",
            "Authorization: open-sesame\r\n",
            "X-Authorization: Bearer open-sesame\r\n",
            "Authorization: Bearer open-sesame\r\nAuthorization: Bearer open-sesame\r\n",
            "Cookie: token=open-sesame\r\n",
        ] {
            let answer = answer(node.address, change, header).await;
            assert_eq!(split(&answer).0, 401, "{change} with {header}: {answer}");
            let challenge = "\r\nwww-authenticate: Bearer realm=";
            assert!(answer.contains(challenge), "{answer}");
            assert!(!answer.contains("sesame"), "{answer}");
        }
    }
    let query = "POST /switchover?access_token=open-sesame";
    assert_eq!(ask(node.address, query).await.0, 401);
    assert!(node.requests.try_recv().is_err(), "nobody was asked");
}

/// A file that was cut short must not open the door.
#[tokio::test]
async fn an_empty_token_lets_nobody_in() {
    let mut node = with_token("").await;
    for header in [
        "",
        "Authorization: Bearer \r\n",
        "Authorization: Bearer x\r\n",
    ] {
        let answer = answer(node.address, "POST /pause", header).await;
        assert_eq!(split(&answer).0, 401, "{header}: {answer}");
    }
    assert!(node.requests.try_recv().is_err(), "nobody was asked");
}

#[tokio::test]
async fn web_pages_ask_for_nothing() {
    let mut node = node().await;
    for origin in ["http://example.org", "null", "http://127.0.0.1:8080"] {
        let header = format!("Origin: {origin}\r\n");
        let answer = split(&answer(node.address, "POST /switchover", &header).await);
        assert_eq!(answer.0, 403, "{}", answer.1);
        assert!(answer.1.contains("--admin-token-file"), "{}", answer.1);
    }
    assert!(node.requests.try_recv().is_err(), "nobody was asked");
}

/// The address by which this machine reaches others. Connecting a datagram socket sends nothing.
fn outward() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9)).ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(local) if !local.ip().is_loopback() => Some(*local.ip()),
        _ => None,
    }
}

#[tokio::test]
async fn without_a_token_others_ask_for_nothing() {
    let Some(outward) = outward() else {
        let name = "permission::without_a_token_others_ask_for_nothing";
        return skip(name, "this machine has no address but its own");
    };
    let mut node = node_of(Ipv4Addr::UNSPECIFIED, |admin| admin).await;
    // Who connects to such an address does so from it.
    let from_outside = SocketAddr::from((outward, node.address.port()));
    for change in CHANGES {
        let (code, line) = ask(from_outside, change).await;
        assert_eq!((code, line.lines().count()), (403, 1), "{change}: {line}");
        assert!(line.contains("--admin-token-file"), "{change}: {line}");
    }
    let claims = "X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n";
    let claimed = answer(from_outside, "POST /pause", claims).await;
    assert_eq!(split(&claimed).0, 403, "{claimed}");
    assert_eq!(ask(from_outside, "GET /livez").await.0, 200);
    assert!(node.requests.try_recv().is_err(), "nobody was asked");

    let address = refuse_all(node);
    assert_eq!(
        within(ask(address, "POST /pause")).await.0,
        409,
        "from here"
    );
}

#[tokio::test]
async fn a_node_that_is_shown_does_not_tell_its_token() {
    let config = AdminConfig::new((Ipv4Addr::LOCALHOST, 0).into());
    let admin = Admin::bind(config).await.unwrap();
    let shown = format!("{:?}", admin.with_token("open-sesame".into()));
    assert!(
        shown.contains("Admin") && !shown.contains("sesame"),
        "{shown}"
    );
}
