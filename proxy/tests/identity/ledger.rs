//! What a connection asks, and what it must be answered.

use std::collections::{HashMap, HashSet};

use fastrand::Rng;

use crate::support::command;

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Plain,
    Resp3,
    /// Also transactions, blocking commands, scripts and subscriptions.
    Stateful,
}

/// The answer that a request must get, if it is not told that its outcome is unknown.
#[derive(Debug)]
pub(crate) enum Expected {
    Exactly(String),
    /// The answer to HELLO.
    Hello,
    /// An error of the server that quotes this.
    Error(String),
    /// That `key` is `sequence` from now on.
    Set {
        key: usize,
        sequence: u64,
    },
    /// The value of each of these keys; `array` says whether as MGET tells it.
    Values {
        keys: Vec<usize>,
        array: bool,
    },
    /// One more than before.
    Next,
    /// Either of the two: the second one if another request failed.
    Either(String, String),
}

/// A number that this connection knows, and what [`World::losses`](crate::World) was when it asked.
#[derive(Debug, Clone, Copy)]
struct Known<T> {
    value: T,
    losses: u64,
}

impl<T> Known<T> {
    /// Whether nothing can have been lost since.
    fn holds(&self, now: u64) -> bool {
        self.losses == now && now.is_multiple_of(2)
    }
}

/// How many keys a connection has.
const KEYS: usize = 3;

/// All of one connection's requests. Every name and value carries the name of its connection, and
/// a sequence number.
pub(crate) struct Ledger {
    name: String,
    mode: Mode,
    sequence: u64,
    greeted: bool,
    values: HashMap<usize, Known<Option<u64>>>,
    counter: Option<Known<u64>>,
    /// The latest SET that was answered, be it with an error.
    answered: u64,
    /// SETs that a read has shown before they were answered. Such a read was lost and ran again, so
    /// that what was sent behind it was lost as well: nobody may know its outcome.
    early: HashSet<u64>,
}

impl Ledger {
    pub(crate) fn new(name: &str, mode: Mode) -> Self {
        Self {
            name: name.to_owned(),
            mode,
            sequence: 0,
            greeted: false,
            values: HashMap::new(),
            counter: None,
            answered: 0,
            early: HashSet::new(),
        }
    }

    /// Whether the proxy may close it: its state is in a server that can be lost.
    pub(crate) fn may_be_closed(&self) -> bool {
        self.mode == Mode::Stateful
    }

    /// The bytes of `depth` random requests or a few more, and what each is to be answered.
    pub(crate) fn pipeline(&mut self, depth: usize, rng: &mut Rng) -> (Vec<u8>, Vec<Expected>) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        if self.mode == Mode::Resp3 && !self.greeted {
            self.greeted = true;
            bytes.extend(command(&[b"HELLO", b"3"]));
            expected.push(Expected::Hello);
        }
        while expected.len() < depth {
            let stateful = self.mode == Mode::Stateful && rng.u32(..4) == 0;
            let requests = if stateful {
                self.stateful(rng)
            } else {
                vec![self.plain(rng)]
            };
            for (words, answer) in requests {
                let words: Vec<_> = words.iter().map(String::as_bytes).collect();
                bytes.extend(command(&words));
                expected.push(answer);
            }
        }
        (bytes, expected)
    }

    fn plain(&mut self, rng: &mut Rng) -> (Vec<String>, Expected) {
        self.sequence += 1;
        let (sequence, key) = (self.sequence, rng.usize(..KEYS));
        let id = format!("{}:{sequence}", self.name);
        match rng.u32(..100) {
            0..30 => {
                // Long after any client's patience it makes room.
                let words = [
                    "SET",
                    &self.key(key),
                    &self.value(key, sequence),
                    "EX",
                    "300",
                ];
                (owned(&words), Expected::Set { key, sequence })
            }
            30..60 => {
                let words = owned(&["GET", &self.key(key)]);
                (
                    words,
                    Expected::Values {
                        keys: vec![key],
                        array: false,
                    },
                )
            }
            60..70 => {
                let keys = vec![key, rng.usize(..KEYS)];
                let mut words = owned(&["MGET"]);
                words.extend(keys.iter().map(|key| self.key(*key)));
                (words, Expected::Values { keys, array: true })
            }
            70..80 => (
                owned(&["INCR", &format!("{}:n", self.name)]),
                Expected::Next,
            ),
            80..97 => (owned(&["ECHO", &id]), Expected::Exactly(bulk(&id))),
            97..99 => (owned(&["nonsense", &id]), Expected::Error(id)),
            _ => {
                let large = id.repeat(rng.usize(1..60_000 / id.len()));
                (owned(&["ECHO", &large]), Expected::Exactly(bulk(&large)))
            }
        }
    }

    fn stateful(&mut self, rng: &mut Rng) -> Vec<(Vec<String>, Expected)> {
        self.sequence += 1;
        let id = format!("{}:{}", self.name, self.sequence);
        let exactly = |text: &str| Expected::Exactly(text.to_owned());
        let length = id.len();
        match rng.u32(..4) {
            0 => vec![
                (owned(&["MULTI"]), exactly("+OK\r\n")),
                (owned(&["ECHO", &id]), exactly("+QUEUED\r\n")),
                (owned(&["ECHO", &id]), exactly("+QUEUED\r\n")),
                (
                    owned(&["EXEC"]),
                    exactly(&format!("*2\r\n${length}\r\n{id}\r\n${length}\r\n{id}\r\n")),
                ),
            ],
            1 => {
                let list = format!("{id}:list");
                let popped = format!("*2\r\n{}{}", bulk(&list), bulk(&id));
                vec![
                    (owned(&["RPUSH", &list, &id]), exactly(":1\r\n")),
                    (
                        owned(&["BLPOP", &list, "0.1"]),
                        Expected::Either(popped, "*-1\r\n".into()),
                    ),
                ]
            }
            2 => {
                let words = ["EVAL", "return ARGV[1]", "0", &id];
                vec![(owned(&words), Expected::Exactly(bulk(&id)))]
            }
            _ => {
                let says = |what: &str, n: u32| {
                    let texts = bulk(what) + &bulk(&id);
                    Expected::Exactly(format!("*3\r\n{texts}:{n}\r\n"))
                };
                vec![
                    (owned(&["SUBSCRIBE", &id]), says("subscribe", 1)),
                    (owned(&["UNSUBSCRIBE", &id]), says("unsubscribe", 0)),
                ]
            }
        }
    }

    fn key(&self, key: usize) -> String {
        format!("{}:k{key}", self.name)
    }

    fn value(&self, key: usize, sequence: u64) -> String {
        format!("{}={sequence}", self.key(key))
    }

    /// Checks the next reply; true says that nobody knows the outcome. `before` is what
    /// the world's losses were when the request was sent, `now` what they are.
    pub(crate) fn check(
        &mut self,
        expected: &Expected,
        reply: &[u8],
        before: u64,
        now: u64,
    ) -> Result<bool, String> {
        if self.is_failure(reply) {
            self.forget(expected);
            return Ok(true);
        }
        let is_right = match expected {
            Expected::Exactly(text) => reply == text.as_bytes(),
            Expected::Either(one, other) => reply == one.as_bytes() || reply == other.as_bytes(),
            Expected::Hello => reply.starts_with(b"%") && contains(reply, b"proto"),
            Expected::Error(quoted) => {
                reply.starts_with(b"-ERR unknown command") && contains(reply, quoted.as_bytes())
            }
            Expected::Set { key, sequence } => {
                let value = Some(*sequence);
                self.values.insert(
                    *key,
                    Known {
                        value,
                        losses: before,
                    },
                );
                self.answered = *sequence;
                reply == b"+OK\r\n" && !self.early.contains(sequence)
            }
            Expected::Values { keys, array } => self.check_values(keys, *array, reply, before, now),
            Expected::Next => self.check_next(reply, before, now),
        };
        if is_right {
            return Ok(false);
        }
        let known = (&self.values, &self.counter, before, now);
        let shown = &reply[..reply.len().min(300)];
        Err(format!(
            "{} for {expected:?}, knowing {known:?}",
            shown.escape_ascii()
        ))
    }

    /// Says that the request failed, with whatever effect.
    pub(crate) fn forget(&mut self, expected: &Expected) {
        match expected {
            Expected::Set { key, sequence } => {
                self.values.remove(key);
                self.answered = *sequence;
            }
            Expected::Next => self.counter = None,
            _ => {}
        }
    }

    fn is_failure(&self, reply: &[u8]) -> bool {
        const STATEFUL: [&[u8]; 3] = [b"-EXECABORT ", b"-READONLY ", b"-UNBLOCKED "];
        let stateful = self.mode == Mode::Stateful;
        reply.starts_with(b"-ERR outcome unknown")
            || stateful && STATEFUL.iter().any(|code| reply.starts_with(code))
    }

    fn check_values(
        &mut self,
        keys: &[usize],
        array: bool,
        reply: &[u8],
        before: u64,
        now: u64,
    ) -> bool {
        let header = format!("*{}\r\n", keys.len());
        let mut rest = match array {
            true if reply.starts_with(header.as_bytes()) => &reply[header.len()..],
            true => return false,
            false => reply,
        };
        for key in keys {
            let Some((value, after)) = self.read_value(*key, rest) else {
                return false;
            };
            rest = after;
            let known = self.values.get(key).filter(|known| known.holds(now));
            if let Some(early) = value.filter(|n| *n > self.answered) {
                self.early.insert(early);
            } else if known.is_some_and(|known| known.value != value) {
                return false;
            }
            self.values.insert(
                *key,
                Known {
                    value,
                    losses: before,
                },
            );
        }
        rest.is_empty()
    }

    /// The sequence number at the start of `bytes`, `Some(None)` for null; `None` when it is not
    /// a value of this key, or one from the future.
    fn read_value<'a>(&self, key: usize, bytes: &'a [u8]) -> Option<(Option<u64>, &'a [u8])> {
        for null in [b"$-1\r\n".as_slice(), b"_\r\n"] {
            if let Some(after) = bytes.strip_prefix(null) {
                return Some((None, after));
            }
        }
        let header = bytes.iter().position(|byte| *byte == b'\n')? + 1;
        let length: usize = text(&bytes[1..header])?.trim_end().parse().ok()?;
        let body = text(bytes.get(header..header + length)?)?;
        let sequence = body.strip_prefix(&format!("{}=", self.key(key)))?;
        let sequence = sequence.parse().ok().filter(|n| *n <= self.sequence)?;
        Some((Some(sequence), &bytes[header + length + 2..]))
    }

    fn check_next(&mut self, reply: &[u8], before: u64, now: u64) -> bool {
        let number = reply.strip_prefix(b":").and_then(text);
        let Some(value) = number.and_then(|number| number.trim_end().parse().ok()) else {
            return false;
        };
        let last = self.counter.filter(|known| known.holds(now));
        self.counter = Some(Known {
            value,
            losses: before,
        });
        last.is_none_or(|last| value == last.value + 1) && value <= self.sequence
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A ledger that takes any reply would prove nothing.
#[test]
fn a_reply_that_is_not_the_own_is_noticed() {
    let set = |sequence| Expected::Set { key: 0, sequence };
    let get = || Expected::Values {
        keys: vec![0],
        array: false,
    };
    let mut ledger = Ledger::new("me", Mode::Plain);
    ledger.sequence = 9;
    let id = || Expected::Exactly(bulk("me:1"));
    assert_eq!(ledger.check(&id(), b"$4\r\nme:1\r\n", 0, 0), Ok(false));
    assert!(ledger.check(&id(), b"$4\r\nme:2\r\n", 0, 0).is_err());
    assert_eq!(
        ledger.check(&id(), b"-ERR outcome unknown: \r\n", 0, 0),
        Ok(true)
    );
    assert!(ledger.check(&id(), b"-UNBLOCKED x\r\n", 0, 0).is_err());
    assert_eq!(ledger.check(&set(2), b"+OK\r\n", 0, 0), Ok(false));
    assert_eq!(ledger.check(&get(), b"$7\r\nme:k0=2\r\n", 0, 0), Ok(false));
    for wrong in [
        "$7\r\nme:k0=1\r\n",
        "$7\r\nme:k1=2\r\n",
        "$7\r\nno:k0=2\r\n",
        "$-1\r\n",
    ] {
        assert!(
            ledger.check(&get(), wrong.as_bytes(), 0, 0).is_err(),
            "{wrong}"
        );
    }
    assert_eq!(
        ledger.check(&get(), b"$7\r\nme:k0=1\r\n", 0, 2),
        Ok(false),
        "a loss explains it"
    );
    assert!(
        ledger.check(&get(), b"$8\r\nme:k0=10\r\n", 0, 2).is_err(),
        "not sent yet"
    );
    assert_eq!(ledger.check(&get(), b"$7\r\nme:k0=5\r\n", 2, 2), Ok(false));
    assert!(
        ledger.check(&set(5), b"+OK\r\n", 2, 2).is_err(),
        "overtaken"
    );
    assert_eq!(ledger.check(&get(), b"$7\r\nme:k0=6\r\n", 2, 2), Ok(false));
    let unknown = b"-ERR outcome unknown: \r\n";
    assert_eq!(ledger.check(&set(6), unknown, 2, 2), Ok(true));
    assert_eq!(ledger.check(&Expected::Next, b":3\r\n", 2, 2), Ok(false));
    assert!(
        ledger.check(&Expected::Next, b":3\r\n", 2, 2).is_err(),
        "out of order, or run twice"
    );
}
