//! Model servers: they run what they are sent, and know who asked for what on which connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bellwether_resp::{Limits, RequestScanner};

use super::super::super::{LinkId, arguments};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Primary,
    /// A replica: it refuses writes.
    Fenced,
    Loading,
    /// It takes bytes, and does nothing with them.
    Hung,
    Down,
}

/// What a connection is set to: it is in every answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct State {
    pub(super) database: u32,
    pub(super) user: String,
    pub(super) resp3: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            database: 0,
            user: "default".into(),
            resp3: false,
        }
    }
}

/// The answer to a command with this number, in this state.
pub(super) fn tagged(id: u32, state: &State) -> String {
    let filler = match id % 64 {
        0 => 90_000,
        8 | 16 => 3_000,
        _ => 0,
    };
    let State {
        database,
        user,
        resp3,
    } = state;
    let text = format!("{id}:{database}:{user}:{resp3}:{}", "y".repeat(filler));
    format!("${}\r\n{text}\r\n", text.len())
}

/// What all servers together did.
#[derive(Default)]
pub(super) struct History {
    /// How often each command ran that may run only once.
    pub(super) ran: BTreeMap<u32, usize>,
    /// On which connection a key was watched last, and a queued command ran.
    pub(super) watched: BTreeMap<u32, LinkId>,
    pub(super) executed: BTreeMap<u32, LinkId>,
    /// These must not run any more.
    pub(super) forbidden: BTreeMap<u32, &'static str>,
    pub(super) messages: u64,
}

impl History {
    fn run(&mut self, id: u32) {
        *self.ran.entry(id).or_default() += 1;
        assert_eq!(self.ran[&id], 1, "{id} ran twice");
        let forbidden = self.forbidden.get(&id);
        assert!(forbidden.is_none(), "{id} runs, but {forbidden:?}");
    }
}

struct Blocked {
    id: u32,
    until: Option<Instant>,
}

/// One connection from the proxy to a server.
pub(super) struct Wire {
    pub(super) link: LinkId,
    pub(super) server: usize,
    /// Which spell of leadership it was made in.
    pub(super) epoch: u64,
    /// Bytes of a request that is not complete.
    pub(super) tail: Vec<u8>,
    pub(super) requests: VecDeque<Vec<Vec<u8>>>,
    pub(super) to_proxy: Vec<u8>,
    /// Where the reply to which command begins in all that is sent to the proxy.
    pub(super) marks: Vec<(usize, u32)>,
    produced: usize,
    pub(super) delivered: usize,
    pub(super) state: State,
    multi: Option<Vec<Vec<Vec<u8>>>>,
    watching: bool,
    subscriptions: BTreeSet<String>,
    blocked: Option<Blocked>,
    pub(super) closed_by_server: bool,
    pub(super) closed_by_proxy: bool,
    pub(super) paused: bool,
}

impl Wire {
    pub(super) fn new(link: LinkId, server: usize, epoch: u64) -> Self {
        Self {
            link,
            server,
            epoch,
            tail: Vec::new(),
            requests: VecDeque::new(),
            to_proxy: Vec::new(),
            marks: Vec::new(),
            produced: 0,
            delivered: 0,
            state: State::default(),
            multi: None,
            watching: false,
            subscriptions: BTreeSet::new(),
            blocked: None,
            closed_by_server: false,
            closed_by_proxy: false,
            paused: false,
        }
    }

    /// Bytes that the proxy wrote.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.tail.extend(bytes);
        let (requests, used) = requests(&self.tail);
        self.requests.extend(requests);
        self.tail.drain(..used);
    }

    fn answer(&mut self, id: Option<u32>, reply: &str) {
        if self.closed_by_proxy {
            return;
        }
        self.marks.extend(id.map(|id| (self.produced, id)));
        self.produced += reply.len();
        self.to_proxy.extend(reply.as_bytes());
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// Whether this command waits for EXEC.
    pub(super) fn has_queued(&self, id: u32) -> bool {
        let queued = self.multi.iter().flatten();
        queued
            .filter_map(|words| number(words))
            .any(|queued| queued == id)
            || self
                .blocked
                .as_ref()
                .is_some_and(|blocked| blocked.id == id)
    }

    /// Runs the next request. False: there is none, or it must wait.
    pub(super) fn work(
        &mut self,
        mode: Mode,
        rng: &mut fastrand::Rng,
        now: Instant,
        world: &mut History,
    ) -> bool {
        if self.is_blocked() || matches!(mode, Mode::Down | Mode::Hung) {
            return false;
        }
        let Some(words) = self.requests.pop_front() else {
            return false;
        };
        let id = number(&words);
        if mode == Mode::Loading
            && !matches!(
                name(&words).as_str(),
                "AUTH" | "HELLO" | "SELECT" | "CLIENT"
            )
        {
            self.multi = None;
            self.answer(id, "-LOADING x\r\n");
            return true;
        }
        let confined = !self.subscriptions.is_empty() && !self.state.resp3;
        let allowed =
            ["SUBSCRIBE", "UNSUBSCRIBE", "PING", "RESET"].contains(&name(&words).as_str());
        if confined && !allowed {
            self.answer(
                id,
                "-ERR Can't execute it: only (P|S)SUBSCRIBE and the like are allowed\r\n",
            );
            return true;
        }
        let queues = !matches!(
            name(&words).as_str(),
            "EXEC" | "DISCARD" | "MULTI" | "WATCH" | "RESET"
        );
        if self.multi.is_some() && queues {
            let refused = mode == Mode::Fenced && writes(&words);
            if refused {
                self.answer(id, "-READONLY x\r\n");
                // EXEC will be refused as well.
                self.multi = Some(vec![vec![b"ABORT".to_vec()]]);
            } else {
                self.multi.as_mut().expect("a transaction").push(words);
                self.answer(id, "+QUEUED\r\n");
            }
            return true;
        }
        self.run(mode, rng, now, world, &words);
        true
    }

    fn run(
        &mut self,
        mode: Mode,
        rng: &mut fastrand::Rng,
        now: Instant,
        world: &mut History,
        words: &[Vec<u8>],
    ) {
        let id = number(words);
        let name = name(words);
        match name.as_str() {
            "BLPOP" => {
                if mode == Mode::Fenced {
                    return self.answer(id, "-READONLY x\r\n");
                }
                let seconds: f64 = text(&words[2]).parse().expect("a timeout");
                let until = (seconds > 0.0).then(|| now + Duration::from_secs_f64(seconds));
                self.blocked = Some(Blocked {
                    id: id.expect("a number"),
                    until,
                });
            }
            "MULTI" => {
                let reply = if self.multi.is_some() {
                    "-ERR nested\r\n"
                } else {
                    "+OK\r\n"
                };
                self.multi.get_or_insert_default();
                self.answer(id, reply);
            }
            "EXEC" => self.exec(rng, world),
            "DISCARD" => {
                let reply = if self.multi.is_some() {
                    "+OK\r\n"
                } else {
                    "-ERR DISCARD without MULTI\r\n"
                };
                self.multi = None;
                self.watching = false;
                self.answer(id, reply);
            }
            "WATCH" => {
                self.watching = true;
                world.watched.insert(id.expect("a number"), self.link);
                self.answer(id, "+OK\r\n");
            }
            "UNWATCH" => {
                self.watching = false;
                self.answer(id, "+OK\r\n");
            }
            "SUBSCRIBE" | "UNSUBSCRIBE" => self.subscribe(&name.to_lowercase(), &words[1..]),
            "EVAL" if mode == Mode::Fenced => {
                // It had effects before it met what it must not do.
                world.run(id.expect("a number"));
                self.answer(id, "-READONLY x\r\n");
            }
            _ if mode == Mode::Fenced && writes(words) => self.answer(id, "-READONLY x\r\n"),
            _ => {
                let reply = self.plain(world, words);
                self.answer(id, &reply);
            }
        }
    }

    /// What answers at once, and may be queued.
    fn plain(&mut self, world: &mut History, words: &[Vec<u8>]) -> String {
        let id = number(words);
        match name(words).as_str() {
            "SELECT" => {
                self.state.database = text(&words[1]).parse().expect("a number");
                "+OK\r\n".into()
            }
            "AUTH" => {
                self.state.user = text(&words[1]);
                "+OK\r\n".into()
            }
            "HELLO" => {
                self.state.resp3 = text(&words[1]) == "3";
                let kind = if self.state.resp3 { "%1" } else { "*2" };
                format!("{kind}\r\n$2\r\nid\r\n:999\r\n")
            }
            "RESET" => {
                (self.state, self.multi, self.watching) = (State::default(), None, false);
                self.subscriptions.clear();
                "+RESET\r\n".into()
            }
            "CLIENT" => ":7\r\n".into(),
            "COMMAND" => "*0\r\n".into(),
            "INFO" => {
                let text = "role:slave\r\nmaster_link_status:up\r\nslave_repl_offset:1\r\n";
                format!("${}\r\n{text}\r\n", text.len())
            }
            "WAIT" => format!(":{}\r\n", id.expect("a number")),
            "PING" if !self.subscriptions.is_empty() && !self.state.resp3 => {
                let id = text(&words[1]);
                format!("*2\r\n$4\r\npong\r\n${}\r\n{id}\r\n", id.len())
            }
            "PING" => format!("${}\r\n{}\r\n", words[1].len(), text(&words[1])),
            _ if id.is_none() => ":0\r\n".into(),
            _ => {
                let id = id.expect("a number");
                if name(words) != "GET" {
                    world.run(id);
                }
                tagged(id, &self.state)
            }
        }
    }

    fn exec(&mut self, rng: &mut fastrand::Rng, world: &mut History) {
        let watching = std::mem::take(&mut self.watching);
        let Some(queued) = self.multi.take() else {
            return self.answer(None, "-ERR EXEC without MULTI\r\n");
        };
        if queued.first().is_some_and(|words| name(words) == "ABORT") {
            return self.answer(None, "-EXECABORT x\r\n");
        }
        if watching && rng.u8(..4) == 0 {
            let null = if self.state.resp3 { "_\r\n" } else { "*-1\r\n" };
            return self.answer(None, null);
        }
        let mut reply = format!("*{}\r\n", queued.len());
        let first = queued.first().and_then(|words| number(words));
        for words in queued {
            world
                .executed
                .extend(number(&words).map(|id| (id, self.link)));
            reply += &self.plain(world, &words);
        }
        self.answer(first, &reply);
    }

    fn subscribe(&mut self, word: &str, names: &[Vec<u8>]) {
        for name in names {
            let name = text(name);
            match word {
                "subscribe" => self.subscriptions.insert(name.clone()),
                _ => self.subscriptions.remove(&name),
            };
            let kind = if self.state.resp3 { '>' } else { '*' };
            let (long, count) = (name.len(), self.subscriptions.len());
            let message = format!(
                "{kind}3\r\n${}\r\n{word}\r\n${long}\r\n{name}\r\n:{count}\r\n",
                word.len()
            );
            self.answer(None, &message);
        }
    }

    /// Somebody publishes something.
    pub(super) fn publish(&mut self, world: &mut History) {
        for name in self.subscriptions.clone() {
            world.messages += 1;
            let kind = if self.state.resp3 { '>' } else { '*' };
            let number = format!("{:08}", world.messages);
            let message = format!(
                "{kind}3\r\n$7\r\nmessage\r\n${}\r\n{name}\r\n$8\r\n{number}\r\n",
                name.len()
            );
            self.answer(None, &message);
        }
    }

    /// What a command waits for has come, or its time is over.
    pub(super) fn unblock(&mut self, now: Instant, world: &mut History, serve: bool) {
        let Some(Blocked { id, until }) = self.blocked.take() else {
            return;
        };
        let state = self.state.clone();
        if serve {
            world.run(id);
            self.answer(Some(id), &tagged(id, &state));
        } else if until.is_some_and(|until| until <= now) {
            let null = if state.resp3 { "_\r\n" } else { "*-1\r\n" };
            self.answer(Some(id), null);
        } else {
            self.blocked = Some(Blocked { id, until });
        }
    }

    /// The server became a replica.
    pub(super) fn demote(&mut self, kill: bool) {
        if let Some(Blocked { id, .. }) = self.blocked.take() {
            self.answer(Some(id), "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n");
            self.close();
        }
        if kill {
            self.close();
        }
    }

    pub(super) fn close(&mut self) {
        self.closed_by_server = true;
        self.requests.clear();
        self.blocked = None;
    }
}

/// The requests that begin a stream, and how many bytes they take.
pub(super) fn requests(bytes: &[u8]) -> (Vec<Vec<Vec<u8>>>, usize) {
    let mut scanner = RequestScanner::new(Limits::default());
    let (mut all, mut at) = (Vec::new(), 0);
    while let Ok(Some(len)) = scanner.scan(&bytes[at..]) {
        let words = arguments(&bytes[at..at + len]);
        if !words.is_empty() {
            all.push(words);
        }
        at += len;
    }
    (all, at)
}

fn text(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

fn name(words: &[Vec<u8>]) -> String {
    text(&words[0])
}

/// The number of a command, which is its first argument.
pub(super) fn number(words: &[Vec<u8>]) -> Option<u32> {
    if matches!(name(words).as_str(), "SELECT" | "HELLO" | "AUTH" | "CLIENT") {
        return None;
    }
    text(words.get(1)?).parse().ok()
}

fn writes(words: &[Vec<u8>]) -> bool {
    name(words) == "SET"
}
