//! A passport's form in a dataset: a library of one function, or a key where functions are not to
//! be had.
//!
//! The function survives FLUSHALL, is replicated and kept in RDB and AOF files, and is seen neither
//! in KEYS nor in DBSIZE. Calling it works on replicas, also on those that are told not to serve
//! stale data, costs about as much as a section of INFO, and waits for no pause of writes. The key
//! goes with FLUSHALL and may be evicted; the leader then writes it again.

use bellwether_resp::{Command, Value};

use crate::{Papers, Passport};

/// The library, and the function in it.
pub(super) const FUNCTION: &str = "bellwether_passport";

/// The key, in database 0.
pub(super) const KEY: &str = "bellwether:passport";

/// Numbers from here on are nonsense: counting on would overflow.
const LIMIT: u64 = 1 << 63;

/// Settings by which a server refuses to be written to, whatever is written, by the code of the
/// refusal, and what lifts each.
pub(super) const LIFTED: [(&str, &str, &str); 3] = [
    ("NOREPLICAS", "min-replicas-to-write", "0"),
    ("OOM", "maxmemory", "0"),
    ("MISCONF", "stop-writes-on-bgsave-error", "no"),
];

/// How a server keeps a passport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Function,
    Key,
}

impl Form {
    /// Finds out without effect whether a library may be loaded: a replica answers READONLY, a
    /// primary that this is none.
    pub(super) fn probe() -> Command {
        Command::new("FUNCTION").arg("LOAD").arg("")
    }

    pub(super) fn write(self, passport: &Passport) -> Command {
        let text = serde_json::to_string(passport).expect("a passport is plain data");
        match self {
            Self::Function => Command::new("FUNCTION")
                .arg("LOAD")
                .arg("REPLACE")
                .arg(library(&text)),
            Self::Key => Command::new("SET").arg(KEY).arg(text),
        }
    }

    pub(super) fn read(self) -> Command {
        match self {
            Self::Function => Command::new("FCALL_RO").arg(FUNCTION).arg("0"),
            Self::Key => Command::new("GET").arg(KEY),
        }
    }

    /// What is told in errors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Function => "FUNCTION LOAD",
            Self::Key => "SET",
        }
    }
}

/// Lua that returns this text. Each byte is escaped, because a group may be called anything.
fn library(text: &str) -> String {
    let escaped: String = text.bytes().map(|byte| format!("\\{byte:03}")).collect();
    format!(
        "#!lua name={FUNCTION}\n\
         redis.register_function{{function_name='{FUNCTION}',\
         description='whose dataset this is; written by bellwether',\
         callback=function() return '{escaped}' end,flags={{'no-writes','allow-stale'}}}}"
    )
}

/// What a server answered to [`Form::read`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Papers(Papers),
    /// There is none in this form.
    Nothing,
    /// This form is not to be had: the server does not know it, or the user may not use it.
    Refused,
}

pub(super) fn told(reply: &Value) -> Told {
    if let Some(error) = reply.error() {
        let missing = error.text().starts_with(b"ERR Function not found");
        return match error.code() {
            _ if missing => Told::Nothing,
            _ if is_not_to_be_had(reply) => Told::Refused,
            _ => Told::Papers(Papers::Unknown),
        };
    }
    if reply.is_null() {
        return Told::Nothing;
    }
    // What is no passport of ours may be one of a later version.
    let passport: Option<Passport> = reply
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok());
    let sound = passport.filter(|passport| passport.term.0 < LIMIT && passport.mark < LIMIT);
    Told::Papers(sound.map_or(Papers::Unknown, Papers::Passport))
}

/// Whether a command was refused because the server has none such, or not for this user.
pub(super) fn is_not_to_be_had(reply: &Value) -> bool {
    reply.error().is_some_and(|error| {
        error.code() == "NOPERM"
            || error
                .text()
                .to_ascii_lowercase()
                .starts_with(b"err unknown")
    })
}

#[cfg(test)]
mod tests {
    use bellwether_election::Term;
    use bellwether_resp::ServerError;

    use super::*;

    fn refusal(text: &'static str) -> Value {
        Value::Error(ServerError::new(text))
    }

    #[test]
    fn answers_are_told_apart() {
        let passport = Passport {
            group: "flock".into(),
            term: Term(7),
            mark: 0,
            blank: false,
        };
        let text = r#"{"group":"flock","term":7,"later":"field"}"#;
        let known = Told::Papers(Papers::Passport(passport));
        assert_eq!(told(&Value::Bulk(text.into())), known);
        let unknown = Told::Papers(Papers::Unknown);
        let endless = r#"{"group":"flock","term":18446744073709551615}"#;
        for text in ["gibberish", endless] {
            assert_eq!(told(&Value::Bulk(text.into())), unknown);
        }
        assert_eq!(told(&refusal("LOADING Redis is loading")), unknown);
        assert_eq!(told(&refusal("ERR Function not found")), Told::Nothing);
        assert_eq!(told(&Value::Null), Told::Nothing);
        for text in [
            "NOPERM this user has no permissions to run the 'fcall_ro' command",
            "ERR unknown command `FCALL_RO`, with args beginning with:",
            "ERR unknown subcommand 'LOAD'. Try FUNCTION HELP.",
        ] {
            assert_eq!(told(&refusal(text)), Told::Refused, "{text}");
        }
    }

    #[test]
    fn any_group_can_be_written() {
        let code = library("'\\\"\n]]ü");
        assert!(code.contains(r"return '\039\092\034\010\093\093\195\188' end"));
    }
}
