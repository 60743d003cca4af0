//! Real redis-servers: started, killed, stopped, restarted, and gone in the end.

use std::path::PathBuf;
use std::time::Duration;

use bellwether_testkit::{Boot, Data, Options, Redis, Role, install, until};

const PATIENCE: Duration = Duration::from_secs(30);

fn plain() -> Redis {
    install::redis_server().expect("redis-server can be installed");
    Redis::start(Options {
        boot: Boot::Plain,
        ..Options::default()
    })
    .expect("it starts")
}

#[test]
fn boots_as_a_replica_of_nowhere() {
    install::redis_server().unwrap();
    let server = Redis::fresh().unwrap();
    let Role::Replica { host, port, .. } = server.role().unwrap() else {
        panic!("it booted writable");
    };
    assert_eq!((host.as_str(), port), ("127.0.0.1", 1));
    let refused = server.command(&["SET", "k", "v"]).unwrap_err();
    assert!(
        format!("{refused:#}").to_lowercase().contains("readonly"),
        "{refused:#}"
    );
}

#[test]
fn a_replica_follows_and_offsets_agree() {
    let primary = plain();
    let replica = Redis::fresh().unwrap();
    let port = primary.port().to_string();
    assert_eq!(
        replica.command(&["REPLICAOF", "127.0.0.1", &port]).unwrap(),
        "OK"
    );
    until(PATIENCE, "the replica's link", || {
        replica
            .role()
            .is_ok_and(|role| role.follows(primary.port()))
    })
    .unwrap();
    primary.command(&["SET", "k", "v"]).unwrap();
    until(PATIENCE, "the write on the replica", || {
        replica
            .command(&["GET", "k"])
            .is_ok_and(|value| value == "v")
    })
    .unwrap();
    let Role::Primary { offset, replicas } = primary.role().unwrap() else {
        panic!("not a primary");
    };
    assert!(offset > 0);
    assert_eq!(replicas, [format!("127.0.0.1:{}", replica.port())]);
    assert_eq!(
        primary.info("replication").unwrap()["connected_slaves"],
        "1"
    );
}

#[test]
fn restarts_on_its_port_with_and_without_its_data() {
    install::redis_server().unwrap();
    let mut server = Redis::start(Options {
        boot: Boot::Plain,
        persistent: true,
        args: vec!["--appendfsync".into(), "always".into()],
        ..Options::default()
    })
    .unwrap();
    let port = server.port();
    server.command(&["SET", "k", "v"]).unwrap();
    server.restart(Data::Keep, Boot::Plain).unwrap();
    until(PATIENCE, "its data to be loaded", || {
        server
            .command(&["GET", "k"])
            .is_ok_and(|value| value == "v")
    })
    .unwrap();
    server.restart(Data::Empty, Boot::ReplicaOfNowhere).unwrap();
    assert_eq!(server.command(&["GET", "k"]).unwrap(), "(nil)");
    assert!(!server.role().unwrap().is_primary());
    assert_eq!(server.port(), port);
}

#[test]
fn stopped_it_hangs_and_continued_it_answers() {
    let mut server = plain();
    let mut connection = server.connect_within(Duration::from_millis(200)).unwrap();
    server.stop().unwrap();
    let hung: redis::RedisResult<String> = redis::cmd("PING").query(&mut connection);
    assert!(hung.unwrap_err().is_timeout());
    server.cont().unwrap();
    assert_eq!(server.command(&["PING"]).unwrap(), "PONG");
    assert!(server.terminate().unwrap().success());
}

#[test]
fn a_password_is_asked_for() {
    install::redis_server().unwrap();
    let server = Redis::start(Options {
        password: Some("s3cret word".into()),
        ..Options::default()
    })
    .unwrap();
    assert_eq!(server.command(&["PING"]).unwrap(), "PONG");
    let url = format!("redis://{}", server.address());
    let mut stranger = redis::Client::open(url).unwrap().get_connection().unwrap();
    let refused: redis::RedisResult<String> = redis::cmd("PING").query(&mut stranger);
    assert_eq!(refused.unwrap_err().code(), Some("NOAUTH"));
}

#[test]
fn dropped_it_leaves_nothing() {
    let mut server = plain();
    server.stop().unwrap();
    let (pid, dir, address) = (server.pid(), server.dir().to_owned(), server.address());
    drop(server);
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists());
    assert!(!dir.exists());
    std::net::TcpStream::connect(address).unwrap_err();
}

#[test]
fn a_server_that_cannot_start_shows_its_log() {
    install::redis_server().unwrap();
    let error = Redis::start(Options {
        args: vec!["--no-such-option".into(), "1".into()],
        ..Options::default()
    })
    .unwrap_err();
    assert!(error.to_string().contains("no-such-option"), "{error:#}");
}
