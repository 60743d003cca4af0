//! Simulated worlds: clients, servers and networks that misbehave by a seed.
//!
//! Whatever happens, each client gets its replies in order and in its own database, user and
//! protocol; nothing runs twice; what is said not to have run did not, nor will; no success comes
//! from a server that was replaced; nothing runs for who left before it was sent; memory is
//! bounded; and once the world heals, everything is answered and nothing leaks. Where clients are
//! closed with their primary, none lives on without it, nothing is sent to a server meanwhile, and
//! what a closed client was not answered never ran.
//!
//! A failure prints its seed; `BELLWETHER_SEED=n` replays that one, and `BELLWETHER_SEEDS=n` sets
//! through how many the test lives. The one that is replayed tells what happens in it.

mod client;
mod invariants;
mod server;
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::rig::{address, any_instant, engine, settings, upstream};
use crate::config::{Orphans, ReadFrom};
use crate::engine::{Action, Conn, Engine, LinkId, Session, Settings};
use crate::topology::Topology;
use client::{Client, Rules};
use server::{History, Mode, Wire, number, requests};

const SERVERS: usize = 3;
const BUFFER: usize = 128 << 10;

struct World {
    rng: fastrand::Rng,
    engine: Engine,
    now: Instant,
    modes: [Mode; SERVERS],
    term: u64,
    until: Option<Instant>,
    /// Which primary the engine is told of, and since which term.
    target: Option<(u16, u64)>,
    epoch: u64,
    wires: BTreeMap<LinkId, Wire>,
    connecting: Vec<(LinkId, usize, u64)>,
    clients: Vec<Client>,
    next: u32,
    blocked: BTreeSet<Conn>,
    history: History,
    /// Commands whose replies were read while their server was the primary.
    fresh: BTreeSet<u32>,
    keeps_all: bool,
    splits: bool,
    /// Clients are closed with their primary.
    closes: bool,
    /// Of 100 steps that could do harm, how many do.
    harm: u8,
    steps: usize,
    /// Whether to tell what happens.
    tells: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let keeps_all = rng.bool();
        let splits = rng.u8(..4) == 0;
        let closes = rng.u8(..3) == 0;
        let pool_max = [1, 2, 64][rng.usize(..3)];
        let settings = Settings {
            orphans: if closes {
                Orphans::Close
            } else {
                Orphans::Hold
            },
            hold: Duration::from_secs(1),
            session_buffer: BUFFER,
            replay_buffer: if keeps_all { 64 * BUFFER } else { BUFFER / 8 },
            worker_buffer: 3 * BUFFER,
            output_buffer: [3 * BUFFER, 64 * BUFFER][rng.usize(..2)],
            pool_idle: pool_max.min(3),
            pool_warm: rng.usize(..2),
            pool_max,
            read_from: if splits {
                ReadFrom::Replicas
            } else {
                ReadFrom::Primary
            },
            ..settings()
        };
        let now = any_instant();
        let mut world = Self {
            engine: engine(now, settings),
            now,
            modes: [Mode::Primary, Mode::Fenced, Mode::Fenced],
            term: 0,
            until: None,
            target: None,
            epoch: 0,
            wires: BTreeMap::new(),
            connecting: Vec::new(),
            clients: Vec::new(),
            next: 0,
            blocked: BTreeSet::new(),
            history: History::default(),
            fresh: BTreeSet::new(),
            keeps_all,
            splits,
            closes,
            harm: [5, 30, 100][rng.usize(..3)],
            steps: 0,
            tells: std::env::var_os("BELLWETHER_SEED").is_some(),
            rng,
        };
        world.publish(Some(0), None);
        for _ in 0..world.rng.usize(1..7) {
            world.client_joins();
        }
        world
    }

    fn client_joins(&mut self) {
        let id = self.engine.client_accepted(self.now, address(), address());
        let number = self.clients.len() + 1;
        let client = Client::new(id, number, self.epoch, &mut self.rng, &mut self.next);
        self.clients.push(client);
    }

    fn run(&mut self) {
        for _ in 0..self.rng.usize(50..600) {
            self.step();
            self.settle();
        }
        self.heal();
        self.end();
    }

    fn step(&mut self) {
        self.steps += 1;
        let step = self.rng.u8(..100);
        if step >= 91 && self.rng.u8(..100) >= self.harm {
            return;
        }
        match step {
            0..25 => self.client_sends(),
            25..45 => self.server_works(),
            45..48 => self.server_unblocks(),
            48..50 => self.somebody_publishes(),
            50..70 => self.server_delivers(),
            70..79 => self.flush_blocked(),
            79..85 => self.connects(),
            85..89 => self.time_passes(),
            89..91 => self.clients_change(),
            91..93 => self.change_topology(),
            93..95 => self.change_server(),
            95 => self.client_leaves(),
            96 => self.wire_breaks(),
            97 => self.client_finishes(),
            98 if self.closes => self.clients_come_back(),
            _ => {}
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            println!("{}: {}", self.steps, what());
        }
    }

    fn client_sends(&mut self) {
        let at = self.rng.usize(..self.clients.len());
        let client = &mut self.clients[at];
        let idle = client.closed || client.gone || client.finished || client.paused;
        if idle || client.to_send.is_empty() {
            return;
        }
        let conn = Conn::Client(client.id);
        if !self.engine.may_read(conn) {
            client.paused = true;
            return;
        }
        let most = client.to_send.len().min(64 << 10);
        let n = match self.rng.u8(..3) {
            0 => self.rng.usize(1..=most.min(40)),
            _ => self.rng.usize(1..=most),
        };
        let bytes: Vec<u8> = client.to_send.drain(..n).collect();
        self.tell(|| format!("client {} sends {}", at + 1, short(&bytes)));
        self.engine.received(self.now, conn, &bytes);
    }

    fn any_wire(&mut self) -> Option<LinkId> {
        let n = self.wires.len();
        let at = self.rng.usize(..n.max(1));
        self.wires.keys().nth(at).copied()
    }

    fn server_works(&mut self) {
        let Some(id) = self.any_wire() else { return };
        let most = self.rng.usize(1..6);
        let wire = self.wires.get_mut(&id).expect("just found");
        let mode = self.modes[wire.server];
        let from = wire.to_proxy.len();
        let first = wire.requests.front().cloned().unwrap_or_default();
        for _ in 0..most {
            if !wire.work(mode, &mut self.rng, self.now, &mut self.history) {
                break;
            }
        }
        let (server, replies) = (wire.server, wire.to_proxy[from..].to_vec());
        self.tell(|| {
            format!(
                "server {server} on {} runs {} and more: {}",
                label(id),
                short(&first.join(&b' ')),
                short(&replies)
            )
        });
    }

    fn server_unblocks(&mut self) {
        for wire in self.wires.values_mut() {
            if self.modes[wire.server] == Mode::Primary && wire.is_blocked() {
                let serve = self.rng.u8(..3) == 0;
                wire.unblock(self.now, &mut self.history, serve);
            }
        }
    }

    fn somebody_publishes(&mut self) {
        for wire in self.wires.values_mut() {
            if !wire.closed_by_server && self.modes[wire.server] == Mode::Primary {
                wire.publish(&mut self.history);
            }
        }
    }

    fn server_delivers(&mut self) {
        let Some(id) = self.any_wire() else { return };
        let conn = Conn::Upstream(id);
        let wire = self.wires.get_mut(&id).expect("just found");
        if wire.closed_by_proxy {
            if wire.requests.is_empty() {
                self.wires.remove(&id);
            }
            return;
        }
        if wire.paused {
            return;
        }
        if wire.to_proxy.is_empty() {
            if wire.closed_by_server {
                self.wires.remove(&id);
                self.blocked.remove(&conn);
                self.tell(|| format!("{} is closed", label(id)));
                self.engine.closed(self.now, conn);
            }
            return;
        }
        if !self.engine.may_read(conn) {
            wire.paused = true;
            return;
        }
        let most = wire.to_proxy.len().min(64 << 10);
        let n = self.rng.usize(1..=most);
        self.deliver(id, n);
    }

    fn deliver(&mut self, id: LinkId, n: usize) {
        let wire = self.wires.get_mut(&id).expect("a wire");
        let bytes: Vec<u8> = wire.to_proxy.drain(..n).collect();
        wire.delivered += n;
        let expired = self.until.is_some_and(|until| until <= self.now);
        let fresh = wire.epoch == self.epoch && !expired;
        let delivered = wire.delivered;
        // What has begun to arrive was executed before.
        let fresh = |(begin, id): &(usize, u32)| (fresh && *begin < delivered).then_some(*id);
        self.fresh.extend(wire.marks.iter().filter_map(fresh));
        wire.marks.retain(|(begin, _)| *begin >= delivered);
        self.tell(|| format!("{} delivers {}", label(id), short(&bytes)));
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
        self.tell(|| format!("{} is connected to server {server}", label(id)));
        self.wires.insert(id, Wire::new(id, server, epoch));
        self.engine.link_up(self.now, id);
    }

    fn time_passes(&mut self) {
        let most = Duration::from_millis(self.rng.u64(1..400));
        let wake = self.engine.wake_at().filter(|_| self.rng.bool());
        self.pass(wake.unwrap_or(self.now + most));
    }

    fn pass(&mut self, to: Instant) {
        self.now = to.max(self.now);
        if self.until.is_some_and(|until| until <= self.now) {
            self.until = None;
            self.target = None;
            self.epoch += 1;
        }
    }

    fn change_topology(&mut self) {
        let ports = 0..SERVERS as u16;
        let is_primary = |port: &u16| self.modes[usize::from(*port)] == Mode::Primary;
        let primary = ports.clone().find(is_primary);
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
        let stays = match (self.target, port) {
            (None, None) => true,
            (Some((old, term)), Some(new)) => old == new && term >= self.term,
            _ => false,
        };
        if !stays {
            self.epoch += 1;
            self.target = port.map(|port| (port, self.term));
        }
        self.until = until.filter(|_| port.is_some());
        let others = (0..SERVERS as u16).filter(|other| Some(*other) != port);
        let replicas = others.filter(|_| self.splits && self.rng.u8(..4) > 0);
        let topology = Topology {
            term: self.term,
            until,
            primary: port.map(upstream),
            replicas: replicas.map(upstream).collect(),
        };
        self.tell(|| format!("{topology:?}"));
        self.engine.topology(self.now, &topology);
    }

    fn change_server(&mut self) {
        let server = self.rng.usize(..SERVERS);
        let modes = [
            Mode::Primary,
            Mode::Fenced,
            Mode::Loading,
            Mode::Hung,
            Mode::Down,
        ];
        let mode = modes[self.rng.usize(..modes.len())];
        self.set_mode(server, mode);
    }

    fn set_mode(&mut self, server: usize, mode: Mode) {
        self.modes[server] = mode;
        self.tell(|| format!("server {server} is {mode:?}"));
        let kill = self.rng.bool();
        for wire in self.wires.values_mut().filter(|wire| wire.server == server) {
            match mode {
                Mode::Down | Mode::Loading => wire.close(),
                Mode::Fenced => wire.demote(kill),
                Mode::Primary | Mode::Hung => {}
            }
        }
    }

    fn client_leaves(&mut self) {
        let at = self.rng.usize(..self.clients.len());
        self.part_with(at);
    }

    /// The client is gone: what was not given to a link until now must never run.
    fn part_with(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if client.closed || client.gone {
            return;
        }
        client.gone = true;
        if self.tells {
            println!("{}: client {} leaves", self.steps, at + 1);
        }
        let mut given = BTreeSet::new();
        for wire in self.wires.values() {
            let output = self.engine.output(Conn::Upstream(wire.link));
            let unsent = requests(&[&wire.tail, output].concat()).0;
            given.extend(
                wire.requests
                    .iter()
                    .chain(&unsent)
                    .filter_map(|words| number(words)),
            );
        }
        for id in &client.ids {
            if !given.contains(id)
                && !self.history.ran.contains_key(id)
                && !in_transaction(&self.wires, *id)
            {
                self.history.forbidden.insert(*id, "its client had left");
            }
        }
        self.engine.closed(self.now, Conn::Client(client.id));
    }

    /// One that has all it wanted leaves, and another comes.
    fn clients_change(&mut self) {
        let done = self
            .clients
            .iter()
            .position(|client| client.is_done() && !client.gone && !client.closed);
        if let Some(at) = done {
            self.part_with(at);
        }
        if self.clients.len() < 20 {
            self.client_joins();
        }
    }

    /// Those that were closed connect again.
    fn clients_come_back(&mut self) {
        let open = self.clients.iter().filter(|client| !client.closed).count();
        for _ in open..self.clients.len().min(6) {
            self.client_joins();
        }
    }

    fn client_finishes(&mut self) {
        let at = self.rng.usize(..self.clients.len());
        let client = &mut self.clients[at];
        if !client.closed && !client.gone && client.to_send.is_empty() {
            client.finished = true;
            client.may_be_closed = true;
            self.engine.client_finished(client.id);
        }
    }

    fn wire_breaks(&mut self) {
        let Some(id) = self.any_wire() else { return };
        let wire = self.wires.get_mut(&id).expect("just found");
        let lost = self.rng.usize(..=wire.to_proxy.len());
        let kept = wire.to_proxy.len() - lost;
        wire.to_proxy.truncate(kept);
        wire.close();
    }

    fn flush_blocked(&mut self) {
        for conn in std::mem::take(&mut self.blocked) {
            self.flush(conn);
        }
    }

    fn flush(&mut self, conn: Conn) {
        let output = self.engine.output(conn);
        let most = output.len();
        let n = match self.rng.bool() {
            true => most,
            false => self.rng.usize(..=most),
        };
        let bytes = output[..n].to_vec();
        match conn {
            Conn::Client(id) => {
                let mut clients = self.clients.iter_mut();
                let client = clients.find(|client| client.id == id).expect("a client");
                client.got.extend(&bytes);
            }
            Conn::Upstream(id) => {
                let wire = self.wires.get_mut(&id).expect("a wire");
                assert!(
                    !wire.closed_by_proxy || bytes.is_empty(),
                    "written after the end"
                );
                if !wire.closed_by_server {
                    wire.take(&bytes);
                }
            }
        }
        if let Conn::Upstream(id) = conn
            && self.closes
            && n > 0
        {
            let current = self.target.is_some() && self.wires[&id].epoch == self.epoch;
            let asks = invariants::is_probe(&self.engine, id);
            assert!(
                current || asks,
                "without a primary, {id:?} is sent {}",
                short(&bytes)
            );
        }
        self.tell(|| format!("{conn:?} is written {}", short(&bytes)));
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
                return self.check();
            }
            for action in actions {
                self.act(action);
            }
        }
        panic!("the engine never settles");
    }

    fn act(&mut self, action: Action) {
        self.tell(|| format!("{action:?}"));
        match action {
            Action::Connect(id, to) => {
                self.connecting.push((id, usize::from(to.port), self.epoch));
            }
            Action::Flush(conn) => {
                if !self.blocked.contains(&conn) && self.engine.knows(conn) {
                    self.flush(conn);
                }
            }
            Action::Resume(Conn::Client(id)) => {
                let mut clients = self.clients.iter_mut();
                let client = clients.find(|client| client.id == id);
                client.expect("a client").paused = false;
            }
            Action::Resume(Conn::Upstream(id)) => {
                if let Some(wire) = self.wires.get_mut(&id) {
                    wire.paused = false;
                }
            }
            Action::Drain(id) => {
                let all = self.wires[&id].to_proxy.len();
                let n = self.rng.usize(..=all);
                if n > 0 {
                    self.deliver(id, n);
                }
                self.abandon(id);
                self.engine.closed(self.now, Conn::Upstream(id));
            }
            Action::Abandon(id) | Action::Close(Conn::Upstream(id)) => self.abandon(id),
            Action::Ask(..) => unreachable!("there are no other workers"),
            Action::Close(Conn::Client(id)) => {
                let unread = self.blocked.remove(&Conn::Client(id));
                let mut clients = self.clients.iter_mut();
                let client = clients.find(|client| client.id == id);
                let client = client.expect("a client");
                (client.closed, client.unread) = (true, unread);
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
        let mut rules = Rules {
            history: &mut self.history,
            fresh: &self.fresh,
            keeps_all: self.keeps_all,
            splits: self.splits,
            closes: self.closes,
        };
        let cut = self.engine.stats().cut > 0;
        for client in &mut self.clients {
            client.check(&mut rules);
            if client.closed && !client.gone {
                let may = client.may_be_closed || cut || !client.got.is_empty() || client.is_quit();
                let lost = self.target.is_none() || client.epoch < self.epoch;
                assert!(
                    may || self.closes && lost,
                    "closed without need: {}",
                    client.left()
                );
                if !may && !client.unread {
                    client.forbid_rest(&mut rules);
                }
            }
        }
        if self.closes {
            let served = |session: &Session| {
                let mut clients = self.clients.iter();
                let client = clients.find(|client| client.id == session.id);
                self.target.is_some() && client.expect("a client").epoch == self.epoch
            };
            invariants::check_orphans(&self.engine, served);
        }
        invariants::check(&self.engine, &self.wires);
    }

    fn heal(&mut self) {
        for server in 0..SERVERS {
            self.set_mode(server, Mode::Fenced);
        }
        self.set_mode(1, Mode::Primary);
        self.term += 1;
        self.publish(Some(1), None);
        self.settle();
        if self.closes {
            self.clients_come_back();
        }
        for _ in 0..30_000 {
            if self.clients.iter().all(Client::is_done) {
                return;
            }
            self.mend();
        }
        for session in self.engine.sessions.iter() {
            eprintln!("{session:#?}");
        }
        let left = self.clients.iter().filter(|client| !client.is_done());
        let left: Vec<_> = left.map(Client::left).collect();
        panic!("a healthy world does not answer: {}", left.join("\n"));
    }

    /// A step in a world where nothing goes wrong.
    fn mend(&mut self) {
        match self.rng.u8(..11) {
            0..3 => self.client_sends(),
            3..5 => self.server_works(),
            5..7 => self.server_delivers(),
            7 => self.flush_blocked(),
            8 => self.connects(),
            9 => self.server_unblocks(),
            _ => {
                let wake = self.engine.wake_at();
                self.pass(wake.unwrap_or(self.now));
            }
        }
        self.settle();
    }

    /// Everybody leaves: nothing may remain.
    fn end(&mut self) {
        for at in 0..self.clients.len() {
            self.part_with(at);
        }
        self.settle();
        for _ in 0..5_000 {
            if self.engine.links.iter().all(|link| !link.is_busy()) {
                break;
            }
            self.mend();
        }
        invariants::check_empty(&self.engine);
    }
}

/// Whether a server has queued this command.
fn in_transaction(wires: &BTreeMap<LinkId, Wire>, id: u32) -> bool {
    wires.values().any(|wire| wire.has_queued(id))
}

fn label(id: LinkId) -> String {
    format!("{:?}", id.0)
}

/// The beginning of what is said, on one line.
fn short(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", " ");
    let long = text.len() > 120;
    format!("{text:.120}{}", if long { "…" } else { "" })
}
