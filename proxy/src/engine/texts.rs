//! What the proxy itself says, and what it understands of what servers say.

use bellwether_resp::Limits;

use crate::commands::{Family, Reads, Spec, Treat};

/// A request was sent, and its reply never came or came from a server that had been replaced.
///
/// `ERR` because every client library takes that for an ordinary error and repeats nothing.
pub(super) const UNKNOWN: &[u8] =
    b"-ERR outcome unknown: the primary was lost after this command was sent to it\r\n";

/// A request waited in vain. The code says what is true: trying again is safe.
pub(super) const NOT_RUN: &[u8] =
    b"-TRYAGAIN not executed: there was no primary to take this command in time\r\n";

pub(super) const WAIT_UNKNOWN: &[u8] =
    b"-ERR outcome unknown: the primary changed after this client's last write\r\n";

pub(super) const TOO_LARGE: &[u8] =
    b"-ERR Protocol error: a command that changes the state of its connection is too large\r\n";

/// Redis's own texts.
pub(crate) const TOO_MANY_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";
pub(super) const OK: &[u8] = b"+OK\r\n";
pub(super) const RESET: &[u8] = b"+RESET\r\n";
pub(super) const NOAUTH: &[u8] = b"-NOAUTH Authentication required.\r\n";
pub(super) const WRONGPASS: &[u8] =
    b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";
pub(super) const NOT_IN_MULTI: &[u8] = b"-ERR Command not allowed inside a transaction\r\n";
pub(super) const EXECABORT: &[u8] =
    b"-EXECABORT Transaction discarded because of previous errors.\r\n";

pub(super) const NOAUTH_HELLO: &[u8] =
    b"-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
    <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP \
    protocol version at the same time\r\n";
pub(super) const NOPROTO: &[u8] = b"-NOPROTO unsupported protocol version\r\n";
pub(super) const BAD_NAME: &[u8] =
    b"-ERR Client names cannot contain spaces, newlines or special characters.\r\n";

/// A request is streamed, not collected, from so many bytes on.
pub(super) const LARGE: usize = 32 << 10;

/// What a client may send before it has authenticated.
pub(super) const UNADMITTED: Limits = Limits::UNAUTHENTICATED;

/// What is not known may leave anything behind.
pub(super) const UNKNOWN_COMMAND: Spec = Spec {
    treat: Treat::Sticky,
    reads: Reads::No,
    family: Family::Generic,
    arity: -1,
    first_key: 0,
};

/// Whether an error reply proves that the command did not run, and may run elsewhere or later.
///
/// MISCONF and NOSCRIPT prove the first too, but waiting mends neither.
pub(super) fn is_refusal(reply: &[u8]) -> bool {
    const CODES: [&[u8]; 4] = [
        b"-READONLY ",
        b"-LOADING ",
        b"-MASTERDOWN ",
        b"-NOREPLICAS ",
    ];
    CODES.iter().any(|code| reply.starts_with(code))
}

/// Whether what was refused may be taken later. While a script runs, even SELECT is not.
pub(super) fn is_temporary(reply: &[u8]) -> bool {
    is_refusal(reply) || reply.starts_with(b"-BUSY ")
}

/// Whether a command that blocked was thrown out because its server is not the primary any more.
/// CLIENT UNBLOCK says something else.
pub(super) fn is_unblocked(reply: &[u8]) -> bool {
    reply.starts_with(b"-UNBLOCKED force unblock")
}
