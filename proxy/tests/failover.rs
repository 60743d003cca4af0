//! What clients see while the primary changes.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bellwether_proxy::{Topology, Upstream};
use bellwether_testkit::{Boot, Data, Redis, until};
use support::{Client, Front, PATIENCE, command, fenced, primary, server};

const UNKNOWN: &str = "-ERR outcome unknown";

fn follow(replica: &Redis, primary: &Redis) {
    replica
        .command(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()])
        .expect("a replica");
    let follows = || {
        replica
            .role()
            .is_ok_and(|role| role.follows(primary.port()))
    };
    until(PATIENCE, "the replica to be in sync", follows).expect("in time");
}

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
    assert_eq!(client.next(), None);
}

#[test]
fn requests_wait_while_there_is_no_primary() {
    let a = primary();
    let front = Front::start(|_| {});
    let mut clients: Vec<_> = (0..20).map(|_| front.client()).collect();
    for client in &mut clients {
        client.say(&["INCR n"; 50]);
    }
    front.until("all to have asked", |stats| stats.requests == 1000);
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
    client.say(&["SET left 1"]);
    front.until("it has asked", |stats| stats.requests == 1);
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
    front.until("the buffers to be full", |stats| stats.requests >= 2 * 120);
    let [leaves, mut stays] = clients;
    drop(leaves);
    front.point_at(1, &a);
    for n in 1..=150 {
        assert_eq!(stays.text(), format!(":{n}\r\n"));
    }
    front.until("only one to be left", |stats| stats.clients == 1);
    assert_eq!(stays.ask("LLEN list"), ":150\r\n");
}

#[test]
fn open_transactions_watches_and_subscriptions_end() {
    let (a, b) = (primary(), primary());
    let front = Front::of(&a);
    let openings: [&[&str]; 4] = [
        &["MULTI"],
        &["WATCH k"],
        &["SUBSCRIBE c"],
        &["MULTI", "GET k"],
    ];
    let mut clients = openings.map(|lines| {
        let mut client = front.client();
        for line in lines {
            client.ask(line);
        }
        client
    });
    let mut blocked = front.client();
    blocked.say(&["BLPOP q 0"]);
    let mut done = front.client();
    done.say(&["MULTI", "GET k", "EXEC"]);
    for reply in ["+OK\r\n", "+QUEUED\r\n", "*1\r\n$-1\r\n"] {
        assert_eq!(done.text(), reply);
    }
    front.until("all to have asked", |stats| stats.requests == 9);
    front.point_at(2, &b);
    for client in &mut clients {
        assert_eq!(client.next(), None);
    }
    assert!(
        blocked.text().starts_with(UNKNOWN),
        "it may have taken an element"
    );
    assert_eq!(blocked.next(), None);
    assert_eq!(done.ask("PING"), "+PONG\r\n");
}

/// The pause holds back writes in the server; the fence refuses them: none may fail.
#[test]
fn a_switchover_costs_no_client_an_error() {
    let (a, b) = (primary(), fenced());
    follow(&b, &a);
    // However slow this machine is.
    let front = Front::start(|config| config.linger = PATIENCE);
    front.point_at(1, &a);
    let stop = AtomicBool::new(false);
    let written = AtomicU64::new(0);
    let (a, b) = (&a, &b);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (mut client, stop, written) = (front.client(), &stop, &written);
                scope.spawn(move || {
                    let mut n = 0;
                    while !stop.load(Ordering::Relaxed) {
                        n += 1;
                        let reply = client.ask(&format!("RPUSH list-{writer} {n}"));
                        assert_eq!(reply, format!(":{n}\r\n"), "in order, once, no error");
                        written.fetch_add(1, Ordering::Relaxed);
                    }
                    n
                })
            })
            .collect();
        let progress = |more| {
            let goal = written.load(Ordering::Relaxed) + more;
            until(PATIENCE, "progress", || {
                written.load(Ordering::Relaxed) >= goal
            })
            .unwrap();
        };
        for (term, (from, to)) in (2..).zip([(a, b), (b, a), (a, b)]) {
            progress(200);
            from.command(&["CLIENT", "PAUSE", "10000", "WRITE"])
                .unwrap();
            until(PATIENCE, "equal offsets", || {
                let offset = |server: &Redis| server.info("replication").unwrap();
                offset(from)["master_repl_offset"] == offset(to)["slave_repl_offset"]
            })
            .unwrap();
            from.command(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
            from.command(&["CLIENT", "UNPAUSE"]).unwrap();
            // Whoever fences checks it: by this answer, those to the paused writes are on their way.
            assert!(!from.role().unwrap().is_primary());
            to.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
            front.point_at(term, to);
            follow(from, to);
        }
        progress(200);
        stop.store(true, Ordering::Relaxed);
        for (i, writer) in writers.into_iter().enumerate() {
            let n = writer.join().unwrap();
            let length = b.command(&["LLEN", &format!("list-{i}")]).unwrap();
            assert_eq!(length, n.to_string());
        }
    });
    let stats = front.stats();
    assert!(
        stats.replayed > 0,
        "writes were refused and sent again: {stats:?}"
    );
    assert_eq!((stats.unknown, stats.refused), (0, 0));
}

#[test]
fn what_was_acknowledged_before_a_kill_is_there_and_the_rest_is_told_apart() {
    for round in 0..3 {
        let (mut a, b) = (primary(), fenced());
        follow(&b, &a);
        let front = Front::of(&a);
        let mut client = front.client();
        let mut acknowledged = Vec::new();
        let mut doubtful = Vec::new();
        for n in 0..2000 {
            let kill_at = 700 + 100 * round;
            if n == kill_at - 20 {
                // Only from its first acknowledgement on does a replica get each write at once.
                assert_eq!(client.ask("WAIT 1 0"), ":1\r\n");
            }
            if n == kill_at {
                a.kill().unwrap();
                b.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
                front.point_at(2, &b);
            }
            match client.ask(&format!("RPUSH list {n}")).as_str() {
                reply if reply.starts_with(':') => acknowledged.push(n),
                reply if reply.starts_with(UNKNOWN) => doubtful.push(n),
                reply => panic!("{reply}"),
            }
        }
        let list = b.command(&["LRANGE", "list", "0", "-1"]).unwrap();
        let list: Vec<i32> = list.lines().map(|line| line.parse().unwrap()).collect();
        assert!(
            list.is_sorted_by(|x, y| x < y),
            "nothing ran twice or out of order"
        );
        // Asynchronous replication may lose the last ones before the kill, and no others.
        let lost = acknowledged.iter().filter(|n| !list.contains(n)).count();
        let kill_at = 700 + 100 * round;
        let before = acknowledged.iter().filter(|n| **n < kill_at);
        let mut last = before.rev().take(lost);
        assert!(
            lost <= 20 && last.all(|n| !list.contains(n)),
            "{lost} are lost"
        );
        assert!(doubtful.len() <= 1, "{doubtful:?}");
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

#[test]
fn a_refusal_that_stays_is_delivered() {
    let a = fenced();
    let front = Front::start(|config| config.hold = Duration::from_millis(300));
    front.point_at(1, &a);
    let mut client = front.client();
    client.say(&["GET k", "SET k v"]);
    let replies = (client.text(), client.text());
    assert_eq!(replies.0, "$-1\r\n");
    assert!(replies.1.starts_with("-READONLY"));
    client.send(&command(&[
        b"EVAL",
        b"return redis.call('set','k','v')",
        b"0",
    ]));
    // Redis 6.2 wraps what a script was told.
    let refusal = client.text();
    assert!(refusal.starts_with('-') && refusal.contains("READONLY"));
    assert!(
        front.stats().replayed > 0,
        "the write was tried again, the script was not"
    );
}

/// Redis, or a firewall, that takes a connection and says nothing.
#[test]
fn a_server_that_does_not_answer_holds_up_nobody_else() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let b = primary();
    let front = Front::start(|_| {});
    front.point_at_address(1, silent.local_addr().unwrap());
    let mut stuck: Vec<_> = (0..10).map(|_| front.client()).collect();
    for client in &mut stuck {
        client.say(&["INCR n"]);
    }
    front.until("all asked", |stats| stats.requests == 10);
    front.point_at(2, &b);
    for client in &mut stuck {
        let reply = client.text();
        assert!(
            reply.starts_with(UNKNOWN) || reply.starts_with(':'),
            "{reply}"
        );
    }
    assert!(stuck[0].ask("INCR n").starts_with(':'));
}

/// After a failover, bytes of one client must never reach another one's connection.
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
                let mut answered = 0;
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    answered += ask_many(&mut client, c, round);
                    if round % 7 == 0 {
                        client = front.client();
                    }
                }
                answered
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
    let answered: usize = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .sum();
    assert!(answered > 1000, "{answered}");
}

/// Sends a batch and checks that each reply is its own; returns how many succeeded.
fn ask_many(client: &mut Client, c: usize, round: usize) -> usize {
    let texts: Vec<_> = (0..20).map(|i| format!("{c}-{round}-{i}")).collect();
    let batch: Vec<_> = texts
        .iter()
        .flat_map(|t| command(&[b"ECHO", t.as_bytes()]))
        .collect();
    client.send(&batch);
    let replies = texts.iter().filter(|text| {
        let reply = client.text();
        let own = reply == format!("${}\r\n{text}\r\n", text.len());
        assert!(own || reply.starts_with(UNKNOWN), "{reply} for {text}");
        own
    });
    replies.count()
}
