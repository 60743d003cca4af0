//! Everything that can go wrong, by what the caller does next.

use std::io;
use std::time::Duration;

use crate::server_error::ServerError;

/// Why bytes are no RESP frame that this crate accepts.
///
/// After any of these the position of the next frame is unknown: close the
/// connection that the bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// A frame begins with a byte that no RESP type has.
    #[error("unknown frame type '{}'", .0.escape_ascii())]
    UnknownType(u8),
    /// A length is not written as decimal digits without sign and leading zero.
    #[error("malformed length")]
    Length,
    /// A line or a bulk body does not end with CR LF.
    #[error("missing CR LF")]
    Terminator,
    /// A line is longer than [`Limits::line`](crate::Limits::line).
    #[error("line too long")]
    LineTooLong,
    /// A declared body is longer than [`Limits::bulk`](crate::Limits::bulk).
    #[error("bulk too long")]
    BulkTooLong,
    /// An aggregate declares more than [`Limits::elements`](crate::Limits::elements).
    #[error("too many elements")]
    TooManyElements,
    /// Aggregates are nested deeper than [`Limits::depth`](crate::Limits::depth).
    #[error("nested too deeply")]
    TooDeep,
    /// The frame would exceed [`Limits::frame`](crate::Limits::frame).
    #[error("frame too long")]
    FrameTooLong,
    /// A streamed string or aggregate of RESP3 (`$?`, `*?`, `;`, `.`).
    ///
    /// No server is known to send one and the common clients do not read them.
    #[error("streamed frames are not supported")]
    Streamed,
    /// The frame is well bounded, but its content is none of its type, such as
    /// `:abc` or `#x`. Only decoding finds this, not the scanner.
    #[error("malformed content of a '{}' frame", .0.escape_ascii())]
    Content(u8),
    /// Bytes are missing at the end of, or left after, what was said to be one
    /// whole frame.
    #[error("not exactly one frame")]
    NotOneFrame,
}

/// Why bytes are no request that a Redis server accepts.
///
/// The text is Redis's own: answer `-ERR {error}` and close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The number after `*` is malformed or above [`Limits::elements`](crate::Limits::elements).
    #[error("Protocol error: invalid multibulk length")]
    MultibulkLength,
    /// The number after `*` is above [`Limits::elements`](crate::Limits::elements)
    /// of a client that is [not authenticated](crate::Limits::unauthenticated).
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulk,
    /// The line after `*` does not end within [`Limits::line`](crate::Limits::line).
    #[error("Protocol error: too big mbulk count string")]
    MultibulkLine,
    /// An argument does not begin with `$`. Redis shows any byte as it is; here those
    /// that are not ASCII are escaped.
    #[error("Protocol error: expected '$', got '{}'", shown(*.0))]
    ExpectedBulk(u8),
    /// The number after `$` is malformed or above [`Limits::bulk`](crate::Limits::bulk),
    /// or the request exceeds [`Limits::frame`](crate::Limits::frame).
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    /// The number after `$` is above [`Limits::bulk`](crate::Limits::bulk) of a
    /// client that is [not authenticated](crate::Limits::unauthenticated).
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulk,
    /// The line after `$` does not end within [`Limits::line`](crate::Limits::line).
    #[error("Protocol error: too big bulk count string")]
    BulkLine,
    /// An argument is not followed by CR LF. Redis does not check this.
    #[error("Protocol error: missing CR LF after an argument")]
    Terminator,
    /// An inline request does not end within [`Limits::line`](crate::Limits::line).
    #[error("Protocol error: too big inline request")]
    InlineTooLong,
    /// A quote of an inline request is not closed, or is followed by no space.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
}

/// A byte inside an error reply, whose line Redis keeps whole.
fn shown(byte: u8) -> String {
    match byte {
        b'\r' | b'\n' => " ".into(),
        byte if byte.is_ascii() => char::from(byte).into(),
        byte => byte.escape_ascii().to_string(),
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The server closed the connection.
    #[error("closed by the server")]
    Eof,
    /// The operating system reported an error, such as a reset.
    #[error("{0}")]
    Io(io::ErrorKind),
    /// A command was not answered in time. Every other command in flight shares its fate.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The server sent what is no acceptable frame.
    #[error("{0}")]
    Protocol(#[from] ScanError),
    /// The server sent a reply that nobody asked for.
    #[error("unasked reply")]
    Unasked,
    /// The driver task ended without saying why, which happens when the runtime shuts down.
    #[error("driver stopped")]
    Stopped,
}

/// What can go wrong with a [`Connection`](crate::Connection).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection could be made. Nothing was sent: try again later.
    #[error("cannot connect to {address}")]
    Connect {
        /// Host and port as given.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Resolving, connecting and the handshake together took too long. Try again later.
    #[error("no connection to {address} within {timeout:?}")]
    ConnectTimeout {
        /// Host and port as given.
        address: String,
        /// The time that was allowed.
        timeout: Duration,
    },
    /// The server refused the credentials. Fix the configuration, here or there.
    #[error("credentials refused: {0}")]
    Auth(ServerError),
    /// The server refused the command or failed at it. The connection is fine.
    #[error("{0}")]
    Server(ServerError),
    /// The connection was lost before the command was sent: it did not run.
    /// Connect again, and send it again if it is still wanted.
    #[error("not sent, connection lost: {0}")]
    NotSent(Cause),
    /// The connection was lost after the command was sent, wholly or in part. It
    /// may have run, and may even run later when a stopped server continues.
    /// Connect again, read the state, then decide; never just repeat it.
    #[error("outcome unknown, connection lost: {0}")]
    OutcomeUnknown(Cause),
    /// The command changes how replies are matched to commands, so a
    /// [`Connection`](crate::Connection) never sends it.
    #[error("{0} cannot be sent over a control connection")]
    Unsupported(String),
}
