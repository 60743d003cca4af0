//! By hand: what needs special treatment and is not in the table, because other versions of Redis
//! and Valkey have it. Plain newer commands come by the server's `COMMAND`.

use super::flags::{FAST, LOADING, NOSCRIPT, Row, STALE, row};
use super::spec::Family::{Connection, Generic, Server};

/// A server that does not list these does not have them.
pub(super) static SUPPLEMENT: &[Row] = &[
    // Redis 7.2.
    row(
        "client|no-touch",
        3,
        NOSCRIPT | LOADING | STALE,
        Connection,
        0,
    ),
    row(
        "client|setinfo",
        4,
        NOSCRIPT | LOADING | STALE,
        Connection,
        0,
    ),
    row("waitaof", 4, NOSCRIPT, Generic, 0),
    // Valkey 8.0 and 8.1.
    row("client|capa", -3, NOSCRIPT | LOADING | STALE, Connection, 0),
    row(
        "client|import-source",
        3,
        NOSCRIPT | LOADING | STALE,
        Connection,
        0,
    ),
];

/// The first words of an HTTP request. Every server understands them, to stop web pages that attack
/// it: it closes the connection.
pub(super) static HTTP: &[Row] = &[
    row("host:", -1, FAST | LOADING | STALE, Server, 0),
    row("post", -1, FAST | LOADING | STALE, Server, 0),
];

/// What every server understands, though some do not list it: QUIT before Redis 7, HTTP since.
pub(super) const NEVER_LISTED: [&str; 3] = ["quit", "host:", "post"];
