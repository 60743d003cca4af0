//! What clients see while the primary changes.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bellwether_proxy::{Topology, Upstream};
use bellwether_testkit::{Boot, Data, Redis, until};
use support::{Client, Front, PATIENCE, batch, command, primary, server};

const UNKNOWN: &str = "-ERR outcome unknown";

#[test]
fn a_session_moves_to_the_next_primary() {
    let (mut a, b) = (primary(), primary());
    let front = Front::of(&a);
    let mut client = front.client();
    assert_eq!(client.ask("SELECT 3"), "+OK\r\n");
    assert_eq!(client.ask("CLIENT SETNAME me"), "+OK\r\n");
    assert_eq!(client.ask("SET k 1"), "+OK\r\n");
    a.kill().unwrap();
    client.say(&["SET k 2", "GET k", "CLIENT GETNAME"]);
    front.point_at(2, &b);
    assert_eq!(client.text(), "+OK\r\n");
    assert_eq!(client.text(), "$1\r\n2\r\n");
    assert_eq!(client.text(), "$2\r\nme\r\n");
    assert_eq!(
        b.info("keyspace").unwrap().keys().collect::<Vec<_>>(),
        ["db3"]
    );
}

#[test]
fn credentials_move_along() {
    let password = ["--requirepass", "secret"];
    let (a, b) = (
        server(Boot::Plain, &password),
        server(Boot::Plain, &password),
    );
    let front = Front::of(&a);
    let mut client = front.client();
    assert!(client.ask("GET k").starts_with("-NOAUTH"));
    assert!(client.ask("AUTH wrong").starts_with("-WRONGPASS"));
    assert!(client.ask("HELLO 3 AUTH default secret").starts_with('%'));
    front.point_at(2, &b);
    assert_eq!(client.ask("GET k"), "_\r\n", "authenticated, and in RESP3");
}

#[test]
fn credentials_that_do_not_hold_any_more_close_the_client() {
    let password = |p| server(Boot::Plain, &["--requirepass", p]);
    let (a, b) = (password("one"), password("two"));
    let front = Front::of(&a);
    let mut client = front.client();
    assert_eq!(client.ask("AUTH one"), "+OK\r\n");
    front.point_at(2, &b);
    client.say(&["GET k"]);
    assert!(client.text().starts_with("-WRONGPASS"));
    assert_eq!(client.next(), None);
}

#[test]
fn requests_wait_while_there_is_no_primary() {
    let a = primary();
    let front = Front::start(|_| {});
    let mut clients: Vec<_> = (0..20).map(|_| front.client()).collect();
    let asked = batch(&["INCR n"; 50]);
    for client in &mut clients {
        client.send(&asked);
    }
    front.until_waiting(20, 20 * asked.len());
    front.point_at(1, &a);
    for client in &mut clients {
        for _ in 0..50 {
            assert!(client.text().starts_with(':'));
        }
    }
    assert_eq!(clients[0].ask("GET n"), "$4\r\n1000\r\n");
    assert_eq!(front.stats().held, 1000);
}

#[test]
fn requests_do_not_wait_for_ever() {
    let front = Front::start(|config| config.hold = Duration::from_millis(100));
    let mut client = front.client();
    assert!(client.ask("SET k v").starts_with("-TRYAGAIN not executed"));
    let a = primary();
    front.point_at(1, &a);
    assert_eq!(client.ask("GET k"), "$-1\r\n");
    assert_eq!(front.stats().refused, 1);
}

#[test]
fn what_is_held_for_a_client_that_left_is_not_run() {
    let a = primary();
    let front = Front::start(|_| {});
    let mut client = front.client();
    let asked = batch(&["SET left 1"]);
    client.send(&asked);
    front.until_waiting(1, asked.len());
    drop(client);
    front.until("it has left", |stats| stats.clients == 0);
    front.point_at(1, &a);
    assert_eq!(front.client().ask("EXISTS left"), ":0\r\n");
}

/// The proxy does not read on to the end of the connection, and must hear of it all the same.
#[test]
fn what_is_held_for_a_client_that_left_with_a_full_buffer_is_not_run() {
    let a = primary();
    let front = Front::start(|config| config.session_buffer = 128 << 10);
    let mut clients = [front.client(), front.client()];
    let batch = command(&[b"RPUSH", b"list", &[b'x'; 1000]]).repeat(150);
    for client in &mut clients {
        client.send(&batch);
    }
    front.until("the buffers to be full", |stats| {
        stats.waiting == 2 && stats.waiting_bytes >= 2 * (128 << 10)
    });
    let [leaves, mut stays] = clients;
    drop(leaves);
    front.point_at(1, &a);
    for n in 1..=150 {
        assert_eq!(stays.text(), format!(":{n}\r\n"));
    }
    front.until("only one to be left", |stats| stats.clients == 1);
    assert_eq!(stays.ask("LLEN list"), ":150\r\n");
}

/// A server that is lost may have given away an element that nobody got. What only reads goes on.
#[test]
fn what_blocked_in_a_lost_server_is_unknown_unless_it_only_reads() {
    let (mut a, b) = (primary(), primary());
    let front = Front::of(&a);
    let (mut pops, mut reads) = (front.client(), front.client());
    pops.say(&["BLPOP q 0", "PING"]);
    reads.say(&["XREAD BLOCK 0 STREAMS s 0", "PING"]);
    until_blocked(&a, 2);
    a.kill().unwrap();
    front.point_at(2, &b);
    assert!(pops.text().starts_with(UNKNOWN));
    assert_eq!(pops.text(), "+PONG\r\n");
    until_blocked(&b, 1);
    b.command(&["XADD", "s", "1-1", "f", "v"]).unwrap();
    assert!(reads.text().contains("1-1"));
    assert_eq!(reads.text(), "+PONG\r\n");
}

fn until_blocked(server: &Redis, count: usize) {
    let blocked = || {
        let info = server.info("clients");
        info.is_ok_and(|info| info["blocked_clients"] == count.to_string())
    };
    until(PATIENCE, "blocked clients", blocked).expect("in time");
}

/// All of it may have run. Without its EXEC, none has.
#[test]
fn a_transaction_is_unknown_when_its_exec_was_sent() {
    let (mut a, b) = (primary(), primary());
    let front = Front::of(&a);
    let (mut whole, mut open) = (front.client(), front.client());
    for client in [&mut whole, &mut open] {
        assert_eq!(client.ask("PING"), "+PONG\r\n");
    }
    a.stop().unwrap();
    whole.say(&["MULTI", "INCR n", "EXEC"]);
    open.say(&["MULTI", "INCR n"]);
    front.until("both to have asked", |stats| stats.requests == 7);
    a.kill().unwrap();
    front.point_at(2, &b);
    for _ in 0..3 {
        assert!(whole.text().starts_with(UNKNOWN));
    }
    assert_eq!(whole.ask("EXISTS n"), ":0\r\n");
    open.say(&["EXEC"]);
    for reply in ["+OK\r\n", "+QUEUED\r\n", "*1\r\n:1\r\n"] {
        assert_eq!(open.text(), reply);
    }
}

/// A stopped primary continues after another one was elected.
#[test]
fn a_stopped_primary_that_continues_acknowledges_nothing() {
    let (mut a, b) = (primary(), primary());
    let front = Front::of(&a);
    let mut client = front.client();
    assert_eq!(client.ask("SET k 0"), "+OK\r\n");
    a.stop().unwrap();
    client.say(&["SET k a"]);
    front.until("it has asked", |stats| stats.requests == 2);
    front.point_at(2, &b);
    assert!(client.text().starts_with(UNKNOWN));
    a.cont().unwrap();
    assert_eq!(client.ask("SET k b"), "+OK\r\n");
    assert_eq!(client.ask("GET k"), "$1\r\nb\r\n");
}

#[test]
fn a_topology_that_has_ended_forwards_nothing() {
    let a = primary();
    let front = Front::start(|config| config.hold = Duration::from_millis(200));
    let topology = |until| {
        let primary = Upstream {
            name: "a".into(),
            host: "localhost".into(),
            port: a.port(),
        };
        Topology {
            term: 1,
            until,
            primary: Some(primary),
            replicas: vec![],
        }
    };
    front.publish(topology(Some(Instant::now() + PATIENCE)));
    let mut client = front.client();
    assert_eq!(client.ask("INCR n"), ":1\r\n");
    front.publish(topology(Some(Instant::now())));
    assert!(client.ask("INCR n").starts_with("-TRYAGAIN"));
    front.publish(topology(None));
    assert_eq!(client.ask("INCR n"), ":2\r\n");
}

#[test]
fn a_primary_that_restarts_is_found_again() {
    let mut a = primary();
    let front = Front::of(&a);
    let mut client = front.client();
    assert_eq!(client.ask("INCR n"), ":1\r\n");
    for _ in 0..3 {
        a.restart(Data::Empty, Boot::Plain).unwrap();
        let mut reply = client.ask("INCR n");
        if reply.starts_with(UNKNOWN) {
            reply = client.ask("INCR n");
        }
        assert_eq!(reply, ":1\r\n");
    }
}

/// Redis, or a firewall, that takes a connection and says nothing.
#[test]
fn a_server_that_does_not_answer_holds_up_nobody_else() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let b = primary();
    let front = Front::start(|_| {});
    front.point_at_address(1, silent.local_addr().unwrap());
    let mut stuck: Vec<_> = (0..10).map(|_| front.client()).collect();
    let asked = batch(&["INCR n"]);
    for client in &mut stuck {
        client.send(&asked);
    }
    front.until_waiting(10, 10 * asked.len());
    front.point_at(2, &b);
    for client in &mut stuck {
        assert!(client.text().starts_with(':'), "it was not sent");
    }
    assert_eq!(stuck[0].ask("GET n"), "$2\r\n10\r\n");
}

/// Bytes of one client must never reach another one's connection, and what only reads never fails.
#[test]
fn replies_stay_with_their_clients_through_many_failovers() {
    let servers = [primary(), primary(), primary()];
    let front = Arc::new(Front::of(&servers[0]));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|c| {
            let (front, stop) = (Arc::clone(&front), Arc::clone(&stop));
            thread::spawn(move || {
                let mut client = front.client();
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    ask_many(&mut client, c, round);
                    if round % 7 == 0 {
                        client = front.client();
                    }
                }
            })
        })
        .collect();
    for term in 2..60 {
        let next = &servers[fastrand::usize(..servers.len())];
        if term % 5 == 0 {
            front.point_nowhere(term);
        }
        let asked = front.stats().requests;
        front.point_at(term, next);
        front.until("progress", |stats| stats.requests > asked + 200);
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(front.stats().unknown, 0);
}

/// Sends a batch and checks that each reply is its own.
fn ask_many(client: &mut Client, c: usize, round: usize) {
    let texts: Vec<_> = (0..20).map(|i| format!("{c}-{round}-{i}")).collect();
    let lines: Vec<_> = texts.iter().map(|text| format!("ECHO {text}")).collect();
    client.send(&batch(
        &lines.iter().map(String::as_str).collect::<Vec<_>>(),
    ));
    for text in texts {
        assert_eq!(client.text(), format!("${}\r\n{text}\r\n", text.len()));
    }
}
