use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use redis::Value;

/// What a server says of itself by ROLE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes writes.
    Primary {
        /// Bytes of replication stream written so far.
        offset: u64,
        /// Replicas that are attached, as `host:port`.
        replicas: Vec<String>,
    },
    /// Copies another.
    Replica {
        /// Host of the server that it copies.
        host: String,
        /// Its port.
        port: u16,
        /// State of the link: `connect`, `connecting`, `handshake`, `sync` or `connected`.
        link: String,
        /// Bytes of replication stream received so far; -1 while there is none.
        offset: i64,
    },
}

impl Role {
    /// Whether it takes writes.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        matches!(self, Self::Primary { .. })
    }

    /// Whether it is a replica of the server on this port whose link stands.
    #[must_use]
    pub fn follows(&self, primary: u16) -> bool {
        matches!(self, Self::Replica { port, link, .. } if *port == primary && link == "connected")
    }
}

pub(crate) fn role(value: &Value) -> Result<Role> {
    let Value::Array(fields) = value else {
        bail!("ROLE answered {value:?}");
    };
    let field = |index: usize| {
        let field = fields.get(index).map(text);
        field.with_context(|| format!("ROLE answered {value:?}"))
    };
    match field(0)?.as_str() {
        "master" => Ok(Role::Primary {
            offset: field(1)?.parse()?,
            replicas: match fields.get(2) {
                Some(Value::Array(replicas)) => replicas.iter().map(replica_address).collect(),
                other => bail!("ROLE listed replicas as {other:?}"),
            },
        }),
        "slave" => Ok(Role::Replica {
            host: field(1)?,
            port: field(2)?.parse()?,
            link: field(3)?,
            offset: field(4)?.parse()?,
        }),
        other => bail!("{other} is no role of a data server"),
    }
}

fn replica_address(replica: &Value) -> String {
    let text = text(replica);
    let mut fields = text.lines();
    let mut field = || fields.next().unwrap_or("?");
    format!("{}:{}", field(), field())
}

pub(crate) fn info(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// As `redis-cli` prints it raw.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Nil => "(nil)".into(),
        Value::Okay => "OK".into(),
        Value::Int(number) => number.to_string(),
        Value::SimpleString(text) => text.clone(),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Array(elements) | Value::Set(elements) => {
            elements.iter().map(text).collect::<Vec<_>>().join("\n")
        }
        other => format!("{other:?}"),
    }
}
