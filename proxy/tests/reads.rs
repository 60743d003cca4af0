//! Which server answers reads while they are split, and what clients see when replicas fail.

mod support;

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use bellwether_proxy::{Balance, Credentials, Password, ProxyConfig, ReadFrom, Topology};
use bellwether_testkit::{Boot, Data, Options, Redis, install, until};
use support::pair::upstream;
use support::relay::Relay;
use support::{Client, Front, PATIENCE, command, primary, server};

/// A primary and two replicas. Each one tells who it is by the key `who`.
struct Flock {
    primary: Redis,
    replicas: [Redis; 2],
}

impl Flock {
    fn start() -> Self {
        Self::of(|boot| server(boot, &["--enable-debug-command", "yes"]))
    }

    fn of(start: impl Fn(Boot) -> Redis) -> Self {
        let primary = start(Boot::Plain);
        let replicas = [Boot::ReplicaOfNowhere; 2].map(start);
        for replica in &replicas {
            follow(replica, &primary);
        }
        let flock = Self { primary, replicas };
        flock.tell_apart();
        flock
    }

    /// Gives each server a value of its own, in two databases.
    fn tell_apart(&self) {
        for database in ["0", "3"] {
            set(&self.primary, database, "who", "primary");
        }
        for (replica, name) in self.replicas.iter().zip(["r0", "r1"]) {
            in_sync(replica, &self.primary);
            call_it(replica, name);
        }
    }

    fn topology(&self, term: u64, replicas: &[&Redis]) -> Topology {
        Topology {
            term,
            primary: Some(upstream(&self.primary)),
            replicas: replicas.iter().map(|replica| upstream(replica)).collect(),
            ..Topology::default()
        }
    }

    fn publish_to(&self, front: &Front) {
        let [a, b] = &self.replicas;
        front.publish(self.topology(1, &[a, b]));
    }

    /// A proxy that reads from both replicas already.
    fn front(&self, change: impl FnOnce(&mut ProxyConfig)) -> Front {
        let front = Front::start(|config| {
            config.read_from = ReadFrom::Replicas;
            config.probe_interval = Duration::from_millis(100);
            // Nobody is taken to hang because the machine is slow.
            config.connect_timeout = PATIENCE;
            change(config);
        });
        self.publish_to(&front);
        front
    }
}

fn follow(replica: &Redis, primary: &Redis) {
    let port = primary.port();
    let words = ["REPLICAOF", "127.0.0.1", &port.to_string()];
    replica.command(&words).expect("a replica");
    let follows = || replica.role().is_ok_and(|role| role.follows(port));
    until(PATIENCE, "the replica to be in sync", follows).expect("in time");
}

/// Waits until the replica has all that the primary has now.
fn in_sync(replica: &Redis, primary: &Redis) {
    let equal = || {
        let (primary, replica) = (primary.info("replication"), replica.info("replication"));
        primary.is_ok_and(|primary| {
            replica
                .is_ok_and(|replica| primary["master_repl_offset"] == replica["slave_repl_offset"])
        })
    };
    until(PATIENCE, "equal offsets", equal).expect("in time");
}

/// Writes to the replica itself who it is.
fn call_it(replica: &Redis, name: &str) {
    let writable = ["CONFIG", "SET", "replica-read-only", "no"];
    replica.command(&writable).expect("writable");
    for database in ["0", "3"] {
        set(replica, database, "who", name);
    }
}

fn set(server: &Redis, database: &str, key: &str, value: &str) {
    let mut connection = server.connect().expect("a connection");
    let mut pipe = redis::pipe();
    pipe.cmd("SELECT")
        .arg(database)
        .cmd("SET")
        .arg(key)
        .arg(value);
    let _: redis::Value = pipe.query(&mut connection).expect("set");
}

impl Client {
    fn who(&mut self) -> String {
        let reply = self.ask("GET who");
        assert!(reply.starts_with('$'), "{reply}");
        reply.lines().nth(1).expect("a value").to_owned()
    }

    /// Who answered so many reads.
    fn answerers(&mut self, reads: usize) -> BTreeSet<String> {
        (0..reads).map(|_| self.who()).collect()
    }

    /// Reads until this one has answered: the next turn is the other's.
    fn until_just_answered_by(&mut self, name: &str) {
        let answered = || self.who() == name;
        until(PATIENCE, &format!("an answer of {name}"), answered).expect("in time");
    }

    /// Waits until just these answer.
    fn until_answered_by(&mut self, names: &[&str]) {
        let names: BTreeSet<String> = names.iter().map(ToString::to_string).collect();
        let answered = || {
            let seen = self.answerers(20);
            if seen == names {
                Ok(())
            } else {
                Err(format!("answered by {seen:?}"))
            }
        };
        until(PATIENCE, &format!("answers of {names:?}"), answered).expect("in time");
    }
}

#[test]
fn reads_go_to_each_replica_in_its_turn() {
    let flock = Flock::start();
    let front = flock.front(|_| {});
    let mut client = front.client();
    client.until_answered_by(&["r0", "r1"]);
    let singly: Vec<_> = (0..50).map(|_| client.who()).collect();
    assert!(singly.windows(2).all(|two| two[0] != two[1]), "{singly:?}");
    let mut batches = Vec::new();
    for _ in 0..20 {
        client.send(&command(&[b"GET", b"who"]).repeat(30));
        let batch: BTreeSet<_> = (0..30).map(|_| client.text()).collect();
        assert_eq!(batch.len(), 1, "one server answers a batch: {batch:?}");
        batches.extend(batch);
    }
    assert!(
        batches.windows(2).all(|two| two[0] != two[1]),
        "{batches:?}"
    );
    // Also behind a read, which is answered by a replica.
    for _ in 0..4 {
        let both = [command(&[b"GET", b"who"]), command(&[b"GETEX", b"who"])];
        client.send(&both.concat());
        assert!(client.text().starts_with("$2\r\nr"));
        assert_eq!(client.text(), "$7\r\nprimary\r\n");
    }
    // And what is not known to only read, or answers for the server itself, to the primary.
    for _ in 0..4 {
        client.send(&command(&[
            b"EVAL",
            b"return redis.call('get', 'who')",
            b"0",
        ]));
        assert_eq!(client.text(), "$7\r\nprimary\r\n");
        assert_eq!(client.ask("GETEX who"), "$7\r\nprimary\r\n");
        assert!(client.ask("ROLE").contains("master"));
        assert!(
            client
                .ask("nonsense who")
                .starts_with("-ERR unknown command")
        );
        assert_eq!(client.ask("PFADD p x")[..1], *":");
        assert_eq!(client.ask("PFCOUNT p"), ":1\r\n");
    }
}

#[test]
fn with_the_primary_nothing_is_split() {
    let flock = Flock::start();
    let front = flock.front(|config| config.read_from = ReadFrom::Primary);
    let mut client = front.client();
    client.until_answered_by(&["primary"]);
    for replica in &flock.replicas {
        let commands = replica.info("commandstats").unwrap();
        assert!(!commands.contains_key("cmdstat_get"), "{commands:?}");
    }
}

#[test]
fn the_replica_that_owes_the_fewest_answers_is_asked() {
    let mut flock = Flock::start();
    let front = flock.front(|config| config.balance = Balance::LeastPending);
    let (mut waits, mut client) = (front.client(), front.client());
    client.until_answered_by(&["r0", "r1"]);
    // As long as both owe nothing, they take turns.
    client.until_just_answered_by("r1");
    flock.replicas[0].stop().unwrap();
    let before = front.stats().requests;
    waits.say(&["GET who"]);
    front.until("it to have asked", |stats| stats.requests > before);
    assert_eq!(client.answerers(20), BTreeSet::from(["r1".to_owned()]));
    flock.replicas[0].cont().unwrap();
    assert_eq!(waits.text(), "$2\r\nr0\r\n");
    client.until_answered_by(&["r0", "r1"]);
}

/// Trap 5. Replicas that hang have nothing of what is written, and would be waited for.
#[test]
fn a_read_does_not_overtake_the_write_before_it() {
    let mut flock = Flock::start();
    let front = flock.front(|config| config.probe_interval = PATIENCE);
    let mut client = front.client();
    client.until_answered_by(&["r0", "r1"]);
    for replica in &mut flock.replicas {
        replica.stop().unwrap();
    }
    for round in 1..=50 {
        let lines = [
            &format!("SET k {round}"),
            "GET k",
            &format!("XADD s {round}-1 f v"),
            &format!("XREAD COUNT 1 STREAMS s {round}-0"),
        ];
        // In one write, so that none is answered before the others are there.
        let pipelined: Vec<u8> = lines
            .iter()
            .flat_map(|line| command(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>()))
            .collect();
        client.send(&pipelined);
        let value = format!("${}\r\n{round}\r\n", round.to_string().len());
        assert_eq!(client.text(), "+OK\r\n");
        assert_eq!(client.text(), value);
        assert!(client.text().contains(&format!("{round}-1")));
        assert!(
            client.text().contains(&format!("{round}-1")),
            "just written"
        );
    }
    for replica in &mut flock.replicas {
        replica.cont().unwrap();
    }
}

/// Trap 7, under load: whoever fails, and however, no read does.
#[test]
fn replicas_that_are_killed_are_not_noticed() {
    let mut flock = Flock::start();
    let front = flock.front(|_| {});
    let mut client = front.client();
    client.until_answered_by(&["r0", "r1"]);
    let readers: Vec<_> = (0..8).map(|_| reader(front.client(), 3000)).collect();
    flock.replicas[0].kill().unwrap();
    client.until_answered_by(&["r1"]);
    flock.replicas[1].kill().unwrap();
    client.until_answered_by(&["primary"]);
    for reader in readers {
        reader.join().expect("only answers");
    }
    flock.replicas[0]
        .restart(Data::Empty, Boot::ReplicaOfNowhere)
        .unwrap();
    follow(&flock.replicas[0], &flock.primary);
    in_sync(&flock.replicas[0], &flock.primary);
    call_it(&flock.replicas[0], "r0");
    client.until_answered_by(&["r0"]);
}

/// Reads, in batches and singly, and takes nothing but values.
fn reader(mut client: Client, reads: usize) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut left = reads;
        while left > 0 {
            let batch = 1 + left % 7;
            client.send(&command(&[b"GET", b"who"]).repeat(batch));
            for _ in 0..batch {
                let reply = client.text();
                assert!(reply.starts_with('$'), "{reply}");
            }
            left = left.saturating_sub(batch);
        }
    })
}

#[test]
fn a_replica_that_hangs_is_left_and_its_reads_are_answered_by_others() {
    let mut flock = Flock::start();
    let front = flock.front(|config| {
        config.connect_timeout = Duration::from_secs(1);
        config.hold = Duration::from_secs(3);
    });
    let mut clients: Vec<_> = (0..6).map(|_| front.client()).collect();
    clients[0].until_answered_by(&["r0", "r1"]);
    flock.replicas[0].stop().unwrap();
    for client in &mut clients {
        client.send(&command(&[b"GET", b"who"]).repeat(5));
    }
    for client in &mut clients {
        for _ in 0..5 {
            let reply = client.text();
            assert!(
                ["$2\r\nr1\r\n", "$7\r\nprimary\r\n"].contains(&&*reply),
                "{reply}"
            );
        }
    }
    let others = clients[0].answerers(20);
    assert!(!others.contains("r0"), "{others:?}");
    flock.replicas[0].cont().unwrap();
    clients[0].until_answered_by(&["r0", "r1"]);
}

#[test]
fn a_replica_that_loads_refuses_and_nobody_sees_it() {
    let flock = Flock::start();
    let [loads, _] = &flock.replicas;
    for n in 0..400 {
        set(loads, "0", &format!("local:{n}"), "v");
    }
    // Two seconds, in which it answers.
    for words in [
        ["CONFIG", "SET", "key-load-delay", "5000"],
        [
            "CONFIG",
            "SET",
            "loading-process-events-interval-bytes",
            "1024",
        ],
    ] {
        loads.command(&words).unwrap();
    }
    let front = flock.front(|_| {});
    let mut client = front.client();
    client.until_answered_by(&["r0", "r1"]);
    let before = front.stats().replayed;
    thread::scope(|scope| {
        let reload = scope.spawn(|| loads.command(&["DEBUG", "RELOAD"]));
        let refused = || {
            client.answerers(20);
            front.stats().replayed > before
        };
        until(PATIENCE, "a read to be refused", refused).expect("in time");
        reload.join().unwrap().expect("reloaded");
    });
    client.until_answered_by(&["r0", "r1"]);
}

#[test]
fn a_replica_without_its_primary_gets_no_reads() {
    let flock = Flock::start();
    let front = flock.front(|_| {});
    let mut client = front.client();
    client.until_answered_by(&["r0", "r1"]);
    let [cut, strays] = &flock.replicas;
    cut.command(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
    client.until_answered_by(&["r1"]);
    // Well linked, but to another one.
    let other = primary();
    follow(strays, &other);
    call_it(strays, "r1");
    client.until_answered_by(&["primary"]);
    assert_eq!(client.answerers(100).len(), 1);
    follow(cut, &flock.primary);
    in_sync(cut, &flock.primary);
    call_it(cut, "r0");
    client.until_answered_by(&["r0"]);
}

#[test]
fn a_replica_that_lags_gets_no_reads() {
    let flock = Flock::start();
    let wire = Relay::to(flock.primary.address());
    let [lags, _] = &flock.replicas;
    let port = wire.address().port();
    lags.command(&["REPLICAOF", "127.0.0.1", &port.to_string()])
        .unwrap();
    let follows = || lags.role().is_ok_and(|role| role.follows(port));
    until(PATIENCE, "the replica to follow over the wire", follows).expect("in time");
    in_sync(lags, &flock.primary);
    call_it(lags, "r0");
    let front = flock.front(|config| config.max_lag_bytes = Some(10_000));
    let mut client = front.client();
    client.until_answered_by(&["r0", "r1"]);
    wire.mute();
    let write = command(&[b"SET", b"large", &[b'x'; 1000]]);
    client.send(&write.repeat(5));
    for _ in 0..5 {
        assert_eq!(client.text(), "+OK\r\n");
    }
    client.until_answered_by(&["r0", "r1"]);
    client.send(&write.repeat(10));
    for _ in 0..10 {
        assert_eq!(client.text(), "+OK\r\n");
    }
    client.until_answered_by(&["r1"]);
    assert_eq!(
        lags.info("replication").unwrap()["master_link_status"],
        "up"
    );
}

#[test]
fn replicas_come_and_go_without_dropping_a_client() {
    let flock = Flock::start();
    let [a, b] = &flock.replicas;
    let front = flock.front(|config| config.read_from = ReadFrom::PreferReplica);
    let mut client = front.client();
    client.until_answered_by(&["r0", "r1"]);
    let readers: Vec<_> = (0..4).map(|_| reader(front.client(), 3000)).collect();
    for _ in 0..3 {
        for (replicas, names) in [
            (&[b][..], &["r1"][..]),
            (&[a, b], &["r0", "r1"]),
            (&[a], &["r0"]),
            (&[], &["primary"]),
        ] {
            front.publish(flock.topology(1, replicas));
            client.until_answered_by(names);
        }
    }
    // Without a primary, replicas answer on, and writes wait.
    let topology = Topology {
        primary: None,
        ..flock.topology(2, &[a, b])
    };
    front.publish(topology);
    client.until_answered_by(&["r0", "r1"]);
    let mut writer = front.client();
    writer.say(&["SET k v", "GET k"]);
    front.until("the write to wait", |stats| stats.waiting > 0);
    client.until_answered_by(&["r0", "r1"]);
    front.publish(flock.topology(3, &[a, b]));
    assert_eq!(writer.text(), "+OK\r\n");
    assert_eq!(writer.text(), "$1\r\nv\r\n");
    for reader in readers {
        reader.join().expect("only answers");
    }
}

/// It may answer what it was asked, but not keep its clients for ever.
#[test]
fn a_read_of_a_replica_that_left_is_answered_by_others() {
    let mut flock = Flock::start();
    let front = flock.front(|config| config.hold = Duration::from_secs(2));
    let mut client = front.client();
    client.until_answered_by(&["r0", "r1"]);
    client.until_just_answered_by("r1");
    flock.replicas[0].stop().unwrap();
    let before = front.stats().requests;
    client.say(&["GET who"]);
    front.until("it to have asked", |stats| stats.requests > before);
    front.publish(flock.topology(1, &[&flock.replicas[1]]));
    assert_eq!(client.text(), "$2\r\nr1\r\n");
}

#[test]
fn reads_go_on_through_a_failover() {
    let mut flock = Flock::start();
    let front = flock.front(|_| {});
    let mut client = front.client();
    client.until_answered_by(&["r0", "r1"]);
    let readers: Vec<_> = (0..4).map(|_| reader(front.client(), 3000)).collect();
    flock.primary.kill().unwrap();
    let [next, other] = &flock.replicas;
    next.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    front.publish(Topology {
        term: 2,
        primary: Some(upstream(next)),
        replicas: vec![upstream(other)],
        ..Topology::default()
    });
    // The other one does not follow it yet.
    client.until_answered_by(&["r0"]);
    follow(other, next);
    in_sync(other, next);
    call_it(other, "r1");
    client.until_answered_by(&["r1"]);
    for reader in readers {
        reader.join().expect("only answers");
    }
}

#[test]
fn users_databases_and_protocols_are_kept_apart() {
    let flock = Flock::start();
    let [a, b] = &flock.replicas;
    for server in [&flock.primary, a, b] {
        server
            .command(&["ACL", "SETUSER", "ann", "on", ">pw", "~*", "+@all"])
            .unwrap();
        server
            .command(&["ACL", "SETUSER", "default", "resetkeys", "~who"])
            .unwrap();
    }
    flock
        .primary
        .command(&["ACL", "SETUSER", "bob", "on", ">pw", "~*", "+@all"])
        .unwrap();
    let front = flock.front(|_| {});
    let (mut ann, mut bob, mut nobody) = (front.client(), front.client(), front.client());
    assert_eq!(ann.ask("AUTH ann pw"), "+OK\r\n");
    assert_eq!(bob.ask("AUTH bob pw"), "+OK\r\n");
    nobody.until_answered_by(&["r0", "r1"]);
    ann.until_answered_by(&["r0", "r1"]);
    assert_eq!(ann.ask("GET other"), "$-1\r\n");
    assert!(nobody.ask("GET other").starts_with("-NOPERM"));
    // The replicas do not know him; the others go on there.
    bob.until_answered_by(&["primary"]);
    nobody.until_answered_by(&["r0", "r1"]);
    for line in ["SELECT 3", "GET who"] {
        ann.say(&[line]);
        assert!(["+OK\r\n", "$2\r\nr0\r\n", "$2\r\nr1\r\n"].contains(&&*ann.text()));
    }
    ann.until_answered_by(&["r0", "r1"]);
    assert_eq!(ann.ask("DBSIZE"), ":1\r\n");
    assert!(ann.ask("HELLO 3").starts_with('%'));
    ann.until_answered_by(&["r0", "r1"]);
    assert_eq!(ann.ask("GET other"), "_\r\n");
    assert_eq!(nobody.ask("GET who").len(), "$2\r\nr0\r\n".len());
}

fn locked(boot: Boot) -> Redis {
    install::redis_server().expect("redis-server");
    let options = Options {
        boot,
        password: Some("secret".into()),
        ..Options::default()
    };
    Redis::start(options).expect("a redis-server")
}

/// Who may not ask how a replica is, hears it from its answers to reads.
#[test]
fn servers_that_do_not_tell_are_judged_by_their_answers() {
    let mut flock = Flock::of(locked);
    let front = flock.front(|_| {});
    let mut client = front.client();
    assert!(client.ask("GET who").starts_with("-NOAUTH"));
    assert_eq!(client.ask("AUTH secret"), "+OK\r\n");
    client.until_answered_by(&["r0", "r1"]);
    flock.replicas[0].kill().unwrap();
    client.until_answered_by(&["r1"]);
}

#[test]
fn the_proxy_asks_with_its_own_credentials() {
    let flock = Flock::of(locked);
    let front = flock.front(|config| {
        config.upstream_credentials = Some(Credentials {
            user: None,
            password: Password("secret".into()),
        });
    });
    let mut client = front.client();
    client.until_answered_by(&["r0", "r1"]);
    flock.replicas[0]
        .command(&["REPLICAOF", "127.0.0.1", "1"])
        .unwrap();
    client.until_answered_by(&["r1"]);
}

/// The members that each server has in its set `s`, so that it is seen who went on with a scan.
fn fill(server: &Redis, name: &str, members: usize) {
    let members: Vec<_> = (0..members).map(|n| format!("{name}:{n}")).collect();
    let mut words = vec!["SADD", "s"];
    words.extend(members.iter().map(String::as_str));
    server.command(&["DEL", "s"]).expect("empty");
    server.command(&words).expect("filled");
}

/// One page: the next cursor, and what was found.
fn page(client: &mut Client, line: &str) -> (String, Vec<String>) {
    client.say(&[line]);
    next_page(client)
}

fn next_page(client: &mut Client) -> (String, Vec<String>) {
    let reply = client.text();
    assert!(reply.starts_with("*2\r\n"), "{reply}");
    let words = reply.lines().filter(|word| !word.starts_with(['*', '$']));
    let mut words = words.map(str::to_owned);
    (words.next().expect("a cursor"), words.collect())
}

/// Trap 4.
#[test]
fn a_scan_goes_on_where_it_began() {
    let flock = Flock::start();
    let [a, b] = &flock.replicas;
    fill(&flock.primary, "primary", 1000);
    in_sync(a, &flock.primary);
    in_sync(b, &flock.primary);
    fill(a, "r0", 1000);
    fill(b, "r1", 1000);
    let front = flock.front(|_| {});
    let mut clients = [front.client(), front.client()];
    clients[0].until_answered_by(&["r0", "r1"]);
    for (begins, other) in [("r0", "r1"), ("r1", "r0"), ("r0", "r1")] {
        clients[0].until_just_answered_by(other);
        let (mut cursor, mut found) = ("0".to_owned(), BTreeSet::new());
        for client in [0, 1, 1].into_iter().cycle() {
            let line = format!("SSCAN s {cursor} COUNT 50");
            let (next, members) = page(&mut clients[client], &line);
            found.extend(members);
            assert!(next.parse::<u64>().unwrap() < 1 << 62);
            // Others move the turn on.
            clients[0].who();
            cursor = next;
            if cursor == "0" {
                break;
            }
        }
        let one = |member: &String| member.starts_with(begins);
        assert!(found.iter().all(one) && found.len() == 1000, "{found:?}");
    }
    // What has no mark is the primary's; what is no cursor is refused by it.
    let (_, members) = page(&mut clients[0], "SSCAN s 1 COUNT 50");
    assert!(members.iter().all(|member| member.starts_with("primary")));
    assert_eq!(clients[0].ask("SSCAN s x"), "-ERR invalid cursor\r\n");
    assert!(clients[0].ask("SCAN").starts_with("-ERR wrong number"));
    assert_eq!(page(&mut clients[0], "HSCAN none 0"), ("0".into(), vec![]));
}

#[test]
fn a_scan_begins_again_when_its_server_is_gone() {
    let mut flock = Flock::start();
    let [a, b] = &flock.replicas;
    fill(&flock.primary, "primary", 1000);
    in_sync(a, &flock.primary);
    in_sync(b, &flock.primary);
    for (replica, name) in [(a, "r0"), (b, "r1")] {
        fill(replica, name, 1000);
    }
    let front = flock.front(|_| {});
    let mut client = front.client();
    client.until_answered_by(&["r0", "r1"]);
    client.until_just_answered_by("r1");
    let (mut cursor, members) = page(&mut client, "SSCAN s 0 COUNT 50");
    assert!(members[0].starts_with("r0"));
    // The next page is asked for, and its server dies before it answers.
    let [a, b] = &mut flock.replicas;
    a.stop().unwrap();
    b.kill().unwrap();
    let before = front.stats().requests;
    client.say(&[&format!("SSCAN s {cursor} COUNT 50")]);
    front.until("it to have asked", |stats| stats.requests > before);
    a.kill().unwrap();
    let (next, members) = next_page(&mut client);
    cursor = next;
    let mut found: BTreeSet<_> = members.into_iter().collect();
    while cursor != "0" {
        let (next, members) = page(&mut client, &format!("SSCAN s {cursor} COUNT 50"));
        found.extend(members);
        cursor = next;
    }
    assert!(found.iter().all(|member| member.starts_with("primary:")));
    assert_eq!(found.len(), 1000, "all that the primary has");
}

/// A page of megabytes is passed on as it comes.
#[test]
fn a_page_may_be_large() {
    let flock = Flock::start();
    let [a, b] = &flock.replicas;
    let mut connection = flock.primary.connect().unwrap();
    let mut pipe = redis::pipe();
    for n in 0..3000 {
        pipe.cmd("HSET")
            .arg("h")
            .arg(format!("field:{n}"))
            .arg("x".repeat(1000));
    }
    let _: redis::Value = pipe.query(&mut connection).unwrap();
    in_sync(a, &flock.primary);
    in_sync(b, &flock.primary);
    let front = flock.front(|_| {});
    let mut client = front.client();
    client.until_answered_by(&["r0", "r1"]);
    let (mut cursor, mut found) = ("0".to_owned(), BTreeSet::new());
    loop {
        let (next, words) = page(&mut client, &format!("HSCAN h {cursor} COUNT 2000"));
        found.extend(words.into_iter().step_by(2));
        assert_eq!(client.ask("GET none"), "$-1\r\n");
        cursor = next;
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found.len(), 3000);
}
