//! How a connection is made.

use std::time::Duration;

use secrecy::SecretString;

use crate::limits::Limits;

/// The protocol that a server speaks to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// What every server speaks.
    #[default]
    Resp2,
    /// Redis 6 and later: more types, and push messages.
    Resp3,
}

/// What to say for AUTH. Its `Debug` does not show the password.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user of the server's ACL; `None` for `default`, which also works with
    /// servers before Redis 6.
    pub user: Option<String>,
    /// The password.
    pub password: SecretString,
}

/// How a [`Connection`](crate::Connection) is made and what it bears.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// Resolving, connecting and the handshake, all together. Default 1 s: a
    /// server that needs longer than the failure detector's patience is no use.
    pub connect_timeout: Duration,
    /// How long a command may take, unless it [says otherwise](crate::Command::timeout).
    /// Default 1 s, as an unanswered PING counts as a hung server after 1 s.
    pub command_timeout: Duration,
    /// Default none: no AUTH is sent.
    pub credentials: Option<Credentials>,
    /// The protocol to ask for. Default RESP2. A server that does not know RESP3
    /// is spoken to in RESP2: see [`Connection::protocol`](crate::Connection::protocol).
    pub protocol: Protocol,
    /// What CLIENT LIST shows. Default none. A server that refuses it is still used.
    pub client_name: Option<String>,
    /// Bounds on a reply. Default [`Limits::CONTROL`]: 16 MiB.
    pub limits: Limits,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            command_timeout: Duration::from_secs(1),
            credentials: None,
            protocol: Protocol::Resp2,
            client_name: None,
            limits: Limits::CONTROL,
        }
    }
}
