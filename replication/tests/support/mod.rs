//! What the tests with real servers share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod group;

use std::{
    future::Future,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use bellwether_election::Term;
use bellwether_replication::{Address, Inspection, Instance, Passport, Redis, RedisOptions};
use bellwether_testkit::{self as testkit, Boot, Options, install};

/// How long something may take on an overloaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn start(options: Options) -> testkit::Redis {
    install::redis_server().expect("redis-server can be installed");
    testkit::Redis::start(options).expect("it starts")
}

/// A replica of nowhere.
pub(crate) fn fresh() -> testkit::Redis {
    start(Options::default())
}

pub(crate) fn with_args(args: &[&str]) -> testkit::Redis {
    start(Options {
        args: args.iter().map(ToString::to_string).collect(),
        ..Options::default()
    })
}

pub(crate) fn primary() -> testkit::Redis {
    start(Options {
        boot: Boot::Plain,
        ..Options::default()
    })
}

pub(crate) fn address(server: &testkit::Redis) -> Address {
    Address::new("127.0.0.1", server.port())
}

pub(crate) fn instance(server: &testkit::Redis) -> Redis {
    let mut options = RedisOptions::default();
    options.timeout = Some(PATIENCE);
    Redis::new(address(server), options)
}

/// The passport of this term in the tests' group.
pub(crate) fn passport(term: u64) -> Passport {
    Passport {
        group: "flock".into(),
        term: Term(term),
        mark: 0,
        blank: false,
    }
}

/// Looks again and again until there is a value.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = look().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Inspects until it says what is wanted.
pub(crate) async fn inspected(
    instance: &Redis,
    what: &str,
    wanted: impl Fn(&Inspection) -> bool,
) -> Inspection {
    eventually(what, || async {
        instance.inspect().await.ok().filter(|found| wanted(found))
    })
    .await
}

/// A client that speaks in lines and sees when it is cut.
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn of(server: &testkit::Redis) -> Self {
        let stream = TcpStream::connect(server.address()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self {
            reader: BufReader::new(stream),
        }
    }

    pub(crate) fn send(&mut self, command: &str) {
        let stream = self.reader.get_mut();
        write!(stream, "{command}\r\n").expect("it is connected");
    }

    /// The next line of a reply; `None` once the server has hung up.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("neither a reply nor an end: {error}"),
        }
    }

    pub(crate) fn ask(&mut self, command: &str) -> Option<String> {
        self.send(command);
        self.line()
    }
}
