//! The engine driven by arbitrary bytes: for the fuzzer, and for a few random inputs in the tests.
//!
//! The input is a program. The first byte says whether servers and clients are honest. If they are,
//! each request carries a number, each reply the number of its request, and every client must get
//! its own in its order. If not, whatever the input holds is sent in both directions. Either way
//! the engine must not panic, must settle, and must keep its bounds.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether_resp::{Limits, RequestScanner, Scanner};

use super::{Action, ClientId, Conn, Engine, LinkId, Settings, arguments};
use crate::commands::Commands;
use crate::config::{Orphans, ProxyConfig, ReadFrom};
use crate::topology::{Topology, Upstream};

const KIB: usize = 1 << 10;
const CLIENTS: usize = 8;
const SESSION: usize = 128 * KIB;
const OUTPUT: usize = 1 << 20;
const READ: usize = 64 * KIB;

/// Runs the engine as `input` says.
///
/// # Panics
/// If the engine does not keep what it promises.
#[cfg_attr(
    not(fuzzing),
    expect(unreachable_pub, reason = "only the fuzzer reaches it from outside")
)]
pub fn run(input: &[u8]) {
    let mut input = Input(input);
    let mut world = World::new(input.byte());
    while !input.0.is_empty() {
        world.step(&mut input);
        world.settle();
    }
    world.end();
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n.max(1)
    }

    fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// What is the right answer, unless it is an error.
enum Due {
    Number(u32),
    Ok,
}

struct Client {
    id: ClientId,
    due: VecDeque<Due>,
    got: Vec<u8>,
    scanner: Scanner,
    lives: bool,
}

#[derive(Default)]
struct Wire {
    to_server: Vec<u8>,
    to_proxy: Vec<u8>,
}

struct World {
    engine: Engine,
    now: Instant,
    honest: bool,
    refuses: bool,
    clients: Vec<Client>,
    connecting: Vec<LinkId>,
    wires: BTreeMap<LinkId, Wire>,
    term: u64,
    next: u32,
}

impl World {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do to begin with"
    )]
    fn new(flags: u8) -> Self {
        let config = ProxyConfig::new(([127, 0, 0, 1], 0).into());
        let settings = Settings {
            session_buffer: SESSION,
            replay_buffer: 256 * KIB,
            worker_buffer: 4 * SESSION,
            output_buffer: OUTPUT,
            pool_max: 3,
            pool_idle: 2,
            pool_warm: 1,
            read_from: match flags & 2 {
                0 => ReadFrom::Primary,
                _ => ReadFrom::PreferReplica,
            },
            orphans: match flags & 8 {
                0 => Orphans::Hold,
                _ => Orphans::Close,
            },
            password: (flags & 4 != 0 && flags & 1 == 0).then(|| "secret".into()),
            ..Settings::from(&config)
        };
        let now = Instant::now();
        let commands = Commands::new(&BTreeMap::new()).expect("no renames");
        let engine = Engine::new(
            now,
            settings,
            Arc::new(commands),
            Arc::default(),
            Arc::default(),
        );
        Self {
            engine,
            now,
            honest: flags & 1 != 0,
            refuses: false,
            clients: Vec::new(),
            connecting: Vec::new(),
            wires: BTreeMap::new(),
            term: 0,
            next: 0,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0..4 => self.client_sends(input),
            4..7 => self.server_works(input),
            7..9 => self.server_delivers(input),
            9 => self.join(),
            10 => self.connect(input),
            11 => self.topology(input),
            12 => self.time_passes(input),
            13 => self.break_something(input),
            14 => self.refuses = !self.refuses,
            _ => self.flush(input),
        }
    }

    fn join(&mut self) {
        if self.clients.iter().filter(|client| client.lives).count() >= CLIENTS {
            return;
        }
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        self.clients.push(Client {
            id: self.engine.client_accepted(self.now, address, address),
            due: VecDeque::new(),
            got: Vec::new(),
            scanner: Scanner::new(Limits::default()),
            lives: true,
        });
    }

    fn client_sends(&mut self, input: &mut Input<'_>) {
        if self.clients.is_empty() {
            self.join();
        }
        let at = input.below(self.clients.len());
        let conn = Conn::Client(self.clients[at].id);
        if !self.clients[at].lives || !self.engine.may_read(conn) {
            return;
        }
        let bytes = match self.honest {
            true => self.request(at, input),
            false => {
                let n = input.below(256);
                input.bytes(n).to_vec()
            }
        };
        for piece in bytes.chunks(READ) {
            self.engine.received(self.now, conn, piece);
        }
    }

    /// A few requests, each with a number of its own.
    fn request(&mut self, at: usize, input: &mut Input<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..=input.below(8) {
            self.next += 1;
            let number = self.next.to_string();
            let filler = match input.byte() {
                n @ 250.. => vec![b'x'; usize::from(n - 249) * 20 * KIB],
                _ => vec![b'x'],
            };
            let database = (input.byte() % 3).to_string();
            let name: &[u8] = match input.byte() % 8 {
                0 | 1 => b"GET",
                2 | 3 => b"SET",
                4 => b"EVAL",
                5 => b"BLPOP",
                6 => b"PUBLISH",
                _ => b"SELECT",
            };
            let words: &[&[u8]] = match name {
                b"GET" => &[name, number.as_bytes()],
                b"EVAL" | b"BLPOP" => &[name, number.as_bytes(), b"0"],
                b"SELECT" => &[name, database.as_bytes()],
                _ => &[name, number.as_bytes(), &filler],
            };
            bytes.extend_from_slice(&super::profile::request(words));
            self.clients[at].due.push_back(match name {
                b"SELECT" => Due::Ok,
                _ => Due::Number(self.next),
            });
        }
        bytes
    }

    fn any_wire(&self, input: &mut Input<'_>) -> Option<LinkId> {
        let at = input.below(self.wires.len());
        self.wires.keys().nth(at).copied()
    }

    fn server_works(&mut self, input: &mut Input<'_>) {
        let Some(id) = self.any_wire(input) else {
            return;
        };
        let wire = self.wires.get_mut(&id).expect("just found");
        if !self.honest {
            let n = input.below(256);
            wire.to_proxy.extend_from_slice(input.bytes(n));
            return;
        }
        for _ in 0..=input.below(8) {
            let mut scanner = RequestScanner::new(Limits::default());
            let Ok(Some(len)) = scanner.scan(&wire.to_server) else {
                return;
            };
            let request: Vec<u8> = wire.to_server.drain(..len).collect();
            let reply = answer(&arguments(&request), self.refuses);
            wire.to_proxy.extend_from_slice(reply.as_bytes());
        }
    }

    fn server_delivers(&mut self, input: &mut Input<'_>) {
        let Some(id) = self.any_wire(input) else {
            return;
        };
        let conn = Conn::Upstream(id);
        if !self.engine.may_read(conn) {
            return;
        }
        let wire = self.wires.get_mut(&id).expect("just found");
        let n = match input.byte() {
            255 => READ,
            n => usize::from(n),
        };
        let bytes: Vec<u8> = wire.to_proxy.drain(..n.min(wire.to_proxy.len())).collect();
        self.engine.received(self.now, conn, &bytes);
    }

    fn connect(&mut self, input: &mut Input<'_>) {
        if self.connecting.is_empty() {
            return;
        }
        let at = input.below(self.connecting.len());
        let id = self.connecting.swap_remove(at);
        if input.byte() == 0 {
            self.engine.closed(self.now, Conn::Upstream(id));
        } else if self.engine.knows(Conn::Upstream(id)) {
            self.wires.insert(id, Wire::default());
            self.engine.link_up(self.now, id);
        }
    }

    fn topology(&mut self, input: &mut Input<'_>) {
        let flags = input.byte();
        self.term += u64::from(flags & 1);
        let upstream = |port: u8| Upstream {
            name: port.to_string(),
            host: "h".into(),
            port: port.into(),
        };
        let replicas = (0..3).filter(|port| flags & (16 << port) != 0);
        let topology = Topology {
            term: self.term,
            until: (flags & 2 != 0).then(|| self.now + Duration::from_millis(300)),
            primary: (flags & 4 != 0).then(|| upstream(flags >> 3 & 1)),
            replicas: replicas.map(upstream).collect(),
        };
        self.engine.topology(self.now, &topology);
    }

    fn time_passes(&mut self, input: &mut Input<'_>) {
        let step = Duration::from_millis(u64::from(input.byte()) * 10);
        let wake = self.engine.wake_at().filter(|_| step.is_zero());
        self.now = wake.unwrap_or(self.now + step).max(self.now);
    }

    fn break_something(&mut self, input: &mut Input<'_>) {
        match input.byte() % 4 {
            0 => {
                if let Some(id) = self.any_wire(input) {
                    self.wires.remove(&id);
                    self.engine.closed(self.now, Conn::Upstream(id));
                }
            }
            kind => {
                let at = input.below(self.clients.len());
                let Some(client) = self.clients.get_mut(at).filter(|client| client.lives) else {
                    return;
                };
                if kind == 1 {
                    self.engine.client_finished(client.id);
                } else {
                    client.lives = false;
                    self.engine.closed(self.now, Conn::Client(client.id));
                }
            }
        }
    }

    /// Writes a part of what is to be written somewhere.
    fn flush(&mut self, input: &mut Input<'_>) {
        let at = input.below(self.clients.len() + self.wires.len());
        let conn = match self.clients.get(at) {
            Some(client) if client.lives => Conn::Client(client.id),
            Some(_) => return,
            None => match self.wires.keys().nth(at - self.clients.len()) {
                Some(id) => Conn::Upstream(*id),
                None => return,
            },
        };
        let most = match input.byte() {
            255 => usize::MAX,
            n => usize::from(n),
        };
        self.write(conn, most);
    }

    fn write(&mut self, conn: Conn, most: usize) {
        let output = self.engine.output(conn);
        let bytes = output[..output.len().min(most)].to_vec();
        match conn {
            Conn::Client(id) => {
                let mut clients = self.clients.iter_mut();
                let client = clients.find(|client| client.id == id);
                client.expect("a client").got.extend_from_slice(&bytes);
            }
            Conn::Upstream(id) => {
                let wire = self.wires.get_mut(&id).expect("a wire");
                wire.to_server.extend_from_slice(&bytes);
            }
        }
        self.engine.written(conn, bytes.len());
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            let mut actions = Vec::new();
            self.engine.settle(self.now, &mut actions);
            // Writing is a step of its own, so that it may be late.
            actions.retain(|action| !matches!(action, Action::Flush(_) | Action::Resume(_)));
            if actions.is_empty() {
                return self.check();
            }
            for action in actions {
                self.act(&action);
            }
        }
        panic!("the engine never settles");
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Connect(id, _) => self.connecting.push(id),
            Action::Drain(id) => {
                let wire = self.wires.remove(&id).unwrap_or_default();
                self.engine
                    .received(self.now, Conn::Upstream(id), &wire.to_proxy);
                self.engine.closed(self.now, Conn::Upstream(id));
            }
            Action::Abandon(id) | Action::Close(Conn::Upstream(id)) => {
                self.wires.remove(&id);
            }
            Action::Close(Conn::Client(id)) => {
                for client in self.clients.iter_mut().filter(|client| client.id == id) {
                    client.lives = false;
                }
            }
            _ => {}
        }
    }

    fn check(&mut self) {
        if self.honest {
            for client in &mut self.clients {
                client.check();
            }
        }
        let engine = &self.engine;
        assert!(engine.out_bytes <= OUTPUT, "{} bytes out", engine.out_bytes);
        let most = CLIENTS * (SESSION + READ + engine.settings.replay_buffer);
        assert!(engine.bytes <= most, "{} bytes held", engine.bytes);
        assert!(
            engine.dedicated <= engine.settings.pool_max,
            "too many links"
        );
        let lost = engine.closes_orphans() && engine.primary.is_none();
        for session in engine.sessions.iter() {
            assert!(session.closing || !lost, "a client without a primary");
            let kept = session.inbox.len();
            assert!(kept <= SESSION + 8 * READ, "{kept} bytes of one client");
        }
    }

    fn end(&mut self) {
        for client in &mut self.clients {
            if std::mem::take(&mut client.lives) {
                self.engine.closed(self.now, Conn::Client(client.id));
            }
        }
        self.settle();
        assert!(self.engine.is_empty());
        assert_eq!((self.engine.bytes, self.engine.out_bytes), (0, 0));
    }
}

impl Client {
    fn check(&mut self) {
        while let Some(len) = self.scanner.scan(&self.got).expect("whole replies") {
            let frame: Vec<u8> = self.got.drain(..len).collect();
            let due = self.due.pop_front().expect("no more replies than requests");
            let expected = match due {
                Due::Number(number) => numbered(&number.to_string()),
                Due::Ok => "+OK\r\n".to_owned(),
            };
            let right = frame.starts_with(b"-") || frame == expected.as_bytes();
            let text = String::from_utf8_lossy(&frame);
            assert!(right, "{text} came instead of {expected}");
        }
    }
}

fn numbered(number: &str) -> String {
    format!("${}\r\n{number}\r\n", number.len())
}

/// What an honest server answers.
fn answer(words: &[Vec<u8>], refuses: bool) -> String {
    let name = words.first().map(Vec::as_slice).unwrap_or_default();
    let first = words.get(1).map(Vec::as_slice).unwrap_or_default();
    match name {
        b"SELECT" => "+OK\r\n".into(),
        b"COMMAND" => "*0\r\n".into(),
        b"CLIENT" => ":1\r\n".into(),
        b"RESET" => "+RESET\r\n".into(),
        b"INFO" => {
            let text = "role:slave\r\nmaster_link_status:up\r\nslave_repl_offset:1\r\n";
            format!("${}\r\n{text}\r\n", text.len())
        }
        b"GET" => numbered(&String::from_utf8_lossy(first)),
        _ if refuses => "-READONLY x\r\n".into(),
        _ => numbered(&String::from_utf8_lossy(first)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(100)
        })]

        #[test]
        fn whatever_happens_is_survived(input in prop::collection::vec(any::<u8>(), 0..3000)) {
            super::run(&input);
        }

        #[test]
        fn anything_that_looks_like_the_protocol_is_survived(
            flags in prop::sample::select(vec![0_u8, 8]),
            steps in prop::collection::vec(step(), 0..60)
        ) {
            super::run(&[&[flags], steps.concat().as_slice()].concat());
        }
    }

    /// A client or a server says something that is more often meaningful than chance would have it.
    fn step() -> impl Strategy<Value = Vec<u8>> {
        let said = prop::sample::select(vec![
            &b"*1\r\n$4\r\nPING\r\n"[..],
            b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n",
            b"*1\r\n$11\r\nUNSUBSCRIBE\r\n",
            b"*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n",
            b"*1\r\n$5\r\nMULTI\r\n",
            b"*1\r\n$4\r\nEXEC\r\n",
            b"*2\r\n$5\r\nWATCH\r\n$1\r\nk\r\n",
            b"*3\r\n$5\r\nBLPOP\r\n$1\r\nk\r\n$1\r\n0\r\n",
            b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n",
            b"*1\r\n$7\r\nMONITOR\r\n",
            b"*1\r\n$5\r\nRESET\r\n",
            b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n",
            b"*1\r\n$4\r\nINFO\r\n",
            b"*2\r\n$4\r\nSCAN\r\n$1\r\n0\r\n",
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$90000\r\nxxxx",
            b"*1\r\n$4\r\nQUIT\r\n",
            b"-READONLY x\r\n",
            b"-NOSCRIPT x\r\n",
            b"+OK\r\n",
            b"+QUEUED\r\n",
            b":7\r\n",
            b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
            b"*2\r\n$1\r\n5\r\n*0\r\n",
            b">1\r\n+x\r\n",
            b"|1\r\n+k\r\n:1\r\n",
            b"$3\r\nab",
            b"%1\r\n$2\r\nid\r\n:3\r\n",
        ]);
        let says =
            (prop::sample::select(vec![0_u8, 4]), 0..3_u8, said).prop_map(|(op, who, said)| {
                let length = u8::try_from(said.len()).expect("short");
                [&[op, who, length][..], said].concat()
            });
        prop_oneof![
            6 => says,
            2 => (0..4_u8).prop_map(|link| vec![7, link, 255]),
            1 => Just(vec![9]),
            2 => Just(vec![10, 0, 1]),
            2 => (0..32_u8).prop_map(|flags| vec![11, flags | 4]),
            1 => any::<u8>().prop_map(|time| vec![12, time]),
            1 => any::<[u8; 2]>().prop_map(|[kind, who]| vec![13, kind, who]),
            2 => (0..8_u8).prop_map(|to| vec![15, to, 255]),
        ]
    }
}
