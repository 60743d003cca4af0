//! One engine, its clients, and links to servers that answer what the test says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{Action, ClientId, Conn, Engine, LinkId, Settings};
use crate::commands::Commands;
use crate::config::{Orphans, ProxyConfig};
use crate::stats::Stats;
use crate::topology::{Topology, Upstream};

pub(super) const OUTCOME_UNKNOWN: &str =
    "-ERR outcome unknown: the primary was lost after this command was sent to it\r\n";
pub(super) const NOT_EXECUTED: &str =
    "-TRYAGAIN not executed: there was no primary to take this command in time\r\n";

pub(super) const LINGER: Duration = Duration::from_millis(100);
pub(super) const HOLD: Duration = Duration::from_secs(5);
/// How long a server that refused is left alone.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// The defaults, without links that are made before they are needed.
pub(super) fn settings() -> Settings {
    Settings {
        pool_warm: 0,
        ..Settings::from(&ProxyConfig::new(([127, 0, 0, 1], 0).into()))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do to begin with"
)]
pub(super) fn any_instant() -> Instant {
    Instant::now()
}

pub(super) fn engine(now: Instant, settings: Settings) -> Engine {
    let commands = Commands::new(&BTreeMap::new()).expect("no renames");
    Engine::new(
        now,
        settings,
        Arc::new(commands),
        Arc::default(),
        Arc::default(),
    )
}

pub(super) fn address() -> SocketAddr {
    ([127, 0, 0, 1], 1234).into()
}

pub(super) fn upstream(port: u16) -> Upstream {
    Upstream {
        name: port.to_string(),
        host: "h".into(),
        port,
    }
}

pub(super) fn primary(term: u64, port: u16) -> Topology {
    Topology {
        term,
        primary: Some(upstream(port)),
        ..Topology::default()
    }
}

struct Client {
    id: ClientId,
    got: Vec<u8>,
    closed: bool,
    reads: bool,
}

/// A connection to a server, or the wish for one.
pub(super) struct Line {
    pub(super) id: LinkId,
    pub(super) port: u16,
    sent: Vec<u8>,
    pub(super) open: bool,
    /// Whether it takes what is written to it.
    pub(super) reads: bool,
}

/// Clients and links are numbered in the order in which they came to be. There is one client to
/// begin with.
pub(super) struct Rig {
    pub(super) engine: Engine,
    pub(super) now: Instant,
    clients: Vec<Client>,
    pub(super) lines: Vec<Line>,
    /// Whether links are connected as soon as that is asked for.
    pub(super) connecting_works: bool,
    /// Whether it takes until the test says so.
    pub(super) connecting_takes_time: bool,
    pub(super) resumed: Vec<Conn>,
    /// Questions to other workers, which there are none of.
    pub(super) questions: usize,
    /// Whether servers are asked for their commands.
    pub(super) asks_for_commands: bool,
}

impl Rig {
    /// No primary yet.
    pub(super) fn lost() -> Self {
        Self::with(settings())
    }

    /// The primary is on port 1, in term 1; link 0 is its shared one.
    pub(super) fn new() -> Self {
        Self::pointed(settings())
    }

    pub(super) fn pointed(settings: Settings) -> Self {
        let mut rig = Self::with(settings);
        rig.point(1, 1);
        rig
    }

    /// As [`new`](Self::new), but clients are closed with their primary.
    pub(super) fn closing(settings: Settings) -> Self {
        let mut rig = Self::empty(Settings {
            orphans: Orphans::Close,
            ..settings
        });
        rig.point(1, 1);
        rig.join();
        rig
    }

    pub(super) fn with(settings: Settings) -> Self {
        let mut rig = Self::empty(settings);
        rig.join();
        rig
    }

    /// No client yet.
    fn empty(settings: Settings) -> Self {
        let now = any_instant();
        let mut rig = Self {
            engine: engine(now, settings),
            now,
            clients: Vec::new(),
            lines: Vec::new(),
            connecting_works: true,
            connecting_takes_time: false,
            resumed: Vec::new(),
            questions: 0,
            asks_for_commands: false,
        };
        // As a server says that has no password.
        rig.engine.needs_auth = Some(false);
        rig
    }

    /// One more client connects.
    pub(super) fn join(&mut self) -> usize {
        let id = self.engine.client_accepted(self.now, address(), address());
        self.clients.push(Client {
            id,
            got: Vec::new(),
            closed: false,
            reads: true,
        });
        self.clients.len() - 1
    }

    pub(super) fn point(&mut self, term: u64, port: u16) {
        self.topology(&primary(term, port));
    }

    pub(super) fn nowhere(&mut self) {
        self.topology(&Topology {
            term: 1,
            ..Topology::default()
        });
    }

    pub(super) fn topology(&mut self, topology: &Topology) {
        self.engine.topology(self.now, topology);
        if !self.asks_for_commands {
            for server in self.engine.servers.iter_mut().flatten() {
                server.overlaid = true;
            }
        }
        self.settle();
    }

    /// A new primary, and nothing more from the former one.
    pub(super) fn fail_over(&mut self, term: u64, port: u16) {
        self.point(term, port);
        self.after(LINGER);
    }

    pub(super) fn id(&self, client: usize) -> ClientId {
        self.clients[client].id
    }

    pub(super) fn conn(&self, client: usize) -> Conn {
        Conn::Client(self.id(client))
    }

    pub(super) fn link(&self, line: usize) -> Conn {
        Conn::Upstream(self.lines[line].id)
    }

    /// A client sends commands, written as lines.
    pub(super) fn say(&mut self, client: usize, lines: &[&str]) {
        self.send(client, wire(lines).as_bytes());
    }

    pub(super) fn send(&mut self, client: usize, bytes: &[u8]) {
        self.receive(client, bytes);
        self.settle();
    }

    /// As [`send`](Self::send), but the turn goes on.
    pub(super) fn receive(&mut self, client: usize, bytes: &[u8]) {
        let conn = self.conn(client);
        self.engine.received(self.now, conn, bytes);
    }

    pub(super) fn reply(&mut self, line: usize, text: &str) {
        self.reply_bytes(line, text.as_bytes());
    }

    pub(super) fn reply_bytes(&mut self, line: usize, bytes: &[u8]) {
        assert!(self.lines[line].open, "link {line} is closed");
        self.engine.received(self.now, self.link(line), bytes);
        self.settle();
    }

    /// Connecting, which took time, is done.
    pub(super) fn connected(&mut self, line: usize) {
        self.engine.link_up(self.now, self.lines[line].id);
        self.settle();
    }

    pub(super) fn server_closes(&mut self, line: usize) {
        assert!(std::mem::take(&mut self.lines[line].open));
        self.engine.closed(self.now, self.link(line));
        self.settle();
    }

    pub(super) fn half_close(&mut self, client: usize) {
        self.engine.client_finished(self.id(client));
        self.settle();
    }

    pub(super) fn leave(&mut self, client: usize) {
        let conn = self.conn(client);
        self.engine.closed(self.now, conn);
        self.settle();
    }

    /// The client does not read what it is sent, or reads it again.
    pub(super) fn client_reads(&mut self, client: usize, reads: bool) {
        self.clients[client].reads = reads;
        if reads {
            self.act(Action::Flush(self.conn(client)));
            self.settle();
        }
    }

    pub(super) fn server_reads(&mut self, line: usize, reads: bool) {
        self.lines[line].reads = reads;
        if reads {
            self.act(Action::Flush(self.link(line)));
            self.settle();
        }
    }

    pub(super) fn after(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..10_000 {
            match self.engine.wake_at().filter(|at| *at <= end) {
                Some(at) => self.now = at.max(self.now),
                None => {
                    self.now = end;
                    return self.settle();
                }
            }
            self.settle();
        }
        panic!("the engine spins");
    }

    /// What was sent over a link since the last call: the words of the commands.
    pub(super) fn sent(&mut self, line: usize) -> String {
        let bytes = self.sent_bytes(line);
        words(&String::from_utf8_lossy(&bytes))
    }

    pub(super) fn sent_bytes(&mut self, line: usize) -> Vec<u8> {
        std::mem::take(&mut self.lines[line].sent)
    }

    /// What a client got since the last call.
    pub(super) fn got(&mut self, client: usize) -> String {
        let got = std::mem::take(&mut self.clients[client].got);
        String::from_utf8_lossy(&got).into_owned()
    }

    pub(super) fn is_closed(&self, client: usize) -> bool {
        self.clients[client].closed
    }

    /// Numbers of the links that are open.
    pub(super) fn open(&self) -> Vec<usize> {
        let lines = self.lines.iter().enumerate();
        lines
            .filter(|(_, line)| line.open)
            .map(|(at, _)| at)
            .collect()
    }

    pub(super) fn stats(&self) -> Stats {
        *self.engine.stats()
    }

    /// Bytes of requests that are kept for sessions.
    pub(super) fn held(&self) -> usize {
        self.engine.bytes
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..100 {
            let mut actions = Vec::new();
            self.engine.settle(self.now, &mut actions);
            let moves = |rig: &Self, action: &Action| match action {
                Action::Flush(conn) => rig.takes(*conn),
                _ => true,
            };
            if !actions.iter().any(|action| moves(self, action)) {
                return;
            }
            for action in actions {
                self.act(action);
            }
        }
        panic!("the engine never settles");
    }

    fn takes(&self, conn: Conn) -> bool {
        match conn {
            Conn::Client(id) => self
                .clients
                .iter()
                .any(|client| client.id == id && client.reads),
            Conn::Upstream(id) => self.lines.iter().any(|line| line.id == id && line.reads),
        }
    }

    fn line(&mut self, id: LinkId) -> &mut Line {
        let mut lines = self.lines.iter_mut();
        lines
            .find(|line| line.id == id)
            .expect("a link that was asked for")
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect(id, to) => {
                self.lines.push(Line {
                    id,
                    port: to.port,
                    sent: Vec::new(),
                    open: self.connecting_works || self.connecting_takes_time,
                    reads: true,
                });
                if self.connecting_takes_time {
                } else if self.connecting_works {
                    self.engine.link_up(self.now, id);
                } else {
                    self.engine.closed(self.now, Conn::Upstream(id));
                }
            }
            Action::Flush(conn) if self.takes(conn) => {
                let output = self.engine.output(conn).to_vec();
                self.engine.written(conn, output.len());
                match conn {
                    Conn::Client(id) => {
                        let mut clients = self.clients.iter_mut();
                        let client = clients.find(|client| client.id == id);
                        client.expect("a client").got.extend(output);
                    }
                    Conn::Upstream(id) => self.line(id).sent.extend(output),
                }
            }
            Action::Flush(_) => {}
            Action::Resume(conn) => self.resumed.push(conn),
            Action::Ask(..) => self.questions += 1,
            Action::Drain(id) => {
                assert!(std::mem::take(&mut self.line(id).open), "closed twice");
                self.engine.closed(self.now, Conn::Upstream(id));
            }
            Action::Close(Conn::Client(id)) => {
                let mut clients = self.clients.iter_mut();
                let client = clients.find(|client| client.id == id);
                client.expect("a client").closed = true;
            }
            Action::Abandon(id) | Action::Close(Conn::Upstream(id)) => {
                assert!(std::mem::take(&mut self.line(id).open), "closed twice");
            }
        }
    }
}

/// Commands, written as lines, as bytes.
pub(super) fn wire(lines: &[&str]) -> String {
    let mut out = String::new();
    for line in lines {
        let words: Vec<_> = line.split(' ').collect();
        out += &format!("*{}\r\n", words.len());
        for word in words {
            out += &format!("${}\r\n{word}\r\n", word.len());
        }
    }
    out
}

/// The reverse of [`wire`], on one line.
fn words(wire: &str) -> String {
    let lines = wire
        .split_terminator("\r\n")
        .filter(|line| !line.starts_with('$'));
    let lines = lines.map(|line| if line.starts_with('*') { "|" } else { line });
    let text = lines.collect::<Vec<_>>().join(" ");
    text.trim_start_matches("| ").to_owned()
}
