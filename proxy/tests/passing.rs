//! What passes through the proxy while nothing fails.

mod support;

use std::io::Write;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use bellwether_proxy::ProxyConfig;
use bellwether_testkit::{Redis, until};
use redis::Commands;
use support::{Client, Front, PATIENCE, command, primary};

#[test]
fn a_command_passes_in_either_form() {
    let server = primary();
    let front = Front::of(&server);
    let mut client = front.client();
    client.send(b"PING\r\n\r\n*0\r\nset \"a b\" 'c'\r\n");
    client.send(&command(&[b"get", b"a b"]));
    assert_eq!(client.text(), "+PONG\r\n");
    assert_eq!(client.text(), "+OK\r\n");
    assert_eq!(client.text(), "$1\r\nc\r\n");
    // The server's own words, which differ between its versions.
    let said = client.ask("nonsense 1");
    assert!(said.starts_with("-ERR unknown command") && said.contains("nonsense"));
    assert!(said.ends_with("\r\n"));
    assert_eq!(client.ask("QUIT"), "+OK\r\n");
    assert_eq!(client.next(), None);
}

/// One command in many pieces, and many commands in one: both break proxies that take a read for
/// a command. Every byte value, and sizes around those of buffers: both break those that take
/// bytes for text.
#[test]
fn values_of_all_sizes_come_back_byte_by_byte() {
    let server = primary();
    let front = Front::of(&server);
    let mut rng = fastrand::Rng::with_seed(7);
    let sizes = [
        0, 1, 2, 255, 1023, 16_383, 16_384, 65_535, 65_536, 65_537, 131_072, 300_001,
    ];
    let sizes = sizes.into_iter().chain([1 << 20, (1 << 20) + 1, 5_000_003]);
    let values: Vec<Vec<u8>> = sizes
        .map(|size| {
            let random = (0..size).map(|_| rng.u8(..));
            let mut value: Vec<u8> = random.collect();
            value
                .iter_mut()
                .zip(b"\r\n$-1\r\n\x00\xff\xc3\x28")
                .for_each(|(v, b)| *v = *b);
            value
        })
        .collect();
    let mut client = front.client();
    let mut writer = client.stream.try_clone().unwrap();
    let mut bytes = Vec::new();
    for (i, value) in values.iter().enumerate() {
        let key = format!("key {i}");
        bytes.extend(command(&[b"SET", key.as_bytes(), value]));
        bytes.extend(command(&[b"GET", key.as_bytes()]));
        bytes.extend(command(&[b"ECHO", value]));
    }
    let sender = thread::spawn(move || {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let most = [1, 7, 1000, 65_536, 1 << 20][rng.usize(..5)];
            let n = rng.usize(1..=most.min(rest.len()));
            writer.write_all(&rest[..n]).unwrap();
            rest = &rest[n..];
        }
    });
    for value in &values {
        let bulk = [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat();
        assert_eq!(client.reply(), b"+OK\r\n");
        assert!(client.reply() == bulk, "GET of {} bytes", value.len());
        assert!(client.reply() == bulk, "ECHO of {} bytes", value.len());
    }
    sender.join().unwrap();
}

#[test]
fn replies_keep_the_order_of_ten_thousand_requests() {
    let server = primary();
    let front = Front::of(&server);
    let clients = (0..4).map(|c| {
        let mut client = front.client();
        thread::spawn(move || {
            let mut writer = client.stream.try_clone().unwrap();
            let sender = thread::spawn(move || {
                let requests: Vec<u8> = (0..10_000)
                    .flat_map(|i| command(&[b"ECHO", format!("{c}-{i}").as_bytes()]))
                    .collect();
                writer.write_all(&requests).unwrap();
            });
            for i in 0..10_000 {
                let text = format!("{c}-{i}");
                assert_eq!(client.text(), format!("${}\r\n{text}\r\n", text.len()));
            }
            sender.join().unwrap();
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.join().unwrap();
    }
    assert_eq!(front.stats().requests, 40_000);
}

#[test]
fn resp3_and_its_pushes_pass() {
    let server = primary();
    let front = Front::of(&server);
    let mut client = front.client();
    assert!(client.ask("HELLO 3").starts_with('%'));
    assert_eq!(client.ask("HSET h f v"), ":1\r\n");
    assert_eq!(client.ask("HGETALL h"), "%1\r\n$1\r\nf\r\n$1\r\nv\r\n");
    assert_eq!(client.ask("CLIENT TRACKING ON"), "+OK\r\n");
    assert_eq!(client.ask("GET k"), "_\r\n");
    server.command(&["SET", "k", "1"]).unwrap();
    assert_eq!(
        client.text(),
        ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"
    );
    assert_eq!(client.ask("GET k"), "$1\r\n1\r\n");
}

#[test]
fn subscriptions_and_monitor_pass() {
    let server = primary();
    let front = Front::of(&server);
    let (mut subscriber, mut publisher) = (front.client(), front.client());
    subscriber.say(&["SUBSCRIBE a b"]);
    assert!(subscriber.text().ends_with("$1\r\na\r\n:1\r\n"));
    assert!(subscriber.text().ends_with("$1\r\nb\r\n:2\r\n"));
    assert_eq!(publisher.ask("PUBLISH a hello"), ":1\r\n");
    assert_eq!(
        subscriber.text(),
        "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhello\r\n"
    );
    assert_eq!(subscriber.ask("PING"), "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    let mut monitor = front.client();
    assert_eq!(monitor.ask("MONITOR"), "+OK\r\n");
    publisher.ask("SET k v");
    assert!(monitor.text().contains("\"SET\" \"k\" \"v\""));
}

#[test]
fn blocking_commands_and_transactions_pass() {
    let server = primary();
    let front = Front::of(&server);
    let (mut waiting, mut other) = (front.client(), front.client());
    waiting.say(&["BLPOP q 0"]);
    until(PATIENCE, "a blocked client", || {
        server
            .info("clients")
            .is_ok_and(|info| info["blocked_clients"] == "1")
    })
    .unwrap();
    assert_eq!(other.ask("RPUSH q x"), ":1\r\n");
    assert_eq!(waiting.text(), "*2\r\n$1\r\nq\r\n$1\r\nx\r\n");
    other.say(&["MULTI", "INCR n", "INCR n", "EXEC"]);
    for reply in [
        "+OK\r\n",
        "+QUEUED\r\n",
        "+QUEUED\r\n",
        "*2\r\n:1\r\n:2\r\n",
    ] {
        assert_eq!(other.text(), reply);
    }
}

#[test]
fn whoever_closes_its_half_gets_its_replies() {
    let server = primary();
    let front = Front::of(&server);
    let mut client = front.client();
    client.say(&["SET k v", "GET k"]);
    client.half_close();
    assert_eq!(client.text(), "+OK\r\n");
    assert_eq!(client.text(), "$1\r\nv\r\n");
    assert_eq!(client.next(), None);
}

#[test]
fn whoever_breaks_the_protocol_hears_it_in_the_words_of_redis() {
    let server = primary();
    let front = Front::of(&server);
    for bytes in ["*1\r\n+x\r\n", "*x\r\n", "*1\r\n$-5\r\n", "SET \"a\r\n"] {
        let ask = |address| {
            let mut client = Client::to(address);
            client.send(b"PING\r\n");
            client.send(bytes.as_bytes());
            let replies = (client.text(), client.text());
            assert_eq!(client.next(), None, "closed");
            replies
        };
        assert_eq!(
            ask(front.proxy.local_addr()),
            ask(server.address()),
            "{bytes:?}"
        );
    }
}

#[test]
fn too_many_clients_are_told_so() {
    let server = primary();
    let front = Front::start(|config| config.max_clients = 2);
    front.point_at(1, &server);
    let (mut first, mut second) = (front.client(), front.client());
    assert_eq!(first.ask("PING"), "+PONG\r\n");
    assert_eq!(second.ask("PING"), "+PONG\r\n");
    let mut third = front.client();
    assert_eq!(third.text(), "-ERR max number of clients reached\r\n");
    assert_eq!(third.next(), None);
    drop(first);
    front.until("a client less", |stats| stats.clients == 1);
    assert_eq!(front.client().ask("PING"), "+PONG\r\n");
}

#[test]
fn several_workers_share_a_port() {
    let server = primary();
    let front = Front::start(|config| config.workers = 3);
    front.point_at(1, &server);
    let mut clients: Vec<_> = (0..30).map(|_| front.client()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("INCR n").as_bytes()[0], b':');
    }
    assert_eq!(clients[0].ask("GET n"), "$2\r\n30\r\n");
    assert_eq!(front.stats().accepted, 30);
}

#[test]
fn a_taken_port_is_an_error_even_for_several_workers() {
    let taken = Front::start(|config| config.workers = 2);
    let address = taken.proxy.local_addr();
    let mut config = ProxyConfig::new(address);
    config.workers = 2;
    let (_publish, topologies) = tokio::sync::watch::channel(std::sync::Arc::default());
    let error = bellwether_proxy::Proxy::start(config, topologies).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {address}"));
}

#[test]
fn a_shutdown_waits_for_what_is_asked() {
    let server = primary();
    let front = Front::of(&server);
    let address = front.proxy.local_addr();
    let (mut idle, mut busy) = (front.client(), front.client());
    assert_eq!(idle.ask("PING"), "+PONG\r\n");
    busy.say(&["BLPOP q 0"]);
    front.until("both asked", |stats| stats.requests == 2);
    let ending = thread::spawn(move || front.shutdown(PATIENCE));
    assert_eq!(idle.next(), None);
    // A server that another test starts has a copy of the listener for a moment: until it runs.
    until(PATIENCE, "nobody to listen", || {
        std::net::TcpStream::connect(address).is_err()
    })
    .unwrap();
    server.command(&["RPUSH", "q", "x"]).unwrap();
    assert_eq!(busy.text(), "*2\r\n$1\r\nq\r\n$1\r\nx\r\n");
    assert_eq!(busy.next(), None);
    ending.join().unwrap();
}

#[test]
fn a_shutdown_ends_in_time() {
    let server = primary();
    let front = Front::of(&server);
    let mut busy = front.client();
    busy.say(&["BLPOP q 0"]);
    front.until("it asked", |stats| stats.requests == 1);
    front.shutdown(Duration::from_millis(50));
    assert_eq!(busy.next(), None);
}

/// A client that another project wrote is content.
#[test]
fn the_redis_crate_works_through_it() {
    let server = primary();
    let front = Front::of(&server);
    let address = front.proxy.local_addr();
    for protocol in ["resp2", "resp3"] {
        let client = redis::Client::open(format!("redis://{address}/2?protocol={protocol}"));
        let mut connection = client.unwrap().get_connection().unwrap();
        let _: () = connection.set("key", b"\x00\xff").unwrap();
        let value: Vec<u8> = connection.get("key").unwrap();
        assert_eq!(value, b"\x00\xff");
        let numbers: Vec<i64> = redis::pipe()
            .atomic()
            .incr("n", 1)
            .incr("n", 1)
            .query(&mut connection)
            .unwrap();
        assert_eq!(numbers[1] - numbers[0], 1);
        let database: String = redis::cmd("CLIENT")
            .arg("INFO")
            .query(&mut connection)
            .unwrap();
        assert!(database.contains(" db=2 "), "{database}");
    }
}

#[test]
fn a_reset_client_costs_nothing() {
    let server = primary();
    let front = Front::start(|config| config.pool_idle = config.pool_warm);
    front.point_at(1, &server);
    let before = links_at_rest(&front, &server);
    for _ in 0..20 {
        let client = front.client();
        (&client.stream)
            .write_all(&command(&[b"ECHO", &[b'x'; 100_000]]))
            .unwrap();
        client.stream.shutdown(Shutdown::Read).unwrap();
    }
    front.until("all gone", |stats| {
        (stats.clients, stats.accepted) == (0, 20)
    });
    assert_eq!(links_at_rest(&front, &server), before);
}

/// How many links the proxy has when none is lent, and as many as are kept wait. Its server knows
/// of no others.
fn links_at_rest(front: &Front, server: &Redis) -> u64 {
    let kept = ProxyConfig::new(([127, 0, 0, 1], 0).into()).pool_warm as u64;
    front.until("links at rest", |stats| {
        (stats.links_shared, stats.links_leased, stats.links_idle) == (1, 0, kept)
    });
    let links = 1 + kept;
    until(PATIENCE, "no other links", || {
        let info = server.info("clients");
        info.is_ok_and(|info| info["connected_clients"] == (links + 1).to_string())
    })
    .expect("in time");
    links
}
