//! HAProxy, set up as for Patroni.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bellwether_admin::Role;
use bellwether_testkit::{Process, Program, ports, skip};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

use crate::scene::{DEADLINE, Node, node};

/// A running HAProxy, whose ports for writers and readers lead to the node's server while its
/// checks of the admin port succeed.
struct Balancer {
    _process: Process,
    _dir: TempDir,
    writers: SocketAddr,
    readers: SocketAddr,
    bounded: SocketAddr,
}

/// What a server that takes part in no test is known by.
const GREETING: &[u8] = b"+HELLO\r\n";

/// Stands for the node's redis-server: greets and closes.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            // A client that does not wait for it is none of the test's.
            let _ = client.write_all(GREETING).await;
        }
    });
    address
}

fn start(node: &Node, server: SocketAddr) -> Balancer {
    let port = || SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free().unwrap()));
    let (writers, readers, bounded) = (port(), port(), port());
    let check = node.address.port();
    let section = |name: &str, bind: SocketAddr, check_line: &str| {
        format!(
            "listen {name}\n  bind {bind}\n  {check_line}\n  http-check expect status 200\n  \
             default-server inter 50ms fall 1 rise 1 on-marked-down shutdown-sessions\n  \
             server node {server} check port {check}\n"
        )
    };
    let config = "global\n  maxconn 64\ndefaults\n  mode tcp\n  timeout client 30s\n  \
        timeout server 30s\n  timeout connect 5s\n  timeout check 10s\n  retries 0\n"
        .to_owned()
        + &section("writers", writers, "option httpchk OPTIONS /primary")
        + &section("readers", readers, "option httpchk GET /replica")
        + &section(
            "bounded",
            bounded,
            "option httpchk\n  http-check send meth HEAD uri /replica?lag=1MB ver HTTP/1.1 hdr Host node",
        );
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("haproxy.cfg");
    fs::write(&path, config).unwrap();
    let program = Program::new("haproxy").args(["-db", "-q", "-f"]).arg(&path);
    Balancer {
        _process: program.spawn().unwrap(),
        _dir: dir,
        writers,
        readers,
        bounded,
    }
}

/// Whether this way leads to the server.
async fn leads(way: SocketAddr) -> bool {
    let Ok(mut client) = TcpStream::connect(way).await else {
        return false;
    };
    let mut greeting = Vec::new();
    client.read_to_end(&mut greeting).await.is_ok() && greeting == GREETING
}

/// Waits until exactly the ways that are expected lead to the server.
async fn settles(balancer: &Balancer, expected: [bool; 3]) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let ways = [balancer.writers, balancer.readers, balancer.bounded];
        let found = [
            leads(ways[0]).await,
            leads(ways[1]).await,
            leads(ways[2]).await,
        ];
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}, not {expected:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn haproxy_brings_writers_to_the_primary_and_readers_to_replicas() {
    let mut version = Program::new("haproxy").arg("-v").spawn().unwrap();
    if !version.wait(DEADLINE).unwrap().success() {
        let name = "balancer::haproxy_brings_writers_to_the_primary_and_readers_to_replicas";
        return skip(name, "haproxy is not installed");
    }
    let node = node().await;
    let balancer = start(&node, server().await);
    for (role, expected) in [
        (Role::Primary { until: None }, [true, false, false]),
        (Role::Neither, [false, false, false]),
        (Role::Replica { lag_bytes: Some(9) }, [false, true, true]),
        (
            Role::Replica {
                lag_bytes: Some(1_048_577),
            },
            [false, true, false],
        ),
        (Role::Primary { until: None }, [true, false, false]),
        (Role::Replica { lag_bytes: None }, [false, true, false]),
    ] {
        node.becomes(role);
        settles(&balancer, expected).await;
    }
}
