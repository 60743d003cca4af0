//! The timeouts of blocking commands: read, and written anew when such a command is issued again
//! with the time that is left.

use std::time::Duration;

use bellwether_resp::encode;
use bytes::BufMut;

use super::spec::{StreamWord, TimeoutArg};

/// A timeout that Redis refuses, or reads in a way that we do not (as hexadecimal, say): the request
/// is forwarded once, and the server says what it thinks of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotRead;

/// How long a blocking request may wait in the server, `None`: for ever. Longer than any clock can
/// say, possibly, so add it with care. `args` begin with the name and are all of the request's.
///
/// Redis reads it so (`getTimeoutFromObjectOrReply` in its `timeout.c`): in seconds, any decimal
/// number, rounded up to milliseconds; in milliseconds, an integer. Zero is for ever.
///
/// # Errors
/// There is no timeout, or none that can be read.
pub(crate) fn blocks<A: AsRef<[u8]>>(
    timeout: TimeoutArg,
    args: &[A],
) -> Result<Option<Duration>, NotRead> {
    let text = place(timeout, args).ok_or(NotRead)?;
    let text = std::str::from_utf8(args[text].as_ref()).map_err(|_| NotRead)?;
    let milliseconds = match timeout {
        TimeoutArg::First | TimeoutArg::Last => seconds(text)?,
        TimeoutArg::AfterBlock => milliseconds(text)?,
    };
    Ok(match milliseconds {
        0 => None,
        some => Some(Duration::from_millis(some)),
    })
}

/// Appends the same request with another timeout, `None`: for ever. What is left of a millisecond
/// counts as a whole one, because none at all would be for ever.
///
/// # Errors
/// There is no timeout in it; nothing is appended.
pub(crate) fn with_timeout<A: AsRef<[u8]>>(
    timeout: TimeoutArg,
    args: &[A],
    left: Option<Duration>,
    out: &mut impl BufMut,
) -> Result<(), NotRead> {
    let at = place(timeout, args).ok_or(NotRead)?;
    let text = match (left.map(rounded_up), timeout) {
        (None, _) => "0".to_owned(),
        (Some(left), TimeoutArg::AfterBlock) => left.to_string(),
        (Some(left), _) => format!("{}.{:03}", left / 1000, left % 1000),
    };
    let mut args: Vec<&[u8]> = args.iter().map(AsRef::as_ref).collect();
    args[at] = text.as_bytes();
    encode::command(out, &args);
    Ok(())
}

/// All arguments of a whole multibulk request, the name first. `None` when it is none.
///
/// For the few requests of which one must know more than a
/// [`RequestScanner`](bellwether_resp::RequestScanner) keeps: the timeout of BLPOP stands after any
/// number of keys.
pub(crate) fn arguments(request: &[u8]) -> Option<Vec<&[u8]>> {
    let (count, mut rest) = header(b'*', request)?;
    let mut args = Vec::new();
    for _ in 0..count {
        let (length, body) = header(b'$', rest)?;
        let (arg, after) = body.split_at_checked(length)?;
        args.push(arg);
        rest = after.strip_prefix(b"\r\n")?;
    }
    rest.is_empty().then_some(args)
}

/// Splits `*2\r\n…` into the number and what follows.
fn header(kind: u8, bytes: &[u8]) -> Option<(usize, &[u8])> {
    let bytes = bytes.strip_prefix(&[kind])?;
    let end = bytes.iter().position(|byte| *byte == b'\r')?;
    let (digits, rest) = bytes.split_at(end);
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((number, rest.strip_prefix(b"\r\n")?))
}

/// Which argument is the timeout.
fn place<A: AsRef<[u8]>>(timeout: TimeoutArg, args: &[A]) -> Option<usize> {
    let at = match timeout {
        TimeoutArg::First => 1,
        TimeoutArg::Last => args.len().checked_sub(1)?,
        TimeoutArg::AfterBlock => after_block(args)?,
    };
    (1..args.len()).contains(&at).then_some(at)
}

/// Of several timeouts, the last one counts.
fn after_block<A: AsRef<[u8]>>(args: &[A]) -> Option<usize> {
    let mut words = args.iter().map(AsRef::as_ref).enumerate().skip(1);
    let mut found = None;
    while let Some((at, word)) = words.next() {
        let word = StreamWord::of(word);
        match word {
            StreamWord::Streams => break,
            StreamWord::Block => found = Some(at + 1),
            _ => {}
        }
        word.skip(&mut words);
    }
    found
}

/// Seconds as a decimal number, in milliseconds.
fn seconds(text: &str) -> Result<u64, NotRead> {
    let milliseconds = (text.parse::<f64>().map_err(|_| NotRead)? * 1000.0).ceil();
    // Not a number is in no range. The upper end is a little beyond what an i64 holds.
    let is_taken = (0.0..i64::MAX as f64).contains(&milliseconds);
    is_taken.then_some(milliseconds as u64).ok_or(NotRead)
}

/// An integer without a plus sign or leading zeros.
fn milliseconds(text: &str) -> Result<u64, NotRead> {
    let number: i64 = text.parse().map_err(|_| NotRead)?;
    if number.to_string() != text {
        return Err(NotRead);
    }
    u64::try_from(number).map_err(|_| NotRead)
}

fn rounded_up(left: Duration) -> u128 {
    left.as_nanos().div_ceil(1_000_000).max(1)
}
