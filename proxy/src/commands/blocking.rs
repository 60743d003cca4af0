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

#[cfg(test)]
mod tests {
    use bellwether_testkit::Redis;
    use proptest::prelude::*;

    use super::*;

    const LINES: [(TimeoutArg, &str); 6] = [
        (TimeoutArg::Last, "BLPOP a b {}"),
        (TimeoutArg::First, "BLMPOP {} 1 a LEFT"),
        (TimeoutArg::AfterBlock, "XREAD COUNT 1 block {} STREAMS a 0"),
        (
            TimeoutArg::AfterBlock,
            "XREAD BLOCK 7 BLOCK {} STREAMS BLOCK 0",
        ),
        (
            TimeoutArg::AfterBlock,
            "XREADGROUP GROUP BLOCK STREAMS NOACK BLOCK {} STREAMS a >",
        ),
        (
            TimeoutArg::AfterBlock,
            "XREADGROUP CLAIM 5 BLOCK {} GROUP a b STREAMS a >",
        ),
    ];

    fn words(line: &str) -> Vec<&str> {
        line.split(' ').collect()
    }

    #[test]
    fn a_timeout_is_found_and_replaced() {
        for (place, line) in LINES {
            let args = words(line);
            assert_eq!(blocks(place, &args), Err(NotRead), "{line}");
            let mut out = Vec::new();
            let left = Duration::from_micros(1_500_001);
            with_timeout(place, &args, Some(left), &mut out).expect("it has a timeout");
            let replaced = arguments(&out).expect("it is a request");
            let text = match place {
                TimeoutArg::AfterBlock => "1501",
                _ => "1.501",
            };
            let expected = line.replace("{}", text);
            assert_eq!(replaced.join(&b' '), expected.as_bytes());
            let read = blocks(place, &replaced);
            assert_eq!(read, Ok(Some(Duration::from_millis(1501))));
        }
    }

    #[test]
    fn nothing_left_is_not_for_ever() {
        for (left, last, block) in [
            (Some(Duration::ZERO), "0.001", "1"),
            (Some(Duration::from_nanos(1)), "0.001", "1"),
            (Some(Duration::from_secs(60)), "60.000", "60000"),
            (None, "0", "0"),
        ] {
            let mut out = Vec::new();
            with_timeout(TimeoutArg::Last, &["BLPOP", "a", "5"], left, &mut out).unwrap();
            assert_eq!(arguments(&out).unwrap()[2], last.as_bytes());
            let mut out = Vec::new();
            let xread = words("XREAD BLOCK 5 STREAMS a 0");
            with_timeout(TimeoutArg::AfterBlock, &xread, left, &mut out).unwrap();
            assert_eq!(arguments(&out).unwrap()[2], block.as_bytes());
        }
    }

    #[test]
    fn without_a_timeout_nothing_is_written() {
        for (place, line) in [
            (TimeoutArg::Last, "BLPOP"),
            (TimeoutArg::First, "BLMPOP"),
            (TimeoutArg::AfterBlock, "XREAD"),
            (TimeoutArg::AfterBlock, "XREAD BLOCK"),
            (TimeoutArg::AfterBlock, "XREAD STREAMS BLOCK 0"),
            (TimeoutArg::AfterBlock, "XREAD COUNT BLOCK STREAMS BLOCK 5"),
        ] {
            let args = words(line);
            let mut out = Vec::new();
            assert_eq!(with_timeout(place, &args, None, &mut out), Err(NotRead));
            assert_eq!(
                (blocks(place, &args), out.len()),
                (Err(NotRead), 0),
                "{line}"
            );
        }
    }

    #[test]
    fn timeouts_are_read_as_redis_reads_them() {
        let server = Redis::start(bellwether_testkit::Options {
            boot: bellwether_testkit::Boot::Plain,
            ..Default::default()
        })
        .unwrap();
        server
            .command(&["XADD", "stream", "1-1", "f", "v"])
            .unwrap();
        let mut connection = server.connect().unwrap();
        for text in [
            "0",
            "-0",
            "1",
            "+1",
            "01",
            "007",
            "1.5",
            "1.",
            ".5",
            "5e1",
            "1E2",
            "-1",
            "-0.0001",
            "0.0001",
            "0.0",
            "1e-9",
            "inf",
            "-inf",
            "nan",
            "infinity",
            "",
            " ",
            " 1",
            "1 ",
            "1x",
            "x",
            "--1",
            "1e",
            "1_000",
            "922337203685477",
            "9223372036854775807",
            "9223372036854775808",
            "1e15",
            "1e16",
            "1e300",
            "1e400",
        ] {
            // There is something to pop or to read, so that none waits.
            redis::cmd("RPUSH")
                .arg(&["list", "v"])
                .exec(&mut connection)
                .unwrap();
            let pop = redis::cmd("BLPOP")
                .arg(&["list", text])
                .exec(&mut connection);
            let read = ["BLOCK", text, "STREAMS", "stream", "0"];
            let read = redis::cmd("XREAD").arg(&read).exec(&mut connection);
            // Redis refuses what would end beyond its clock; we do not know that clock.
            let ends_late = |it: &Result<Option<Duration>, NotRead>| matches!(it, Ok(Some(it)) if it.as_millis() > i64::MAX as u128 - (1 << 42));
            let seconds = blocks(TimeoutArg::Last, &["BLPOP", "list", text]);
            let block = blocks(TimeoutArg::AfterBlock, &["XREAD", "BLOCK", text, "STREAMS"]);
            assert!(
                seconds.is_ok() == pop.is_ok() || ends_late(&seconds),
                "BLPOP {text:?}: {seconds:?}, {pop:?}"
            );
            assert!(
                block.is_ok() == read.is_ok() || ends_late(&block),
                "XREAD {text:?}: {block:?}, {read:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn arguments_come_back(args in prop::collection::vec(any::<Vec<u8>>(), 0..20)) {
            let mut request = Vec::new();
            encode::command(&mut request, &args);
            prop_assert_eq!(arguments(&request), Some(args.iter().map(Vec::as_slice).collect()));
            prop_assert_eq!(arguments(&request[..request.len() - 1]), None);
            request.push(b' ');
            prop_assert_eq!(arguments(&request), None);
        }

        #[test]
        fn anything_is_taken(bytes: Vec<u8>, args: Vec<String>, place in 0..3_usize) {
            let _ = arguments(&bytes);
            let place = [TimeoutArg::First, TimeoutArg::Last, TimeoutArg::AfterBlock][place];
            let _ = blocks(place, &args);
            let mut out = Vec::new();
            if with_timeout(place, &args, None, &mut out).is_ok() {
                prop_assert_eq!(blocks(place, &arguments(&out).unwrap()), Ok(None));
            }
        }
    }
}
