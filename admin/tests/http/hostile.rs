//! Clients that are slow, silent or garbled, and crowds of them.

use std::{future::pending, net::Ipv4Addr, time::Duration};

use bellwether_admin::{Admin, AdminConfig, Role};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::{mpsc, watch},
};

use crate::scene::{answer, ask, node, node_of, report, rest, send, split, within};

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

/// Refused before anything of it is read; the same for every route that takes no body.
#[tokio::test]
async fn a_body_without_end_is_not_read_from_strangers_either() {
    let node = node_of(Ipv4Addr::LOCALHOST, |admin| {
        admin.with_token("open-sesame".into())
    })
    .await;
    let head = b"POST /pause HTTP/1.1\r\nHost: node\r\nContent-Length: 99999999999\r\n\r\n";
    let mut client = send(node.address, head).await;
    within(async { while client.write_all(&[b'x'; 0x10000]).await.is_ok() {} }).await;
    assert_eq!(ask(node.address, "GET /livez").await.0, 200);
}

#[tokio::test]
async fn what_is_too_long_for_a_head_is_refused() {
    let mut node = node_of(Ipv4Addr::LOCALHOST, |admin| {
        admin.with_token("open-sesame".into())
    })
    .await;
    let long = "1".repeat(20_000);
    let queries = [
        format!("GET /replica?lag={long} HTTP/1.1\r\n\r\n"),
        format!("POST /switchover?to={long} HTTP/1.1\r\n\r\n"),
        format!("POST /pause HTTP/1.1\r\nAuthorization: Bearer {long}\r\n\r\n"),
    ];
    for head in queries {
        let mut client = within(TcpStream::connect(node.address)).await.unwrap();
        // The refusal may come before all of it is written, and be lost when the socket is reset.
        let _ = within(client.write_all(head.as_bytes())).await;
        let answer = rest(client).await;
        let first = &head[..20];
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{first}: {answer}"
        );
        assert_eq!(ask(node.address, "GET /livez").await.0, 200, "{first}");
    }
    assert!(node.requests.try_recv().is_err(), "nobody was asked");
}

/// More guesses at once than there may be connections.
#[tokio::test]
async fn a_crowd_that_guesses_the_token_is_told_no() {
    let mut node = node_of(Ipv4Addr::LOCALHOST, |admin| {
        admin.with_token("open-sesame".into())
    })
    .await;
    let guesses: Vec<_> = (0..200)
        .map(|guess| {
            let address = node.address;
            let header = format!("Authorization: Bearer open-sesam{guess}\r\n");
            tokio::spawn(async move { answer(address, "POST /pause", &header).await })
        })
        .collect();
    for guess in guesses {
        let answer = within(guess).await.unwrap();
        // Who was slow may have been pushed out by the others.
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 401");
        assert!(refused, "{answer}");
    }
    assert!(node.requests.try_recv().is_err(), "nobody was asked");
    assert_eq!(ask(node.address, "GET /livez").await.0, 200);
}

/// They wait to be accepted, as when the node was busy for a moment, and have asked already.
#[tokio::test]
async fn of_a_crowd_that_has_asked_nobody_is_pushed_out() {
    let config = AdminConfig::new((Ipv4Addr::LOCALHOST, 0).into());
    let admin = Admin::bind(config).await.unwrap();
    let mut crowd = Vec::new();
    // More than may be connected at a time, and fewer than the system lets wait.
    for _ in 0..100 {
        let request = b"GET /livez HTTP/1.1\r\nHost: node\r\n\r\n";
        crowd.push(send(admin.local_addr(), request).await);
    }
    let (_reports, receiver) = watch::channel(report(true, Ok(()), Role::Neither));
    let (requests, _requested) = mpsc::channel(2);
    let running = tokio::spawn(admin.run(receiver, requests, pending()));
    for client in crowd {
        assert_eq!(split(&rest(client).await), (200, "ok\n".to_owned()));
    }
    running.abort();
}
