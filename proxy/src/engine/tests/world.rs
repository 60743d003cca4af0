//! Simulated worlds: clients, servers and networks that misbehave by a seed.
//!
//! Whatever happens, each client gets its replies in order; nothing runs twice; what is said not
//! to have run did not; no success comes from a server that was replaced; memory is bounded; and
//! once the world heals, everything is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether_resp::{Limits, RequestScanner, Scanner};

use super::rig::{any_instant, settings, upstream, wire};
use crate::engine::{Action, ClientId, Conn, Engine, LinkId, Settings};
use crate::topology::Topology;

const SERVERS: usize = 3;
const BUFFER: usize = 128 << 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Primary,
    Fenced,
    Loading,
    Down,
}

/// One connection from the proxy to a server.
struct Wire {
    server: usize,
    /// The state of the topology that it was made for.
    epoch: u64,
    to_server: Vec<u8>,
    to_proxy: Vec<u8>,
    /// Where the reply to which command begins and ends in all that is sent to the proxy.
    marks: Vec<(usize, usize, u32)>,
    produced: usize,
    delivered: usize,
    database: u32,
    closed_by_server: bool,
    closed_by_proxy: bool,
    paused: bool,
}

struct Script {
    name: &'static str,
    id: u32,
}

struct Client {
    id: ClientId,
    script: Vec<Script>,
    to_send: Vec<u8>,
    scanner: Scanner,
    got: Vec<u8>,
    replies: usize,
    database: u32,
    paused: bool,
    closed: bool,
    gone: bool,
}

struct World {
    rng: fastrand::Rng,
    engine: Engine,
    now: Instant,
    modes: [Mode; SERVERS],
    term: u64,
    until: Option<Instant>,
    target: Option<u16>,
    epoch: u64,
    wires: BTreeMap<LinkId, Wire>,
    connecting: Vec<(LinkId, usize, u64)>,
    clients: Vec<Client>,
    blocked: BTreeSet<Conn>,
    /// How often each command ran.
    ran: BTreeMap<u32, usize>,
    /// Commands whose replies were read while their server was the primary.
    fresh: BTreeSet<u32>,
    successes: usize,
    /// Of 100 steps that could do harm, how many do.
    harm: u8,
}

impl World {
    fn new(seed: u64) -> Self {
        let settings = Settings {
            hold: Duration::from_secs(1),
            session_buffer: BUFFER,
            replay_buffer: BUFFER / 8,
            worker_buffer: 3 * BUFFER,
            ..settings()
        };
        let mut world = Self {
            rng: fastrand::Rng::with_seed(seed),
            engine: Engine::new(settings),
            now: any_instant(),
            modes: [Mode::Primary, Mode::Fenced, Mode::Fenced],
            term: 0,
            until: None,
            target: None,
            epoch: 0,
            wires: BTreeMap::new(),
            connecting: Vec::new(),
            clients: Vec::new(),
            blocked: BTreeSet::new(),
            ran: BTreeMap::new(),
            fresh: BTreeSet::new(),
            successes: 0,
            harm: 0,
        };
        world.harm = [5, 30, 100][world.rng.usize(..3)];
        world.publish(Some(0), None);
        let mut next = 0;
        for _ in 0..world.rng.usize(1..6) {
            world.add_client(&mut next);
        }
        world
    }

    fn add_client(&mut self, next: &mut u32) {
        let mut script = Vec::new();
        let mut to_send = Vec::new();
        for _ in 0..self.rng.usize(1..60) {
            *next += 1;
            let names = [
                "INCR", "INCR", "INCR", "GET", "GET", "EVAL", "PUBLISH", "SELECT",
            ];
            let name = names[self.rng.usize(..names.len())];
            let id = *next;
            let filler = match self.rng.u8(..) {
                0..4 => 300_000,
                4..20 => 20_000,
                _ => 1,
            };
            if self.rng.u8(..) < 10 {
                to_send.extend(b"\r\n");
            }
            let line = match name {
                "SELECT" => format!("SELECT {id}"),
                _ => format!("{name} {id} {}", "x".repeat(filler)),
            };
            to_send.extend(wire(&[&line]).into_bytes());
            script.push(Script { name, id });
        }
        self.clients.push(Client {
            id: self.engine.client_accepted(),
            script,
            to_send,
            scanner: Scanner::new(Limits::default()),
            got: Vec::new(),
            replies: 0,
            database: 0,
            paused: false,
            closed: false,
            gone: false,
        });
    }

    fn run(&mut self) {
        for _ in 0..self.rng.usize(50..600) {
            self.step();
            self.settle();
        }
        self.heal();
    }

    fn step(&mut self) {
        let step = self.rng.u8(..100);
        if step >= 92 && self.rng.u8(..100) >= self.harm {
            return;
        }
        match step {
            0..30 => self.client_sends(),
            30..50 => self.server_works(),
            50..70 => self.server_delivers(),
            70..80 => self.flush_blocked(),
            80..86 => self.connects(),
            86..92 => self.time_passes(),
            92..94 => self.change_topology(),
            94..97 => self.change_server(),
            97 => self.client_leaves(),
            98 => self.wire_breaks(),
            _ => self.client_finishes(),
        }
    }

    fn client_sends(&mut self) {
        let at = self.rng.usize(..self.clients.len());
        let client = &mut self.clients[at];
        if client.closed || client.gone || client.paused || client.to_send.is_empty() {
            return;
        }
        if !self.engine.may_read(Conn::Client(client.id)) {
            client.paused = true;
            return;
        }
        let most = client.to_send.len().min(64 << 10);
        let n = self.rng.usize(1..=most);
        let bytes: Vec<u8> = client.to_send.drain(..n).collect();
        self.engine
            .received(self.now, Conn::Client(client.id), &bytes);
    }

    fn any_wire(&mut self) -> Option<LinkId> {
        let n = self.wires.len();
        let at = self.rng.usize(..n.max(1));
        self.wires.keys().nth(at).copied()
    }

    fn server_works(&mut self) {
        let Some(id) = self.any_wire() else { return };
        let wire = self.wires.get_mut(&id).expect("just found");
        let mode = self.modes[wire.server];
        if mode == Mode::Down {
            return;
        }
        let most = self.rng.usize(..5);
        for _ in 0..most {
            let mut scanner = RequestScanner::new(Limits::default());
            let Ok(Some(len)) = scanner.scan(&wire.to_server) else {
                break;
            };
            let request: Vec<u8> = wire.to_server.drain(..len).collect();
            let Some(name) = scanner.arg(&request, 0) else {
                continue;
            };
            let id = scanner
                .arg(&request, 1)
                .expect("every command has a number");
            let id = String::from_utf8_lossy(id).parse().expect("a number");
            let writes = matches!(name, b"INCR" | b"EVAL");
            let reply = match (mode, name) {
                (Mode::Loading, name) if name != b"SELECT" => "-LOADING x\r\n".to_owned(),
                (_, b"SELECT") => {
                    wire.database = id;
                    "+OK\r\n".to_owned()
                }
                (Mode::Fenced, _) if writes => "-READONLY x\r\n".to_owned(),
                _ => {
                    if writes || name == b"PUBLISH" {
                        *self.ran.entry(id).or_default() += 1;
                    }
                    let text = format!("{id}:{}", wire.database);
                    format!("${}\r\n{text}\r\n", text.len())
                }
            };
            if !wire.closed_by_proxy {
                let begin = wire.produced;
                wire.produced += reply.len();
                wire.marks.push((begin, wire.produced, id));
                wire.to_proxy.extend(reply.into_bytes());
            }
        }
    }

    fn server_delivers(&mut self) {
        let Some(id) = self.any_wire() else { return };
        let conn = Conn::Upstream(id);
        let wire = self.wires.get_mut(&id).expect("just found");
        if wire.closed_by_proxy || wire.paused {
            return;
        }
        if wire.to_proxy.is_empty() {
            if wire.closed_by_server {
                self.wires.remove(&id);
                self.blocked.remove(&conn);
                self.engine.closed(self.now, conn);
            }
            return;
        }
        if !self.engine.may_read(conn) {
            wire.paused = true;
            return;
        }
        let n = self.rng.usize(1..=wire.to_proxy.len());
        self.deliver(id, n);
    }

    fn deliver(&mut self, id: LinkId, n: usize) {
        let wire = self.wires.get_mut(&id).expect("a wire");
        let bytes: Vec<u8> = wire.to_proxy.drain(..n).collect();
        wire.delivered += n;
        let expired = self.until.is_some_and(|until| until <= self.now);
        if wire.epoch == self.epoch && !expired {
            // What has begun to arrive was executed before.
            let begun = wire
                .marks
                .iter()
                .filter(|(begin, _, _)| *begin < wire.delivered);
            self.fresh.extend(begun.map(|(_, _, id)| *id));
        }
        wire.marks.retain(|(_, end, _)| *end > wire.delivered);
        self.engine.received(self.now, Conn::Upstream(id), &bytes);
    }

    fn connects(&mut self) {
        if self.connecting.is_empty() {
            return;
        }
        let at = self.rng.usize(..self.connecting.len());
        let (id, server, epoch) = self.connecting.swap_remove(at);
        let conn = Conn::Upstream(id);
        if !self.engine.knows(conn) {
            return;
        }
        if self.modes[server] == Mode::Down {
            return self.engine.closed(self.now, conn);
        }
        let wire = Wire {
            server,
            epoch,
            to_server: Vec::new(),
            to_proxy: Vec::new(),
            marks: Vec::new(),
            produced: 0,
            delivered: 0,
            database: 0,
            closed_by_server: false,
            closed_by_proxy: false,
            paused: false,
        };
        self.wires.insert(id, wire);
        self.engine.link_up(self.now, id);
    }

    fn time_passes(&mut self) {
        let most = Duration::from_millis(self.rng.u64(1..400));
        let wake = self.engine.wake_at().filter(|_| self.rng.bool());
        self.now = wake.unwrap_or(self.now + most).max(self.now);
        if self.until.is_some_and(|until| until <= self.now) {
            self.until = None;
            self.target = None;
            self.epoch += 1;
        }
    }

    fn change_topology(&mut self) {
        let ports = 0..SERVERS as u16;
        let primary = ports
            .clone()
            .find(|port| self.modes[usize::from(*port)] == Mode::Primary);
        let port = match self.rng.u8(..4) {
            0 => None,
            1 => Some(self.rng.u16(ports)),
            _ => primary,
        };
        let lease = Duration::from_millis(self.rng.u64(1..2000));
        let until = self.rng.bool().then(|| self.now + lease);
        self.term += u64::from(self.rng.bool());
        self.publish(port, until);
    }

    fn publish(&mut self, port: Option<u16>, until: Option<Instant>) {
        // Whatever the engine thinks of it: a new epoch only makes the check of staleness
        // stricter if the engine sees a new primary as well.
        if port != self.target {
            self.epoch += 1;
        }
        self.target = port;
        self.until = until;
        let primary = port.map(upstream);
        let topology = Topology {
            term: self.term,
            until,
            primary,
            replicas: vec![],
        };
        self.engine.topology(self.now, &Arc::new(topology));
    }

    fn change_server(&mut self) {
        let server = self.rng.usize(..SERVERS);
        let modes = [Mode::Primary, Mode::Fenced, Mode::Loading, Mode::Down];
        let mode = modes[self.rng.usize(..modes.len())];
        self.set_mode(server, mode);
    }

    fn set_mode(&mut self, server: usize, mode: Mode) {
        self.modes[server] = mode;
        if mode == Mode::Down {
            for wire in self.wires.values_mut().filter(|wire| wire.server == server) {
                wire.closed_by_server = true;
                wire.to_server.clear();
            }
        }
    }

    fn client_leaves(&mut self) {
        let at = self.rng.usize(..self.clients.len());
        let client = &mut self.clients[at];
        if !client.closed && !client.gone {
            client.gone = true;
            self.engine.closed(self.now, Conn::Client(client.id));
        }
    }

    fn client_finishes(&mut self) {
        let at = self.rng.usize(..self.clients.len());
        let client = &mut self.clients[at];
        if !client.closed && !client.gone && client.to_send.is_empty() {
            self.engine.client_finished(self.now, client.id);
        }
    }

    fn wire_breaks(&mut self) {
        let Some(id) = self.any_wire() else { return };
        let wire = self.wires.get_mut(&id).expect("just found");
        wire.closed_by_server = true;
        let lost = self.rng.usize(..=wire.to_proxy.len());
        let kept = wire.to_proxy.len() - lost;
        wire.to_proxy.truncate(kept);
        wire.to_server.clear();
    }

    fn flush_blocked(&mut self) {
        for conn in std::mem::take(&mut self.blocked) {
            self.flush(conn);
        }
    }

    fn flush(&mut self, conn: Conn) {
        let output = self.engine.output(conn);
        let most = output.len();
        let n = if self.rng.bool() {
            most
        } else {
            self.rng.usize(..=most)
        };
        let bytes = output[..n].to_vec();
        match conn {
            Conn::Client(id) => {
                let client = self.clients.iter_mut().find(|client| client.id == id);
                client.expect("a client").got.extend(bytes);
            }
            Conn::Upstream(id) => {
                let wire = self.wires.get_mut(&id).expect("a wire");
                if !wire.closed_by_server {
                    wire.to_server.extend(bytes);
                }
            }
        }
        self.engine.written(conn, n);
        if n < most {
            self.blocked.insert(conn);
        }
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            let mut actions = Vec::new();
            self.engine.settle(self.now, &mut actions);
            let quiet = actions.iter().all(|action| match action {
                Action::Flush(conn) => self.blocked.contains(conn),
                _ => false,
            });
            if quiet {
                self.check();
                return;
            }
            for action in actions {
                self.act(action);
            }
        }
        panic!("the engine never settles");
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect(id, to) => {
                self.connecting.push((id, usize::from(to.port), self.epoch));
            }
            Action::Flush(conn) => {
                if !self.blocked.contains(&conn) {
                    self.flush(conn);
                }
            }
            Action::Resume(Conn::Client(id)) => {
                let client = self.clients.iter_mut().find(|client| client.id == id);
                client.expect("a client").paused = false;
            }
            Action::Resume(Conn::Upstream(id)) => {
                self.wires.get_mut(&id).expect("a wire").paused = false;
            }
            Action::Drain(id) => {
                let all = self.wires[&id].to_proxy.len();
                let n = self.rng.usize(..=all);
                self.deliver(id, n);
                self.abandon(id);
                self.engine.closed(self.now, Conn::Upstream(id));
            }
            Action::Abandon(id) | Action::Close(Conn::Upstream(id)) => self.abandon(id),
            Action::Close(Conn::Client(id)) => {
                self.blocked.remove(&Conn::Client(id));
                let client = self.clients.iter_mut().find(|client| client.id == id);
                client.expect("a client").closed = true;
            }
        }
    }

    /// The proxy closes a link. Its server may still run what it was sent.
    fn abandon(&mut self, id: LinkId) {
        self.blocked.remove(&Conn::Upstream(id));
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.closed_by_proxy = true;
            wire.to_proxy.clear();
            wire.marks.clear();
        }
    }

    fn check(&mut self) {
        for at in 0..self.clients.len() {
            while let Some(reply) = self.clients[at].take_reply() {
                self.check_reply(at, &reply);
            }
            let client = &self.clients[at];
            if client.closed && !client.gone {
                assert!(
                    client.got.is_empty() || client.cut(),
                    "a reply was cut without need"
                );
            }
        }
        assert!(
            self.ran.values().all(|times| *times == 1),
            "something ran twice"
        );
        for session in self.engine.sessions.iter().flatten() {
            let kept = session.requests.bytes();
            assert!(kept <= 4 * BUFFER, "{kept} bytes of requests are kept");
            assert!(
                session.out.len() <= 4 * BUFFER,
                "{} bytes of replies",
                session.out.len()
            );
        }
        let all: usize = self
            .engine
            .sessions
            .iter()
            .flatten()
            .map(|s| s.requests.bytes())
            .sum();
        assert_eq!(all, self.engine.bytes);
    }

    fn check_reply(&mut self, at: usize, reply: &[u8]) {
        let client = &mut self.clients[at];
        let command = client
            .script
            .get(client.replies)
            .expect("no more replies than commands");
        client.replies += 1;
        let text = String::from_utf8_lossy(reply).into_owned();
        let id = command.id;
        let ran = self.ran.get(&id).copied().unwrap_or(0);
        if text == "+OK\r\n" {
            assert_eq!(command.name, "SELECT");
            client.database = id;
        } else if text.starts_with('$') {
            let content = format!("{id}:{}", client.database);
            assert_eq!(text, format!("${}\r\n{content}\r\n", content.len()));
            assert!(
                self.fresh.contains(&id),
                "{id} was answered by a stale server"
            );
            self.successes += 1;
        } else if ["-TRYAGAIN not", "-READONLY", "-LOADING"]
            .iter()
            .any(|p| text.starts_with(p))
        {
            assert_eq!(ran, 0, "{id} ran, and was said not to have: {text}");
        } else {
            assert!(text.starts_with("-ERR outcome unknown"), "{text}");
        }
    }

    fn heal(&mut self) {
        for server in 0..SERVERS {
            self.set_mode(server, Mode::Fenced);
        }
        self.set_mode(1, Mode::Primary);
        self.term += 1;
        self.publish(Some(1), None);
        self.settle();
        for _ in 0..20_000 {
            if self.clients.iter().all(Client::done) {
                return;
            }
            match self.rng.u8(..10) {
                0..3 => self.client_sends(),
                3..5 => self.server_works(),
                5..7 => self.server_delivers(),
                7 => self.flush_blocked(),
                8 => self.connects(),
                _ => {
                    let wake = self.engine.wake_at();
                    self.now = wake.map_or(self.now, |at| at.max(self.now));
                }
            }
            self.settle();
        }
        let left: Vec<_> = self
            .clients
            .iter()
            .filter(|client| !client.done())
            .collect();
        let left = left
            .iter()
            .map(|c| (c.id, c.replies, c.script.len(), c.to_send.len(), c.paused));
        let sessions: Vec<_> = self.engine.sessions.iter().flatten().collect();
        eprintln!("{sessions:#?}");
        panic!(
            "a healthy world does not answer: {:?}",
            left.collect::<Vec<_>>()
        );
    }
}

impl Client {
    fn take_reply(&mut self) -> Option<Vec<u8>> {
        let len = self.scanner.scan(&self.got).expect("whole replies")?;
        Some(self.got.drain(..len).collect())
    }

    /// Whether the last reply that came is the beginning of an answer by a server.
    fn cut(&self) -> bool {
        self.got.starts_with(b"$") || self.got.starts_with(b"+")
    }

    fn done(&self) -> bool {
        self.gone || self.closed || (self.to_send.is_empty() && self.replies == self.script.len())
    }
}

fn try_world(seed: u64) -> Result<usize, String> {
    let outcome = std::panic::catch_unwind(|| {
        let mut world = World::new(seed);
        world.run();
        world.successes
    });
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        format!("seed {seed}: {}", text.unwrap_or_default())
    })
}

#[test]
fn five_hundred_worlds() {
    let mut successes = 0;
    for seed in 0..500 {
        match try_world(seed) {
            Ok(n) => successes += n,
            Err(failure) => panic!("{failure}"),
        }
    }
    assert!(
        successes > 5_000,
        "only {successes} commands succeeded: the worlds are too bad"
    );
}

#[test]
fn planted_bugs_are_caught() {
    use crate::engine::planted::Bug;
    use crate::engine::planted::tests::plant;

    let bugs = [
        Bug::DeliverStale,
        Bug::RepeatUnknown,
        Bug::RepeatWrites,
        Bug::ForgetSettings,
        Bug::DenySent,
    ];
    for bug in bugs {
        plant(Some(bug));
        let caught = (0..1000).find(|seed| try_world(*seed).is_err());
        plant(None);
        println!("{bug:?}: caught in world {caught:?}");
        assert!(caught.is_some(), "{bug:?} is not caught");
    }
}
