//! Model clients: what they ask, and what they may be told.

use std::collections::{BTreeSet, VecDeque};

use bellwether_resp::{Limits, Scanner};

use super::super::super::ClientId;
use super::super::rig::wire;
use super::server::{History, State, tagged};

/// A command that is to be answered.
#[derive(Debug, Clone)]
pub(super) enum Item {
    Set(u32),
    Get(u32),
    Eval(u32),
    Publish(u32),
    Select(u32),
    Auth(String),
    Hello(bool),
    Reset,
    Watch(u32),
    Unwatch,
    Multi,
    Exec,
    Discard,
    Block(u32),
    Wait(u32),
    Ping(u32),
    Subscribe(Vec<String>),
    Unsubscribe(Vec<String>),
    Quit,
}

/// A transaction, as the client sees it.
struct Open {
    queued: Vec<u32>,
    all: Vec<u32>,
    failed: bool,
    watch: Option<u32>,
    may_be_null: bool,
}

pub(super) struct Client {
    pub(super) id: ClientId,
    number: usize,
    /// The spell of leadership in which it connected.
    pub(super) epoch: u64,
    items: VecDeque<Item>,
    pub(super) ids: Vec<u32>,
    pub(super) to_send: Vec<u8>,
    scanner: Scanner,
    pub(super) got: Vec<u8>,
    state: State,
    open: Option<Open>,
    /// What it watches, as it was told.
    watched: Option<u32>,
    /// It may have been told that this did not run.
    asked_to_watch: bool,
    subscribed: BTreeSet<String>,
    /// Confirmations of the current item that came.
    confirmed: usize,
    last_message: u64,
    pub(super) paused: bool,
    pub(super) closed: bool,
    /// It had not taken all its answers when it was closed.
    pub(super) unread: bool,
    pub(super) gone: bool,
    pub(super) finished: bool,
    /// A reason to close it.
    pub(super) may_be_closed: bool,
    quit: bool,
    pub(super) successes: usize,
}

/// What a client may be told depends on.
pub(super) struct Rules<'a> {
    pub(super) history: &'a mut History,
    pub(super) fresh: &'a BTreeSet<u32>,
    /// Every request is kept until it is answered.
    pub(super) keeps_all: bool,
    /// Replicas may answer reads.
    pub(super) splits: bool,
    /// Clients are closed with their primary: reads before what is unknown are so, too.
    pub(super) closes: bool,
}

impl Client {
    pub(super) fn new(
        id: ClientId,
        number: usize,
        epoch: u64,
        rng: &mut fastrand::Rng,
        next: &mut u32,
    ) -> Self {
        let mut client = Self {
            id,
            number,
            epoch,
            items: VecDeque::new(),
            ids: Vec::new(),
            to_send: Vec::new(),
            scanner: Scanner::new(Limits::default()),
            got: Vec::new(),
            state: State::default(),
            open: None,
            watched: None,
            asked_to_watch: false,
            subscribed: BTreeSet::new(),
            confirmed: 0,
            last_message: 0,
            paused: false,
            closed: false,
            unread: false,
            gone: false,
            finished: false,
            may_be_closed: false,
            quit: false,
            successes: 0,
        };
        for _ in 0..rng.usize(1..15) {
            client.phrase(rng, next);
        }
        match rng.u8(..8) {
            0 => client.ask(Item::Quit, "QUIT"),
            // It leaves something behind in its connection.
            1 | 2 => {
                client.ask(Item::Multi, "MULTI");
                let id = client.number(next);
                client.ask(Item::Set(id), &format!("SET {id} x"));
            }
            3 => {
                let id = client.number(next);
                client.ask(Item::Watch(id), &format!("WATCH {id}"));
            }
            _ => {}
        }
        client
    }

    fn ask(&mut self, item: Item, line: &str) {
        self.items.push_back(item);
        self.to_send.extend(wire(&[line]).into_bytes());
    }

    fn number(&mut self, next: &mut u32) -> u32 {
        *next += 1;
        self.ids.push(*next);
        *next
    }

    /// Adds some commands that belong together.
    fn phrase(&mut self, rng: &mut fastrand::Rng, next: &mut u32) {
        if rng.u8(..16) == 0 {
            self.to_send.extend(b"\r\n");
        }
        match rng.u8(..20) {
            0..10 => {
                for _ in 0..rng.usize(1..8) {
                    self.plain(rng, next);
                }
            }
            10 => {
                let database = rng.u32(..3);
                self.ask(Item::Select(database), &format!("SELECT {database}"));
            }
            11 => {
                let user = ["default", "ann", "bob"][rng.usize(..3)];
                self.ask(Item::Auth(user.into()), &format!("AUTH {user} x"));
            }
            12 => {
                let resp3 = rng.bool();
                self.ask(
                    Item::Hello(resp3),
                    if resp3 { "HELLO 3" } else { "HELLO 2" },
                );
            }
            13 => self.ask(Item::Reset, "RESET"),
            14 | 15 => self.transaction(rng, next),
            16 => {
                let id = self.number(next);
                self.ask(Item::Watch(id), &format!("WATCH {id}"));
                self.plain(rng, next);
                self.ask(Item::Unwatch, "UNWATCH");
            }
            17 => {
                let id = self.number(next);
                let timeout = ["0", "0.5", "3"][rng.usize(..3)];
                self.ask(Item::Block(id), &format!("BLPOP {id} {timeout}"));
            }
            18 => {
                let id = self.number(next);
                self.ask(Item::Wait(id), &format!("WAIT {id} 0"));
            }
            _ => self.subscription(rng, next),
        }
    }

    fn plain(&mut self, rng: &mut fastrand::Rng, next: &mut u32) {
        let id = self.number(next);
        let filler = match rng.u8(..) {
            0..6 => 70_000,
            6..12 => 20_000,
            _ => 1,
        };
        let filler = "x".repeat(filler);
        match rng.u8(..8) {
            0..3 => self.ask(Item::Set(id), &format!("SET {id} {filler}")),
            3..6 => self.ask(Item::Get(id), &format!("GET {id}")),
            6 => self.ask(Item::Eval(id), &format!("EVAL {id} 0")),
            _ => self.ask(Item::Publish(id), &format!("PUBLISH {id} {filler}")),
        }
    }

    fn transaction(&mut self, rng: &mut fastrand::Rng, next: &mut u32) {
        let watch = rng.bool().then(|| self.number(next));
        if let Some(id) = watch {
            self.ask(Item::Watch(id), &format!("WATCH {id}"));
            self.plain(rng, next);
        }
        self.ask(Item::Multi, "MULTI");
        for _ in 0..rng.usize(..4) {
            let id = self.number(next);
            let large = rng.u8(..32) == 0;
            // It is not kept to be run again.
            self.may_be_closed |= large;
            let filler = "x".repeat(if large { 50_000 } else { 1 });
            match rng.bool() {
                true => self.ask(Item::Set(id), &format!("SET {id} {filler}")),
                false => self.ask(Item::Get(id), &format!("GET {id}")),
            }
        }
        match rng.u8(..5) {
            0 => self.ask(Item::Discard, "DISCARD"),
            _ => self.ask(Item::Exec, "EXEC"),
        }
    }

    fn subscription(&mut self, rng: &mut fastrand::Rng, next: &mut u32) {
        let names: Vec<String> = (0..rng.usize(1..4)).map(|n| format!("c{n}")).collect();
        let line = names.join(" ");
        self.ask(Item::Subscribe(names.clone()), &format!("SUBSCRIBE {line}"));
        for _ in 0..rng.usize(..3) {
            let id = self.number(next);
            self.ask(Item::Ping(id), &format!("PING {id}"));
        }
        self.ask(Item::Unsubscribe(names), &format!("UNSUBSCRIBE {line}"));
    }

    pub(super) fn is_done(&self) -> bool {
        self.gone || self.closed || (self.to_send.is_empty() && self.items.is_empty())
    }

    /// Whether it was told goodbye.
    pub(super) fn is_quit(&self) -> bool {
        self.quit
    }

    pub(super) fn left(&self) -> String {
        format!(
            "client {} has {} bytes to send and waits for {:?} and {} more; paused: {}",
            self.number,
            self.to_send.len(),
            self.items.front(),
            self.items.len(),
            self.paused
        )
    }

    /// It is closed: what it was not answered did not run, nor will.
    pub(super) fn forbid_rest(&mut self, rules: &mut Rules<'_>) {
        for item in self.items.drain(..) {
            if let Item::Set(id) | Item::Eval(id) | Item::Publish(id) | Item::Block(id) = item {
                forbid(rules, id, "its client was closed without an answer");
            }
        }
    }

    /// Looks at whatever has come.
    pub(super) fn check(&mut self, rules: &mut Rules<'_>) {
        while let Some(len) = self.scanner.scan(&self.got).expect("whole replies") {
            let frame: Vec<u8> = self.got.drain(..len).collect();
            let frame = String::from_utf8_lossy(&frame).into_owned();
            if self.scanner.is_push() || self.is_message(&frame) {
                self.push(&frame);
            } else {
                self.reply(rules, &frame);
            }
        }
    }

    fn is_message(&self, frame: &str) -> bool {
        let words = ["$7\r\nmessage", "$9\r\nsubscribe", "$11\r\nunsubscribe"];
        !self.state.resp3
            && words
                .iter()
                .any(|word| frame.starts_with(&format!("*3\r\n{word}\r\n")))
    }

    fn push(&mut self, frame: &str) {
        let words: Vec<&str> = frame.split("\r\n").collect();
        match words[2] {
            "message" => {
                assert!(
                    self.subscribed.contains(words[4]),
                    "a message of another: {frame}"
                );
                let number = words[6].parse().expect("a number");
                assert!(
                    number > self.last_message,
                    "{frame} after {}",
                    self.last_message
                );
                self.last_message = number;
            }
            "resubscribed" => assert!(self.state.resp3),
            word => {
                let (names, adds) = match self.items.front() {
                    Some(Item::Subscribe(names)) => (names.clone(), true),
                    Some(Item::Unsubscribe(names)) => (names.clone(), false),
                    other => panic!("{other:?} is answered by {frame}"),
                };
                assert_eq!(adds, word == "subscribe", "{frame}");
                assert_eq!(words[4], names[self.confirmed], "{frame}");
                match adds {
                    true => self.subscribed.insert(words[4].into()),
                    false => self.subscribed.remove(words[4]),
                };
                // Without RESP3, nobody could tell that messages were missed.
                self.may_be_closed |= adds;
                assert_eq!(words[5], format!(":{}", self.subscribed.len()), "{frame}");
                self.confirmed += 1;
                if self.confirmed == names.len() {
                    self.confirmed = 0;
                    self.items.pop_front();
                }
            }
        }
    }

    fn reply(&mut self, rules: &mut Rules<'_>, frame: &str) {
        let confirmed = std::mem::take(&mut self.confirmed);
        let item = self.items.pop_front();
        let item = item.unwrap_or_else(|| panic!("nobody asked for {frame}"));
        if confirmed > 0 {
            assert!(
                frame.starts_with("-ERR outcome unknown"),
                "{frame} among confirmations"
            );
        }
        self.quit = matches!(item, Item::Quit);
        self.asked_to_watch |= matches!(item, Item::Watch(_));
        if matches!(item, Item::Unwatch) {
            // Whatever it is told, it does not rely on it any more.
            self.watched = None;
        }
        if let Some(error) = frame.strip_prefix('-') {
            return self.error(rules, &item, error);
        }
        let null = if self.state.resp3 { "_\r\n" } else { "*-1\r\n" };
        match item {
            Item::Set(id) | Item::Get(id) if self.open.is_some() => {
                assert_eq!(frame, "+QUEUED\r\n", "{id} inside a transaction");
                let open = self.open.as_mut().expect("a transaction");
                open.queued.push(id);
                open.all.push(id);
            }
            Item::Set(id) | Item::Eval(id) | Item::Publish(id) => {
                self.success(rules, id, frame, false);
            }
            Item::Get(id) => self.success(rules, id, frame, true),
            Item::Block(_) if frame == null => {}
            Item::Block(id) => self.success(rules, id, frame, false),
            Item::Wait(id) => assert_eq!(frame, format!(":{id}\r\n")),
            Item::Ping(id) => {
                let id = format!("${}\r\n{id}\r\n", id.to_string().len());
                let in_subscription = format!("*2\r\n$4\r\npong\r\n{id}");
                assert!(
                    frame == id || frame == in_subscription,
                    "{frame} is not {id}"
                );
            }
            Item::Select(database) => {
                assert_eq!(frame, "+OK\r\n");
                self.state.database = database;
            }
            Item::Auth(user) => {
                assert_eq!(frame, "+OK\r\n");
                self.state.user = user;
            }
            Item::Hello(resp3) => {
                assert!(
                    frame.ends_with(&format!("\r\n$2\r\nid\r\n:{}\r\n", self.number)),
                    "{frame}"
                );
                self.state.resp3 = resp3;
            }
            Item::Reset => {
                assert_eq!(frame, "+RESET\r\n");
                self.state = State::default();
                (self.watched, self.asked_to_watch) = (None, false);
            }
            Item::Watch(id) => {
                assert_eq!(frame, "+OK\r\n");
                self.watched = Some(id);
            }
            Item::Unwatch => {
                assert_eq!(frame, "+OK\r\n");
                self.asked_to_watch = false;
            }
            Item::Quit => assert_eq!(frame, "+OK\r\n"),
            Item::Multi => {
                assert_eq!(frame, "+OK\r\n");
                self.begin(false);
            }
            Item::Discard => {
                assert_eq!(frame, "+OK\r\n");
                self.discarded(rules, "it was discarded");
            }
            Item::Exec if frame == null => {
                let open = self.open.as_ref().expect("a transaction");
                assert!(open.may_be_null, "null, though nothing was watched");
                self.discarded(rules, "EXEC answered null");
            }
            Item::Exec => self.executed(rules, frame),
            Item::Subscribe(_) | Item::Unsubscribe(_) => panic!("{item:?} is answered by {frame}"),
        }
    }

    fn begin(&mut self, failed: bool) {
        let watches = self.items.iter().any(|item| matches!(item, Item::Watch(_)));
        self.open = Some(Open {
            queued: Vec::new(),
            all: Vec::new(),
            failed,
            watch: self.watched.take(),
            // A WATCH behind it counts too, once it was sent and lost.
            may_be_null: std::mem::take(&mut self.asked_to_watch) || watches,
        });
    }

    fn success(&mut self, rules: &Rules<'_>, id: u32, frame: &str, read: bool) {
        assert!(
            frame == tagged(id, &self.state),
            "{id} in {:?} is answered by {frame:.100}",
            self.state
        );
        let fresh = rules.fresh.contains(&id) || read && rules.splits;
        assert!(fresh, "{id} was answered by a stale server");
        self.successes += 1;
    }

    fn executed(&mut self, rules: &mut Rules<'_>, frame: &str) {
        let open = self.open.take().expect("a transaction");
        assert!(
            !open.failed,
            "it had failed, and was executed: {frame:.100}"
        );
        let replies: String = open
            .queued
            .iter()
            .map(|id| tagged(*id, &self.state))
            .collect();
        let expected = format!("*{}\r\n{replies}", open.queued.len());
        assert!(
            frame == expected,
            "{:?} is answered by {frame:.200}",
            open.queued
        );
        if let Some(first) = open.queued.first() {
            assert!(
                rules.fresh.contains(first),
                "{first} was executed by a stale server"
            );
            if let Some(watch) = open.watch {
                let (watched, executed) = (
                    rules.history.watched.get(&watch),
                    rules.history.executed.get(first),
                );
                assert_eq!(watched, executed, "{watch} was watched elsewhere");
            }
        }
        self.successes += open.queued.len();
    }

    /// The transaction is over, and nothing of it may run.
    fn discarded(&mut self, rules: &mut Rules<'_>, why: &'static str) {
        for id in self.open.take().into_iter().flat_map(|open| open.all) {
            forbid(rules, id, why);
        }
    }

    fn error(&mut self, rules: &mut Rules<'_>, item: &Item, error: &str) {
        let not_run = error.starts_with("TRYAGAIN not executed");
        let refused = error.starts_with("READONLY ") || error.starts_with("LOADING ");
        let unknown = error.starts_with("ERR outcome unknown");
        let aborted = error.starts_with("EXECABORT ");
        let refused =
            refused || matches!(item, Item::Block(_)) && error.starts_with("UNBLOCKED force ");
        if error.starts_with("ERR Can't execute it") {
            assert!(
                !self.subscribed.is_empty() && !self.state.resp3,
                "{item:?}: {error}"
            );
            return self.open = None;
        }
        assert!(
            not_run || refused || unknown || aborted,
            "{item:?}: {error}"
        );
        let small = !matches!(item, Item::Set(_) | Item::Publish(_));
        match item {
            Item::Set(id) | Item::Get(id) if self.open.is_some() => {
                let open = self.open.as_mut().expect("a transaction");
                open.failed = true;
                open.all.push(*id);
            }
            Item::Set(id) | Item::Publish(id) | Item::Block(id) if !unknown => {
                forbid(rules, *id, "its client was told that it did not run");
            }
            Item::Eval(id) if not_run => forbid(rules, *id, "its client was told so"),
            Item::Get(_) => {
                let repeated = rules.keeps_all && !rules.closes;
                assert!(!unknown || !repeated, "a read is unknown");
            }
            Item::Watch(_) | Item::Select(_) | Item::Auth(_) | Item::Hello(_) | Item::Ping(_) => {
                assert!(
                    !unknown || !rules.keeps_all || rules.closes || !small,
                    "{item:?} is unknown"
                );
            }
            Item::Multi => self.begin(true),
            Item::Exec if !unknown => {
                let open = self.open.as_ref().expect("a transaction");
                assert!(!aborted || open.failed, "aborted without need");
                self.discarded(rules, "EXEC did not run");
            }
            Item::Exec => self.open = None,
            Item::Subscribe(_) | Item::Unsubscribe(_) => self.may_be_closed |= unknown,
            Item::Discard => self.discarded(rules, "it was to be discarded"),
            _ => {}
        }
    }
}

fn forbid(rules: &mut Rules<'_>, id: u32, why: &'static str) {
    assert!(!rules.history.ran.contains_key(&id), "{id} ran, but {why}");
    rules.history.forbidden.insert(id, why);
}
