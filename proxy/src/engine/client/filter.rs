//! Which clients are meant, as CLIENT LIST and CLIENT KILL say it. Refusals are in Redis's words.

use std::time::Duration;

use crate::engine::profile::request;
use crate::engine::session::Identity;

const SYNTAX: &str = "syntax error";
const BAD_ID: &str = "client-id should be greater than 0";

/// No client has this number.
pub(super) const NOBODY: &[u8] = b"9223372036854775807";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Normal,
    Master,
    Replica,
    Pubsub,
}

/// What Redis calls a client, besides what it told of itself.
#[derive(Debug)]
pub(super) struct Traits<'a> {
    pub(super) identity: &'a Identity,
    pub(super) kind: Type,
    pub(super) user: String,
    pub(super) age: Duration,
}

/// Whom CLIENT LIST is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    All,
    Type(Type),
    /// In this order.
    Numbers(Vec<u64>),
}

/// Whom CLIENT KILL names. All that is said must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    number: Option<u64>,
    peer: Option<Vec<u8>>,
    local: Option<Vec<u8>>,
    kind: Option<Type>,
    user: Option<Vec<u8>>,
    age: Option<Duration>,
    /// Who asks is meant, too, if the rest holds.
    pub(super) even_oneself: bool,
    /// It names an address alone, and is answered without a number.
    pub(super) old_form: bool,
    /// What only the server can judge, as it was said.
    judged: Vec<Vec<u8>>,
}

impl Type {
    fn of(name: &[u8]) -> Result<Self, Vec<u8>> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(Self::Normal),
            b"master" => Ok(Self::Master),
            b"slave" | b"replica" => Ok(Self::Replica),
            b"pubsub" => Ok(Self::Pubsub),
            _ => Err(error("Unknown client type '", name, "'")),
        }
    }
}

impl Selection {
    /// What stands behind CLIENT LIST.
    pub(super) fn of(words: &[Vec<u8>]) -> Result<Self, Vec<u8>> {
        match words {
            [] => Ok(Self::All),
            [word, name] if word.eq_ignore_ascii_case(b"TYPE") => Ok(Self::Type(Type::of(name)?)),
            [word, numbers @ ..] if word.eq_ignore_ascii_case(b"ID") && !numbers.is_empty() => {
                let numbers = numbers.iter().map(|word| integer(word));
                let numbers: Option<Vec<_>> = numbers.collect();
                let numbers = numbers.ok_or_else(|| refusal("Invalid client ID"))?;
                // Nobody has a negative one.
                let numbers = numbers
                    .into_iter()
                    .filter_map(|number| u64::try_from(number).ok());
                Ok(Self::Numbers(numbers.collect()))
            }
            _ => Err(refusal(SYNTAX)),
        }
    }

    pub(super) fn takes(&self, client: &Traits<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Type(kind) => client.kind == *kind,
            Self::Numbers(numbers) => numbers.contains(&client.identity.number),
        }
    }

    /// The lines as they are asked for: by number, that is in the order in which clients came, or as
    /// the numbers were named.
    pub(super) fn text(&self, mut lines: Vec<(u64, String)>) -> String {
        lines.sort_unstable();
        let line = |(_, line): &(u64, String)| format!("{line}\n");
        let Self::Numbers(numbers) = self else {
            return lines.iter().map(line).collect();
        };
        let find = |number: &u64| {
            lines
                .binary_search_by_key(number, |(number, _)| *number)
                .ok()
        };
        let named = numbers.iter().filter_map(find);
        named.map(|at| line(&lines[at])).collect()
    }
}

impl Filter {
    /// What stands behind CLIENT KILL.
    pub(super) fn of(words: &[Vec<u8>]) -> Result<Self, Vec<u8>> {
        let mut filter = Self::default();
        if let [address] = words {
            filter.peer = Some(address.clone());
            (filter.even_oneself, filter.old_form) = (true, true);
            return Ok(filter);
        }
        let mut pairs = words.chunks_exact(2);
        for pair in &mut pairs {
            filter.add(&pair[0], &pair[1])?;
        }
        match pairs.remainder() {
            [] if !words.is_empty() => Ok(filter),
            _ => Err(refusal(SYNTAX)),
        }
    }

    fn add(&mut self, word: &[u8], value: &[u8]) -> Result<(), Vec<u8>> {
        let mut judged = false;
        match word.to_ascii_uppercase().as_slice() {
            b"ID" => {
                let number = number(value).filter(|number| *number > 0);
                self.number = Some(number.ok_or_else(|| refusal(BAD_ID))?);
            }
            b"ADDR" => self.peer = Some(value.to_vec()),
            b"LADDR" => self.local = Some(value.to_vec()),
            b"TYPE" => {
                self.kind = Some(Type::of(value)?);
                judged = true;
            }
            b"USER" => {
                self.user = Some(value.to_vec());
                judged = true;
            }
            b"MAXAGE" => {
                // The server says what is wrong with it, or that there is no such word.
                self.age = Some(Duration::from_secs(number(value).unwrap_or(u64::MAX)));
                judged = true;
            }
            b"SKIPME" => {
                self.even_oneself = match value.to_ascii_uppercase().as_slice() {
                    b"YES" => false,
                    b"NO" => true,
                    _ => return Err(refusal(SYNTAX)),
                }
            }
            _ => return Err(refusal(SYNTAX)),
        }
        if judged {
            self.judged.extend([word.to_vec(), value.to_vec()]);
        }
        Ok(())
    }

    /// What asks the server whether this may be, and closes none of its connections: those of proxies
    /// are not for clients to close. Only replicas are the server's own, when all of them are meant;
    /// among them are clients that the proxy relays.
    pub(super) fn question(&self, command: &[u8]) -> Vec<u8> {
        let mut words: Vec<&[u8]> = vec![command, b"KILL"];
        if !self.closes_replicas() {
            words.extend([b"ID", NOBODY]);
        }
        words.extend(self.judged.iter().map(Vec::as_slice));
        request(&words).to_vec()
    }

    /// Whether all replicas are meant, and the server is to close them.
    pub(super) fn closes_replicas(&self) -> bool {
        let named = self.number.is_some() || self.peer.is_some() || self.local.is_some();
        self.kind == Some(Type::Replica) && !named
    }

    pub(super) fn takes(&self, client: &Traits<'_>) -> bool {
        let is = |wanted: &Option<Vec<u8>>, text: &dyn Fn() -> String| {
            wanted
                .as_ref()
                .is_none_or(|wanted| *wanted == text().into_bytes())
        };
        let identity = client.identity;
        self.number.is_none_or(|number| number == identity.number)
            && self.kind.is_none_or(|kind| kind == client.kind)
            && self.age.is_none_or(|age| client.age >= age)
            && is(&self.user, &|| client.user.clone())
            && is(&self.peer, &|| identity.peer.to_string())
            && is(&self.local, &|| identity.local.to_string())
    }
}

/// An integer as Redis reads it: no sign but `-`, no zeros before it.
pub(super) fn integer(word: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(word).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == word).then_some(number)
}

/// One that is not negative.
pub(super) fn number(word: &[u8]) -> Option<u64> {
    integer(word).and_then(|number| u64::try_from(number).ok())
}

pub(super) fn refusal(text: &str) -> Vec<u8> {
    error(text, b"", "")
}

/// An error reply with a word of the client in it.
pub(super) fn error(before: &str, word: &[u8], after: &str) -> Vec<u8> {
    let end = memchr::memchr(0, word).unwrap_or(word.len());
    let word = word[..end].iter().map(|byte| match byte {
        b'\r' | b'\n' => b' ',
        byte => *byte,
    });
    let word: Vec<u8> = word.take(128).collect();
    [
        b"-ERR ",
        before.as_bytes(),
        &word,
        after.as_bytes(),
        b"\r\n",
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split_whitespace().map(Into::into).collect()
    }

    fn client(identity: &Identity) -> Traits<'_> {
        Traits {
            identity,
            kind: Type::Normal,
            user: "ann".to_owned(),
            age: Duration::from_secs(5),
        }
    }

    fn identity() -> Identity {
        Identity {
            number: 7,
            peer: ([127, 0, 0, 1], 1000).into(),
            local: ([127, 0, 0, 1], 6379).into(),
            name: Box::default(),
            library: Box::default(),
            library_version: Box::default(),
        }
    }

    #[test]
    fn all_that_is_said_must_hold() {
        let identity = identity();
        for (line, takes) in [
            ("ID 7", true),
            ("ID 8", false),
            ("127.0.0.1:1000", true),
            ("127.0.0.1:1001", false),
            (
                "id 7 addr 127.0.0.1:1000 laddr 127.0.0.1:6379 type normal user ann skipme no",
                true,
            ),
            ("ID 7 LADDR 127.0.0.1:6380", false),
            ("ID 7 TYPE pubsub", false),
            ("ID 7 USER bob", false),
            ("SKIPME yes", true),
            ("MAXAGE 5", true),
            ("MAXAGE 6", false),
            // The last one counts.
            ("ID 8 ID 7", true),
        ] {
            let filter = Filter::of(&words(line)).expect(line);
            assert_eq!(filter.takes(&client(&identity)), takes, "{line}");
        }
    }

    #[test]
    fn a_question_closes_no_connection_of_a_proxy() {
        for (line, asked) in [
            ("127.0.0.1:1000", "c KILL ID 9223372036854775807"),
            ("ID 7 ADDR x SKIPME no", "c KILL ID 9223372036854775807"),
            ("SKIPME yes", "c KILL ID 9223372036854775807"),
            ("TYPE normal", "c KILL ID 9223372036854775807 TYPE normal"),
            (
                "USER u MAXAGE x",
                "c KILL ID 9223372036854775807 USER u MAXAGE x",
            ),
            (
                "TYPE replica ID 7",
                "c KILL ID 9223372036854775807 TYPE replica",
            ),
            ("TYPE slave SKIPME no", "c KILL TYPE slave"),
        ] {
            let filter = Filter::of(&words(line)).expect(line);
            let question = crate::engine::arguments(&filter.question(b"c"));
            assert_eq!(question, words(asked), "{line}");
        }
    }

    #[test]
    fn refusals_are_in_the_words_of_redis() {
        for (line, expected) in [
            ("ID 10 wrong", "-ERR syntax error\r\n"),
            ("ID str", "-ERR client-id should be greater than 0\r\n"),
            (
                "ID 0 wrong x",
                "-ERR client-id should be greater than 0\r\n",
            ),
            (
                "ID 03 SKIPME yes",
                "-ERR client-id should be greater than 0\r\n",
            ),
            ("TYPE wrong", "-ERR Unknown client type 'wrong'\r\n"),
            ("SKIPME perhaps", "-ERR syntax error\r\n"),
            ("ADDR a b c", "-ERR syntax error\r\n"),
        ] {
            let refused = Filter::of(&words(line));
            let refused = refused.map_err(|error| String::from_utf8(error).expect("a text"));
            // One word alone is an address.
            assert_eq!(refused, Err(expected.to_owned()), "{line}");
        }
        assert_eq!(error("'", b"a\r\nb\0c", "'"), b"-ERR 'a  b'\r\n");
        for line in ["ID", "ID x", "TYPE", "TYPE x", "other", "ID 1 +1"] {
            assert!(Selection::of(&words(line)).is_err(), "{line}");
        }
    }

    #[test]
    fn lines_come_in_the_order_that_was_asked_for() {
        let lines = || {
            vec![
                (3, "c".to_owned()),
                (1, "a".to_owned()),
                (2, "b".to_owned()),
            ]
        };
        let text = |line: &str| Selection::of(&words(line)).expect(line).text(lines());
        assert_eq!(text(""), "a\nb\nc\n");
        assert_eq!(text("ID 3 9 1 3 -1"), "c\na\nc\n");
        assert_eq!(Selection::All.text(Vec::new()), "");
    }
}
