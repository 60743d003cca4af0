//! A proxy in front of real servers, and a client that sees every byte.
#![allow(dead_code, reason = "each test file uses a part of this")]

pub(crate) mod pair;
pub(crate) mod relay;
pub(crate) mod wire;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bellwether_proxy::{Proxy, ProxyConfig, Stats, Topology, Upstream};
use bellwether_resp::{Limits, Scanner};
use bellwether_testkit::{Boot, Options, Redis, install, until};
use tokio::sync::watch;

/// How long anything may take on an overloaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A proxy, and the topology that it was told.
pub(crate) struct Front {
    pub(crate) proxy: Proxy,
    publish: watch::Sender<Arc<Topology>>,
}

impl Front {
    /// A proxy that knows of no primary yet.
    pub(crate) fn start(change: impl FnOnce(&mut ProxyConfig)) -> Self {
        let mut config = ProxyConfig::new(([127, 0, 0, 1], 0).into());
        config.hold = PATIENCE;
        change(&mut config);
        let (publish, topologies) = watch::channel(Arc::default());
        let proxy = Proxy::start(config, topologies).expect("a proxy on a free port");
        Self { proxy, publish }
    }

    /// A proxy in front of this primary.
    pub(crate) fn of(primary: &Redis) -> Self {
        let front = Self::start(|_| {});
        front.point_at(1, primary);
        front
    }

    pub(crate) fn point_at(&self, term: u64, primary: &Redis) {
        self.point_at_address(term, primary.address());
    }

    pub(crate) fn point_at_address(&self, term: u64, address: SocketAddr) {
        let primary = Some(Upstream {
            name: format!("server {}", address.port()),
            host: address.ip().to_string(),
            port: address.port(),
        });
        self.publish(Topology {
            term,
            primary,
            ..Topology::default()
        });
    }

    pub(crate) fn point_nowhere(&self, term: u64) {
        self.publish(Topology {
            term,
            ..Topology::default()
        });
    }

    pub(crate) fn publish(&self, topology: Topology) {
        self.publish.send_replace(Arc::new(topology));
    }

    pub(crate) fn client(&self) -> Client {
        Client::to(self.proxy.local_addr())
    }

    pub(crate) fn stats(&self) -> Stats {
        self.proxy.stats()
    }

    /// Waits until the proxy's counters are as wanted.
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&Stats) -> bool) {
        let met = until(PATIENCE, what, || {
            let stats = self.stats();
            if wanted(&stats) {
                Ok(())
            } else {
                Err(format!("{stats:?}"))
            }
        });
        met.expect("in time");
    }

    /// Waits until so many clients, with so many bytes of requests in all, wait in the proxy for a
    /// primary or a connection to it.
    pub(crate) fn until_waiting(&self, clients: u64, bytes: usize) {
        self.until("requests to wait", |stats| {
            (stats.waiting, stats.waiting_bytes) == (clients, bytes as u64)
        });
    }

    pub(crate) fn shutdown(self, within: Duration) {
        block_on(self.proxy.shutdown(within));
    }
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}

/// A writable server.
pub(crate) fn primary() -> Redis {
    server(Boot::Plain, &[])
}

/// A server that refuses writes.
pub(crate) fn fenced() -> Redis {
    server(Boot::ReplicaOfNowhere, &[])
}

pub(crate) fn server(boot: Boot, args: &[&str]) -> Redis {
    install::redis_server().expect("redis-server");
    let args = args.iter().map(ToString::to_string).collect();
    Redis::start(Options {
        boot,
        args,
        ..Options::default()
    })
    .expect("a redis-server")
}

/// A client that sends and sees bytes.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    scanner: Scanner,
    unread: Vec<u8>,
}

impl Client {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection to the proxy");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self {
            stream,
            scanner: Scanner::new(Limits::default()),
            unread: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the proxy takes bytes");
    }

    /// Sends commands written as lines, all at once.
    pub(crate) fn say(&mut self, lines: &[&str]) {
        self.send(&batch(lines));
    }

    /// The bytes of the next reply.
    pub(crate) fn reply(&mut self) -> Vec<u8> {
        self.next().expect("the connection stays open")
    }

    /// The bytes of the next reply, or `None` if the proxy closed the connection before it.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(len) = self.scanner.scan(&self.unread).expect("a reply") {
                let rest = self.unread.split_off(len);
                return Some(std::mem::replace(&mut self.unread, rest));
            }
            let mut buffer = [0; 64 << 10];
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    assert!(
                        self.unread.is_empty(),
                        "cut: {}",
                        self.unread.escape_ascii()
                    );
                    return None;
                }
                Ok(n) => self.unread.extend(&buffer[..n]),
                // Closed while something of ours was on its way.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no reply: {error}"),
            }
        }
    }

    /// Says one line and returns the reply as text.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.say(&[line]);
        self.text()
    }

    /// The next reply as text.
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.reply()).into_owned()
    }

    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("half closed");
    }
}

/// Commands written as lines, in the form of Redis's protocol.
pub(crate) fn batch(lines: &[&str]) -> Vec<u8> {
    let words = |line: &str| command(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    lines.iter().flat_map(|line| words(line)).collect()
}

/// A command in the form of Redis's protocol.
pub(crate) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend(format!("${}\r\n", word.len()).into_bytes());
        out.extend(*word);
        out.extend(b"\r\n");
    }
    out
}
