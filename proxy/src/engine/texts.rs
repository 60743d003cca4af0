//! The replies that the proxy itself gives.

/// A request was sent, and its reply never came or came from a server that had been replaced.
///
/// `ERR` because every client library takes that for an ordinary error and repeats nothing.
pub(crate) const UNKNOWN: &[u8] =
    b"-ERR outcome unknown: the primary was lost after this command was sent to it\r\n";

/// A request waited in vain. The code says what is true: trying again is safe.
pub(crate) const NOT_RUN: &[u8] =
    b"-TRYAGAIN not executed: there was no primary to take this command in time\r\n";

/// Redis's own text.
pub(crate) const TOO_MANY_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";

/// Redis's answer to QUIT.
pub(crate) const QUIT: &[u8] = b"+OK\r\n";

/// Whether an error reply proves that the command did not run, and may run elsewhere or later.
///
/// MISCONF and NOSCRIPT prove the first too, but waiting mends neither.
pub(crate) fn is_refusal(reply: &[u8]) -> bool {
    const CODES: [&[u8]; 4] = [
        b"-READONLY ",
        b"-LOADING ",
        b"-MASTERDOWN ",
        b"-NOREPLICAS ",
    ];
    CODES.iter().any(|code| reply.starts_with(code))
}
