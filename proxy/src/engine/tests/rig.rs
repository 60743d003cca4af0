//! One client, one engine, and a server that answers what the test says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::ProxyConfig;
use crate::engine::{Action, ClientId, Conn, Engine, LinkId, Settings};
use crate::stats::Stats;
use crate::topology::{Topology, Upstream};

pub(super) const OUTCOME_UNKNOWN: &str =
    "-ERR outcome unknown: the primary was lost after this command was sent to it\r\n";
pub(super) const NOT_EXECUTED: &str =
    "-TRYAGAIN not executed: there was no primary to take this command in time\r\n";

pub(super) const LINGER: Duration = Duration::from_millis(100);

pub(super) fn settings() -> Settings {
    Settings::from(&ProxyConfig::new(([127, 0, 0, 1], 0).into()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do to begin with"
)]
pub(super) fn any_instant() -> Instant {
    Instant::now()
}

pub(super) fn upstream(port: u16) -> Upstream {
    Upstream {
        name: port.to_string(),
        host: "h".into(),
        port,
    }
}

pub(super) struct Rig {
    pub(super) engine: Engine,
    pub(super) now: Instant,
    pub(super) client: ClientId,
    pub(super) link: Option<LinkId>,
    /// To which port the latest link goes.
    pub(super) port: u16,
    pub(super) connects: usize,
    /// Whether links are connected as soon as that is asked for.
    pub(super) connecting_works: bool,
    /// Whether it takes until the test says so.
    pub(super) connecting_takes_time: bool,
    /// Whether written bytes are taken.
    pub(super) client_reads: bool,
    pub(super) server_reads: bool,
    /// What the server still answers when it is replaced.
    pub(super) left: Vec<u8>,
    sent: Vec<u8>,
    got: Vec<u8>,
    pub(super) closed: bool,
    pub(super) resumed: Vec<Conn>,
}

impl Rig {
    /// A client that has just connected; no primary.
    pub(super) fn lost() -> Self {
        Self::with(settings())
    }

    /// A client that has just connected; the primary is on port 1, in term 1.
    pub(super) fn new() -> Self {
        let mut rig = Self::lost();
        rig.point(1, 1);
        rig
    }

    pub(super) fn with(settings: Settings) -> Self {
        let mut engine = Engine::new(settings);
        let client = engine.client_accepted();
        Self {
            engine,
            now: any_instant(),
            client,
            link: None,
            port: 0,
            connects: 0,
            connecting_works: true,
            connecting_takes_time: false,
            client_reads: true,
            server_reads: true,
            left: Vec::new(),
            sent: Vec::new(),
            got: Vec::new(),
            closed: false,
            resumed: Vec::new(),
        }
    }

    pub(super) fn point(&mut self, term: u64, port: u16) {
        self.topology(Topology {
            term,
            primary: Some(upstream(port)),
            ..Topology::default()
        });
    }

    pub(super) fn nowhere(&mut self) {
        self.topology(Topology {
            term: 1,
            ..Topology::default()
        });
    }

    pub(super) fn topology(&mut self, topology: Topology) {
        self.engine.topology(self.now, &Arc::new(topology));
        self.settle();
        let left = std::mem::take(&mut self.left);
        if !left.is_empty() {
            self.server_bytes(&left);
        }
        if self.engine.wake_at() == Some(self.now + LINGER) {
            self.after(LINGER);
        }
    }

    /// The client sends commands, written as lines.
    pub(super) fn say(&mut self, lines: &[&str]) {
        self.client_bytes(wire(lines).as_bytes());
    }

    pub(super) fn client_bytes(&mut self, bytes: &[u8]) {
        self.engine
            .received(self.now, Conn::Client(self.client), bytes);
        self.settle();
    }

    pub(super) fn server(&mut self, bytes: &str) {
        self.server_bytes(bytes.as_bytes());
    }

    pub(super) fn server_bytes(&mut self, bytes: &[u8]) {
        let link = self.link.expect("a link");
        self.engine.received(self.now, Conn::Upstream(link), bytes);
        self.settle();
    }

    /// Connecting, which took time, is done.
    pub(super) fn connected(&mut self) {
        self.engine.link_up(self.now, self.link.expect("a link"));
        self.settle();
    }

    pub(super) fn server_closes(&mut self) {
        let link = self.link.take().expect("a link");
        self.engine.closed(self.now, Conn::Upstream(link));
        self.settle();
    }

    pub(super) fn half_close(&mut self) {
        self.engine.client_finished(self.now, self.client);
        self.settle();
    }

    pub(super) fn leave(&mut self) {
        self.engine.closed(self.now, Conn::Client(self.client));
        self.settle();
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

    /// What the server was sent since the last call: the words of its commands.
    pub(super) fn sent(&mut self) -> String {
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.sent)).into_owned();
        words(&text)
    }

    pub(super) fn sent_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sent)
    }

    /// What the client got since the last call.
    pub(super) fn got(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.got)).into_owned()
    }

    pub(super) fn stats(&self) -> Stats {
        *self.engine.stats()
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..100 {
            let mut actions = Vec::new();
            self.engine.settle(self.now, &mut actions);
            if actions.is_empty() {
                return;
            }
            let stuck = actions
                .iter()
                .all(|action| matches!(action, Action::Flush(_)));
            let before = (self.sent.len(), self.got.len());
            for action in actions {
                self.act(action);
            }
            if stuck && before == (self.sent.len(), self.got.len()) {
                return;
            }
        }
        panic!("the engine never settles");
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect(id, to) => {
                assert_eq!(self.link, None, "one link at a time");
                self.connects += 1;
                self.port = to.port;
                if self.connecting_takes_time {
                    self.link = Some(id);
                } else if self.connecting_works {
                    self.link = Some(id);
                    self.engine.link_up(self.now, id);
                } else {
                    self.engine.closed(self.now, Conn::Upstream(id));
                }
            }
            Action::Flush(conn) => {
                let (to, taken) = match conn {
                    Conn::Client(_) => (&mut self.got, self.client_reads),
                    Conn::Upstream(_) => (&mut self.sent, self.server_reads),
                };
                if taken {
                    let output = self.engine.output(conn);
                    let n = output.len();
                    to.extend(output);
                    self.engine.written(conn, n);
                }
            }
            Action::Resume(conn) => self.resumed.push(conn),
            Action::Drain(id) => {
                assert_eq!(self.link.take(), Some(id));
                self.engine.closed(self.now, Conn::Upstream(id));
            }
            Action::Close(Conn::Client(id)) => {
                assert_eq!(id, self.client);
                self.closed = true;
            }
            Action::Abandon(id) | Action::Close(Conn::Upstream(id)) => {
                assert_eq!(self.link.take(), Some(id));
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
