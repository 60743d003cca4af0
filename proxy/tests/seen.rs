//! What a proxy shows: INFO, counters, latencies, its servers, and what a scraper gets.

mod support;

use std::collections::BTreeMap;

use bellwether_proxy::{FamilyStats, ReadFrom, Topology, Upstream, UpstreamRole, UpstreamState};
use bellwether_testkit::{Boot, Redis, until};
use metrics_exporter_prometheus::PrometheusBuilder;
use support::{Client, Front, PATIENCE, fenced, primary, server};

/// The fields of INFO, and the names of its sections.
fn info(client: &mut Client, line: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let text = client.ask(line);
    let mut fields = BTreeMap::new();
    let mut sections = Vec::new();
    for line in text.lines() {
        if let Some(section) = line.strip_prefix("# ") {
            sections.push(section.to_owned());
        } else if let Some((name, value)) = line.split_once(':') {
            let before = fields.insert(name.to_owned(), value.to_owned());
            assert_eq!(before, None, "{name} twice in {text}");
        }
    }
    (fields, sections)
}

fn upstream(server: &Redis) -> Upstream {
    Upstream {
        name: format!("server {}", server.address().port()),
        host: server.address().ip().to_string(),
        port: server.address().port(),
    }
}

#[test]
fn info_is_the_servers_and_the_proxys() {
    let server = primary();
    let front = Front::of(&server);
    let mut clients: Vec<_> = (0..3).map(|_| front.client()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("PING"), "+PONG\r\n");
    }
    let client = &mut clients[0];
    for whole in [
        "INFO",
        "info ALL",
        "INFO everything",
        "INFO default",
        "INFO clients PROXY",
    ] {
        let (fields, sections) = info(client, whole);
        assert_eq!(sections.last().unwrap(), "Proxy", "{whole}");
        assert_eq!(fields["connected_clients"], "3", "{whole}");
        assert_eq!(fields["proxy_clients"], "3", "{whole}");
        let name = format!("server {}", server.address().port());
        assert_eq!(fields["proxy_primary"], name);
        let wanted = format!(
            "name={name},host=127.0.0.1,port={},role=primary,",
            server.address().port()
        );
        assert!(
            fields["proxy_upstream0"].starts_with(&wanted),
            "{}",
            fields["proxy_upstream0"]
        );
        assert!(fields["proxy_upstream0"].contains(",state=connected,"));
    }
    let (fields, sections) = info(client, "INFO clients");
    assert_eq!(
        (fields["connected_clients"].as_str(), sections),
        ("3", vec!["Clients".to_owned()])
    );
    let (_, sections) = info(client, "INFO server");
    assert_eq!(sections, ["Server"]);
    let (_, sections) = info(client, "INFO proxy");
    assert_eq!(sections, ["Proxy"]);
    // Exactly one bulk string each, and verbatim ones in RESP3.
    assert!(client.ask("HELLO 3").starts_with('%'));
    for line in ["INFO", "INFO proxy", "INFO clients"] {
        let text = client.ask(line);
        assert!(
            text.starts_with('=') && text.contains("\r\ntxt:# "),
            "{text}"
        );
    }
    assert_eq!(client.ask("PING"), "+PONG\r\n");
}

#[test]
fn info_keeps_its_place_and_what_is_queued_is_not_rewritten() {
    let server = primary();
    let front = Front::of(&server);
    let mut client = front.client();
    client.say(&[
        "SET k 1",
        "INFO",
        "INCR k",
        "INFO proxy",
        "INCR k",
        "MULTI",
        "INFO clients",
    ]);
    assert_eq!(client.text(), "+OK\r\n");
    assert!(client.text().contains("# Proxy"));
    assert_eq!(client.text(), ":2\r\n");
    assert!(client.text().contains("# Proxy"));
    assert_eq!(client.text(), ":3\r\n");
    assert_eq!(client.text(), "+OK\r\n");
    assert_eq!(client.text(), "+QUEUED\r\n");
    assert!(client.ask("EXEC").starts_with("*1\r\n$"));
    client.say(&[
        "CLIENT REPLY SKIP",
        "INFO",
        "CLIENT REPLY SKIP",
        "INFO proxy",
        "GET k",
    ]);
    assert_eq!(client.text(), "$1\r\n3\r\n");
}

#[test]
fn the_proxy_speaks_for_itself_without_a_primary() {
    let server = primary();
    let front = Front::of(&server);
    let mut client = front.client();
    // What a client may do is not known before a first server has said it.
    assert_eq!(client.ask("PING"), "+PONG\r\n");
    front.point_nowhere(2);
    until_states(&front, &[]);
    let (fields, sections) = info(&mut client, "INFO proxy");
    assert_eq!(sections, ["Proxy"]);
    assert_eq!(fields["proxy_primary"], "");
    assert_eq!(fields["proxy_clients"], "1");
    assert_eq!(fields["proxy_version"], env!("CARGO_PKG_VERSION"));
    assert!(!fields.contains_key("proxy_upstream0"));
}

#[test]
fn strangers_are_told_nothing() {
    let server = server(Boot::Plain, &["--requirepass", "secret"]);
    let front = Front::of(&server);
    let mut client = front.client();
    for line in ["INFO", "INFO proxy"] {
        assert_eq!(client.ask(line), "-NOAUTH Authentication required.\r\n");
    }
    assert_eq!(client.ask("AUTH secret"), "+OK\r\n");
    assert_eq!(info(&mut client, "INFO proxy").1, ["Proxy"]);
}

#[test]
fn clients_of_all_workers_are_counted() {
    let server = primary();
    let front = Front::start(|config| config.workers = 3);
    front.point_at(1, &server);
    let mut clients: Vec<_> = (0..20).map(|_| front.client()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("PING"), "+PONG\r\n");
    }
    for client in &mut clients {
        let (fields, _) = info(client, "INFO");
        assert_eq!(
            (
                fields["connected_clients"].as_str(),
                fields["proxy_workers"].as_str()
            ),
            ("20", "3")
        );
    }
}

fn family(front: &Front, name: &str) -> FamilyStats {
    let mut families = front.proxy.families().into_iter();
    families
        .find(|family| family.name == name)
        .expect("a family of Redis's")
}

#[test]
fn each_answered_request_is_in_its_familys_histogram() {
    let server = primary();
    let front = Front::start(|config| config.workers = 2);
    front.point_at(1, &server);
    let (mut one, mut other) = (front.client(), front.client());
    for client in [&mut one, &mut other] {
        client.say(&[
            "SET k v",
            "GET k",
            "HSET h f v",
            "GET k",
            "GET h",
            "PING",
            "GET k",
        ]);
        for _ in 0..7 {
            client.reply();
        }
        // Alone on its link.
        client.say(&["BLPOP nothing 0.01"]);
        client.reply();
    }
    let wanted = [
        ("string", 10),
        ("hash", 2),
        ("connection", 2),
        ("list", 2),
        ("stream", 0),
    ];
    let met = until(PATIENCE, "all in the histograms", || {
        let seen = wanted.map(|(name, _)| (name, family(&front, name).requests));
        if seen == wanted {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
    met.expect("in time");
    let list = family(&front, "list");
    assert!(list.total.as_millis() >= 20, "both waited 10 ms: {list:?}");
    assert_eq!(
        list.buckets
            .iter()
            .map(|bucket| bucket.requests)
            .sum::<u64>(),
        2
    );
    let short = list
        .buckets
        .iter()
        .filter(|bucket| bucket.below.as_millis() < 10);
    assert_eq!(short.map(|bucket| bucket.requests).sum::<u64>(), 0);
}

#[test]
fn bytes_are_counted_on_all_four_ways() {
    let server = primary();
    let front = Front::of(&server);
    let mut client = front.client();
    let value = "x".repeat(100_000);
    assert_eq!(client.ask(&format!("SET k {value}")), "+OK\r\n");
    assert_eq!(client.ask("GET k").len(), "$100000\r\n\r\n".len() + 100_000);
    let asked = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".len();
    front.until("the bytes", |stats| {
        stats.client_bytes_in == asked as u64 + 100_000
            && stats.client_bytes_out == 100_000 + "+OK\r\n$100000\r\n\r\n".len() as u64
            // And what the proxy itself asked.
            && stats.server_bytes_out >= stats.client_bytes_in
            && stats.server_bytes_in >= stats.client_bytes_out
    });
}

#[test]
fn who_waits_and_who_holds_a_link_shows() {
    let server = primary();
    let front = Front::start(|_| {});
    let (mut waiting, mut blocked) = (front.client(), front.client());
    waiting.say(&["SET k v"]);
    front.until("a client that waits", |stats| {
        stats.waiting == 1 && stats.waiting_bytes > 0
    });
    front.point_at(1, &server);
    assert_eq!(waiting.text(), "+OK\r\n");
    blocked.say(&["BLPOP q 0"]);
    front.until("a leased link", |stats| {
        stats.links_leased == 1
            && stats.links_shared >= 1
            && (stats.waiting, stats.waiting_bytes) == (0, 0)
    });
    drop(blocked);
    front.until("none", |stats| {
        stats.links_leased == 0 && stats.clients == 1
    });
    // When all have gone, that is seen too.
    drop(waiting);
    front.point_nowhere(2);
    front.until("nothing", |stats| {
        (stats.links_shared, stats.links_idle, stats.clients) == (0, 0, 0)
    });
}

fn states(front: &Front) -> Vec<(UpstreamRole, &'static str)> {
    let upstreams = front.proxy.upstreams();
    upstreams
        .iter()
        .map(|upstream| (upstream.role, upstream.state.name()))
        .collect()
}

fn until_states(front: &Front, wanted: &[(UpstreamRole, &'static str)]) {
    let met = until(PATIENCE, "these states", || {
        let seen = states(front);
        if seen == wanted {
            Ok(())
        } else {
            Err(format!("{seen:?} instead of {wanted:?}"))
        }
    });
    met.expect("in time");
}

#[test]
fn the_state_of_each_server_shows() {
    use UpstreamRole::{Primary, Replica};
    let (server, mut copy) = (primary(), fenced());
    let front = Front::start(|config| config.read_from = ReadFrom::PreferReplica);
    let topology = |term, server: &Redis, replicas: Vec<Upstream>| Topology {
        term,
        primary: Some(upstream(server)),
        replicas,
        ..Topology::default()
    };
    // A replica of nowhere, that is.
    front.publish(topology(1, &server, vec![upstream(&copy)]));
    until_states(&front, &[(Primary, "connected"), (Replica, "unfit")]);
    let upstreams = front.proxy.upstreams();
    assert_eq!(upstreams[0].name, upstream(&server).name);
    assert_eq!(
        (upstreams[1].port, upstreams[1].lag_bytes),
        (copy.address().port(), None)
    );
    assert!(matches!(&upstreams[1].state, UpstreamState::Unfit(why) if !why.is_empty()));
    let port = server.address().port().to_string();
    copy.command(&["REPLICAOF", "127.0.0.1", &port]).unwrap();
    let mut client = front.client();
    let met = until(PATIENCE, "the replica to serve", || {
        client.ask("GET k");
        let lag = front.proxy.upstreams()[1].lag_bytes;
        let seen = (states(&front), lag.is_some());
        let wanted = (vec![(Primary, "connected"), (Replica, "connected")], true);
        if seen == wanted {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
    met.expect("in time");
    copy.kill().unwrap();
    until_states(&front, &[(Primary, "connected"), (Replica, "unfit")]);
    // One that refuses writes is no primary, whatever the topology says.
    let refuses = fenced();
    front.publish(topology(2, &refuses, Vec::new()));
    let mut writer = front.client();
    writer.say(&["SET k v"]);
    until_states(&front, &[(Primary, "suspect")]);
    front.publish(topology(3, &copy, Vec::new()));
    until_states(&front, &[(Primary, "connecting")]);
    front.point_nowhere(4);
    until_states(&front, &[]);
}

#[test]
fn a_scraper_sees_requests_by_family() {
    let scraped = PrometheusBuilder::new()
        .install_recorder()
        .expect("the only recorder");
    let (server, other) = (primary(), primary());
    let front = Front::of(&server);
    let mut client = front.client();
    client.say(&["SET k v", "GET k", "GET k", "HSET h f v"]);
    for _ in 0..4 {
        client.reply();
    }
    let listen = front.proxy.local_addr();
    let holds = |lines: &[String]| {
        until(PATIENCE, "the figures", || {
            let text = scraped.render();
            match lines
                .iter()
                .find(|line| !text.lines().any(|other| other == *line))
            {
                None => Ok(()),
                Some(line) => Err(format!("no {line:?} in {text}")),
            }
        })
        .unwrap();
    };
    let name = |server: &Redis| upstream(server).name;
    let family = |figure: &str, rest: &str, value: u32| {
        format!(
            "bellwether_proxy_request_microseconds_{figure}{{listen=\"{listen}\",{rest}}} {value}"
        )
    };
    let of_upstream = |figure: &str, server: &Redis, value: u32| {
        let name = name(server);
        format!(
            "bellwether_proxy_upstream_{figure}{{listen=\"{listen}\",upstream=\"{name}\"}} {value}"
        )
    };
    holds(&[
        family("count", "family=\"string\"", 3),
        family("bucket", "family=\"string\",le=\"+Inf\"", 3),
        family("count", "family=\"hash\"", 1),
        format!("bellwether_proxy_requests_total{{listen=\"{listen}\"}} 4"),
        format!("bellwether_proxy_clients{{listen=\"{listen}\"}} 1"),
        "# TYPE bellwether_proxy_requests_total counter".to_owned(),
        "# HELP bellwether_proxy_clients Clients connected.".to_owned(),
        of_upstream("up", &server, 1),
        of_upstream("primary", &server, 1),
    ]);
    front.point_at(2, &other);
    holds(&[
        of_upstream("primary", &other, 1),
        of_upstream("primary", &server, 0),
    ]);
}
