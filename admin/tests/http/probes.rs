//! What probes and balancers ask.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bellwether_admin::{Report, Role};
use serde_json::json;

use crate::scene::{answer, ask, node, node_of, report, rest, send, split};

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
        .send_replace(report(true, Err("loading\r\nits data"), Role::Neither));
    assert_eq!(both().await, (ok, (503, "loading  its data\n".to_owned())));

    node.reports
        .send_replace(report(false, Ok(()), Role::Neither));
    assert_eq!(both().await.0.0, 503);
}

#[tokio::test]
async fn readiness_tells_of_a_pause_and_is_the_same() {
    let node = node().await;
    for (ready, code, words) in [
        (Ok(()), 200, "ok; automatic failover is paused\n"),
        (
            Err("no primary"),
            503,
            "no primary; automatic failover is paused\n",
        ),
    ] {
        let mut paused = Report::clone(&report(true, ready, Role::Neither));
        paused.paused = true;
        node.reports.send_replace(Arc::new(paused));
        let answered = ask(node.address, "GET /readyz").await;
        assert_eq!(answered, (code, words.to_owned()));
    }
    assert_eq!(ask(node.address, "GET /livez").await.1, "ok\n");
}

#[tokio::test]
async fn a_node_whose_loop_is_gone_is_neither_live_nor_ready() {
    let node = node().await;
    node.becomes(Role::Primary { until: None });
    drop(node.reports);
    let gone = (503, "the node's main loop has ended\n".to_owned());
    assert_eq!(ask(node.address, "GET /livez").await, gone);
    assert_eq!(ask(node.address, "GET /readyz").await, gone);
    assert_eq!(ask(node.address, "GET /primary").await, gone);
    assert_eq!(ask(node.address, "GET /replica").await, gone);
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
    let node = node_of(Ipv4Addr::LOCALHOST, |admin| admin.with_metrics(render)).await;
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
        ("GET /pause", 405),
        ("OPTIONS /resume", 405),
        ("OPTIONS /status", 405),
        ("POST /primary", 405),
        ("PUT /pause", 405),
        ("POST /livez", 405),
    ] {
        let (answered, body) = ask(node.address, request).await;
        assert_eq!(answered, code, "{request}");
        assert!(
            body.contains("POST /switchover[?to=NAME], POST /pause"),
            "{request}: {body}"
        );
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// The codes of `/primary` and `/replica`.
async fn roles(address: SocketAddr) -> (u16, u16) {
    (
        ask(address, "GET /primary").await.0,
        ask(address, "GET /replica").await.0,
    )
}

#[tokio::test]
async fn a_server_is_primary_or_replica_or_neither() {
    let node = node().await;
    assert_eq!(roles(node.address).await, (503, 503));
    let now = Instant::now();
    for (role, codes) in [
        (Role::Primary { until: None }, (200, 503)),
        (
            Role::Primary {
                until: Some(now + HOUR),
            },
            (200, 503),
        ),
        (Role::Primary { until: Some(now) }, (503, 503)),
        (Role::Replica { lag_bytes: None }, (503, 200)),
        (
            Role::Replica {
                lag_bytes: Some(u64::MAX),
            },
            (503, 200),
        ),
        (Role::Neither, (503, 503)),
    ] {
        node.becomes(role);
        assert_eq!(roles(node.address).await, codes, "{role:?}");
    }
}

#[tokio::test]
async fn a_node_that_is_not_alive_is_neither() {
    let node = node().await;
    for role in [
        Role::Primary { until: None },
        Role::Replica { lag_bytes: Some(0) },
    ] {
        node.reports.send_replace(report(false, Ok(()), role));
        assert_eq!(roles(node.address).await, (503, 503), "{role:?}");
    }
}

#[tokio::test]
async fn refusals_say_why() {
    let node = node().await;
    let line = async |request| {
        let (code, body) = ask(node.address, request).await;
        assert_eq!((code, body.lines().count()), (503, 1), "{request}: {body}");
        body
    };
    assert!(line("GET /primary").await.contains("not the primary"));
    assert!(line("GET /replica").await.contains("working link"));
    node.becomes(Role::Primary {
        until: Some(Instant::now()),
    });
    assert!(line("GET /primary").await.contains("not renewed in time"));
    node.becomes(Role::Replica { lag_bytes: None });
    assert!(line("GET /replica?lag=1TB").await.contains("not known"));
    node.becomes(Role::Replica {
        lag_bytes: Some(4097),
    });
    let late = line("GET /replica?lag=4kB").await;
    assert!(late.contains("4097 bytes behind"), "{late}");
}

#[tokio::test]
async fn a_bound_on_the_lag_is_kept_to_the_byte() {
    let node = node().await;
    let behind = |bytes| Role::Replica {
        lag_bytes: Some(bytes),
    };
    for (bytes, bound, code) in [
        (0, "0", 200),
        (1, "0", 503),
        (1_048_576, "1048576", 200),
        (1_048_577, "1048576", 503),
        (1_048_576, "1024kB", 200),
        (1_048_576, "1MB", 200),
        (1_048_577, "1MB", 503),
        (1_048_577, "1%20MB", 503),
        (1 << 30, "1GB", 200),
        (u64::MAX, "18446744073709551615", 200),
    ] {
        node.becomes(behind(bytes));
        let answered = ask(node.address, &format!("GET /replica?lag={bound}")).await;
        assert_eq!(answered.0, code, "{bytes} with {bound}: {}", answered.1);
    }
}

#[tokio::test]
async fn a_bound_that_cannot_be_read_is_not_taken_for_none() {
    let node = node().await;
    for role in [Role::Replica { lag_bytes: Some(0) }, Role::Neither] {
        node.becomes(role);
        for query in [
            "?lag=",
            "?lag=ten",
            "?lag=10M",
            "?lag=10k",
            "?lag=10mb",
            "?lag=-1",
            "?lag=%2B1",
            "?lag=1.5MB",
            "?lag=1e9",
            "?lag=0x10",
            "?lag=18446744073709551616",
            "?lag=99999999999TB",
            "?lag=%ff%00",
            "?lag=1%0d%0aX:%20y",
            "?lag",
            "?lag=1&lag=2",
            "?lagg=1",
            "?tag_zone=a",
        ] {
            let answered = ask(node.address, &format!("GET /replica{query}")).await;
            assert_eq!(answered.0, 400, "{query}: {}", answered.1);
            assert_eq!(answered.1.lines().count(), 1, "{query}: {}", answered.1);
        }
    }
}

/// As Patroni does, and as probes that add one to be sure of a fresh answer need it.
#[tokio::test]
async fn other_probes_take_any_parameter() {
    let node = node().await;
    node.becomes(Role::Primary { until: None });
    for path in ["/livez", "/readyz", "/primary"] {
        let request = format!("GET {path}?now=1");
        assert_eq!(ask(node.address, &request).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn heads_and_options_are_answered_like_gets() {
    let node = node_of(Ipv4Addr::LOCALHOST, |admin| {
        admin.with_metrics(|| "a 1\n".to_owned())
    })
    .await;
    for role in [
        Role::Primary { until: None },
        Role::Replica { lag_bytes: Some(9) },
    ] {
        node.becomes(role);
        for path in [
            "/livez",
            "/readyz",
            "/primary",
            "/replica",
            "/replica?lag=9",
            "/replica?lag=8",
            "/replica?lag=x",
            "/status",
            "/metrics",
            "/none",
        ] {
            let got = ask(node.address, &format!("GET {path}")).await.0;
            let head = ask(node.address, &format!("HEAD {path}")).await;
            assert_eq!(head, (got, String::new()), "{path} of {role:?}");
            if !["/status", "/metrics"].contains(&path) {
                let options = ask(node.address, &format!("OPTIONS {path}")).await.0;
                assert_eq!(options, got, "{path} of {role:?}");
            }
        }
    }
}

#[tokio::test]
async fn checks_without_a_host_or_in_the_old_protocol_are_answered() {
    let node = node().await;
    node.becomes(Role::Primary { until: None });
    for check in [
        "OPTIONS /primary HTTP/1.0\r\n\r\n",
        "GET /primary HTTP/1.0\r\n\r\n",
        "HEAD /primary HTTP/1.0\r\nConnection: close\r\n\r\n",
        "OPTIONS /primary HTTP/1.1\r\n\r\n",
    ] {
        let answer = rest(send(node.address, check.as_bytes()).await).await;
        assert_eq!(split(&answer).0, 200, "{check}");
    }
}

#[tokio::test]
async fn probes_ask_for_no_token() {
    let node = node_of(Ipv4Addr::LOCALHOST, |admin| {
        admin.with_token("open-sesame".into())
    })
    .await;
    node.becomes(Role::Replica { lag_bytes: Some(0) });
    for request in [
        "GET /livez",
        "GET /readyz",
        "GET /status",
        "HEAD /replica",
        "OPTIONS /replica?lag=0",
    ] {
        let answer = answer(node.address, request, "Authorization: Bearer wrong\r\n").await;
        assert_eq!(split(&answer).0, 200, "{request}");
    }
}
