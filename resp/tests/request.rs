//! Requests are read as a Redis server reads them, however they arrive.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bellwether_resp::{KEPT_ARGS, Limits, RequestError, RequestScanner, encode};
use proptest::prelude::*;

mod arbitrary;

type Args = Vec<Vec<u8>>;

/// The requests found when the input has arrived up to each of `reads`; an empty
/// one has no arguments.
fn requests(
    input: &[u8],
    reads: impl IntoIterator<Item = usize>,
) -> (Vec<(usize, Args)>, Option<RequestError>) {
    let mut scanner = RequestScanner::new(Limits::default());
    let (mut start, mut found) = (0, Vec::new());
    for read in reads {
        loop {
            let buf = &input[start..read];
            match scanner.scan(buf) {
                Ok(Some(length)) => {
                    let kept = scanner.count().min(KEPT_ARGS);
                    let args = (0..kept).map(|i| scanner.arg(buf, i).unwrap().to_vec());
                    start += length;
                    found.push((start, args.collect()));
                    assert_eq!(scanner.is_empty(), scanner.count() == 0);
                    assert_eq!(scanner.arg(buf, kept), None);
                }
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
        assert!(start + scanner.scanned() <= read);
    }
    (found, None)
}

fn at_once(input: &[u8]) -> (Vec<(usize, Args)>, Option<RequestError>) {
    requests(input, [input.len()])
}

fn inline(line: &str) -> Result<Args, RequestError> {
    let line = format!("{line}\r\n");
    match at_once(line.as_bytes()) {
        (mut found, None) if found.len() == 1 => Ok(found.remove(0).1),
        (_, Some(error)) => Err(error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_forms_and_empty_requests() {
    let input =
        b"*2\r\n$3\r\nGET\r\n$2\r\n\r\n\r\n*0\r\n\r\n  \r\nPING\nget k\r\n*-1\r\n*1\r\n$0\r\n\r\n";
    let (found, error) = at_once(input);
    let args: Vec<Vec<&str>> = found
        .iter()
        .map(|(_, args)| {
            args.iter()
                .map(|arg| str::from_utf8(arg).unwrap())
                .collect()
        })
        .collect();
    let expected: [&[&str]; 8] = [
        &["GET", "\r\n"],
        &[],
        &[],
        &[],
        &["PING"],
        &["get", "k"],
        &[],
        &[""],
    ];
    assert_eq!(args, expected);
    assert_eq!((found[7].0, error), (input.len(), None));
    assert_eq!(requests(input, 0..=input.len()), (found.clone(), None));
    for split in 0..input.len() {
        assert_eq!(requests(input, [split, input.len()]), (found.clone(), None));
    }
}

#[test]
fn quoting_is_redis_own() {
    let ok = |args: &[&[u8]]| Ok(args.iter().map(|arg| arg.to_vec()).collect::<Args>());
    let unbalanced = Err(RequestError::UnbalancedQuotes);
    assert_eq!(inline("a b"), ok(&[b"a", b"b"]));
    assert_eq!(inline("\t a \x0b b\x0c"), ok(&[b"a", b"b\x0c"]));
    assert_eq!(inline(r#""a b" 'c d'"#), ok(&[b"a b", b"c d"]));
    assert_eq!(inline(r#""\x41\x0a\xfF""#), ok(&[b"A\n\xff"]));
    assert_eq!(inline(r#""\xg1\x4""#), ok(&[b"xg1x4"]));
    assert_eq!(
        inline(r#""\n\r\t\b\a\\\"\q""#),
        ok(&[b"\n\r\t\x08\x07\\\"q"])
    );
    assert_eq!(inline(r"'\n\'\\x'"), ok(&[b"\\n'\\\\x"]));
    assert_eq!(inline(r#"a"b c""#), ok(&[b"ab c"]));
    assert_eq!(inline(r#""" ''"#), ok(&[b"", b""]));
    assert_eq!(inline(r"a\x41"), ok(&[b"a\\x41"]));
    assert_eq!(inline(r#""a"b"#), unbalanced);
    assert_eq!(inline(r"'a'b"), unbalanced);
    assert_eq!(inline(r#""a"#), unbalanced);
    assert_eq!(inline(r"'a\'"), unbalanced);
    assert_eq!(inline(r#""a\"#), unbalanced);
    assert_eq!(inline("a\0b '\0'"), ok(&[b"a\0b", b"\0"]));
}

#[test]
fn broken_requests_are_refused_early() {
    use RequestError as E;
    for (input, error) in [
        ("*x\r\n", E::MultibulkLength),
        ("*\r\n", E::MultibulkLength),
        ("*1\n", E::MultibulkLength),
        ("*01\r\n", E::MultibulkLength),
        ("*+1\r\n", E::MultibulkLength),
        ("*-0\r\n", E::MultibulkLength),
        ("*2147483648\r\n", E::MultibulkLength),
        ("*99999999999999999999\r\n", E::MultibulkLength),
        ("*1\r\n:", E::ExpectedBulk(b':')),
        ("*1\r\n\r", E::ExpectedBulk(b'\r')),
        ("*1\r\n$x\r\n", E::BulkLength),
        ("*1\r\n$-1\r\n", E::BulkLength),
        ("*1\r\n$+1\r\n", E::BulkLength),
        ("*1\r\n$01\r\n", E::BulkLength),
        ("*1\r\n$536870913\r\n", E::BulkLength),
        ("*1\r\n$1\r\nab\r\n", E::Terminator),
        ("'a\r\n", E::UnbalancedQuotes),
    ] {
        assert_eq!(
            at_once(input.as_bytes()),
            (vec![], Some(error)),
            "{input:?}"
        );
        let bytewise = requests(input.as_bytes(), 0..=input.len());
        assert_eq!(bytewise, (vec![], Some(error)), "{input:?}");
    }
    for (start, error) in [
        ("*", E::MultibulkLine),
        ("*1\r\n$", E::BulkLine),
        ("x", E::InlineTooLong),
    ] {
        let input = format!("{start}{}", "1".repeat(64 * 1024));
        assert_eq!(at_once(input.as_bytes()), (vec![], Some(error)));
    }
}

#[test]
fn arguments_are_known_before_the_request_is_whole() {
    let mut scanner = RequestScanner::new(Limits::default());
    let buf = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nabc";
    assert_eq!(scanner.scan(buf), Ok(None));
    assert_eq!(scanner.count(), 3);
    assert_eq!(scanner.arg(buf, 1), Some(&b"k"[..]));
    assert_eq!(scanner.range(2), Some(26..126));
    assert_eq!(scanner.arg(buf, 2), None);
    assert_eq!(scanner.scanned(), buf.len());

    scanner.release(20);
    assert_eq!(scanner.arg(&buf[20..], 1), None);
    assert_eq!(scanner.range(2), Some(6..106));
    let rest = [&buf[20..], &[b'x'; 97], b"\r\n*0\r\n"].concat();
    assert_eq!(scanner.scan(&rest), Ok(Some(108)));
    assert_eq!(scanner.arg(&rest, 2).map(<[u8]>::len), Some(100));
    assert_eq!(scanner.scan(&rest[108..]), Ok(Some(4)));
    assert!(scanner.is_empty());
    assert_eq!(scanner.arg(&rest, 0), None);

    let next = b"*1\r\n$4\r\nPING\r\n";
    assert_eq!(scanner.scan(next), Ok(Some(next.len())));
    assert_eq!(scanner.arg(next, 0), Some(&b"PING"[..]));
}

#[test]
fn limits_can_change_in_a_connection() {
    let strict = Limits {
        elements: 10,
        bulk: 16,
        ..Limits::default()
    };
    let request = b"*1\r\n$17\r\nxxxxxxxxxxxxxxxxx\r\n";
    assert_eq!(
        RequestScanner::new(strict).scan(request),
        Err(RequestError::BulkLength)
    );
    assert_eq!(
        RequestScanner::new(strict).scan(b"*11\r\n"),
        Err(RequestError::MultibulkLength)
    );
    let mut scanner = RequestScanner::new(strict);
    assert_eq!(scanner.scan(b"*1\r\n$1\r\nx\r\n"), Ok(Some(11)));
    scanner.set_limits(Limits::default());
    assert_eq!(scanner.scan(request), Ok(Some(request.len())));
    let bounded = Limits {
        frame: request.len() - 1,
        ..Limits::default()
    };
    assert_eq!(
        RequestScanner::new(bounded).scan(request),
        Err(RequestError::BulkLength)
    );
}

#[test]
fn what_was_released_of_one_request_does_not_count_for_the_next() {
    let request = b"*1\r\n$17\r\nxxxxxxxxxxxxxxxxx\r\n";
    let mut scanner = RequestScanner::new(Limits {
        frame: request.len(),
        ..Limits::default()
    });
    for _ in 0..3 {
        assert_eq!(scanner.scan(&request[..20]), Ok(None));
        scanner.release(20);
        assert_eq!(scanner.scan(&request[20..]), Ok(Some(request.len() - 20)));
    }
}

#[test]
fn what_was_released_counts_for_the_request() {
    let request = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
    for (frame, expected) in [
        (request.len(), Ok(Some(request.len() - 10))),
        (request.len() - 1, Err(RequestError::BulkLength)),
    ] {
        let mut scanner = RequestScanner::new(Limits {
            frame,
            ..Limits::default()
        });
        assert_eq!(scanner.scan(&request[..10]), Ok(None));
        scanner.release(10);
        assert_eq!(scanner.scan(&request[10..]), expected);
    }
}

#[test]
fn an_inline_request_is_sent_on_as_multibulk() {
    let mut scanner = RequestScanner::new(Limits::default());
    let line = b"set k 'a b'\r\n";
    assert_eq!(scanner.scan(line), Ok(Some(line.len())));
    assert!(scanner.is_inline() && !scanner.is_empty());
    assert_eq!(scanner.range(0), None);
    let mut out = Vec::new();
    encode::command(&mut out, &scanner.take_inline().unwrap());
    assert_eq!(out, b"*3\r\n$3\r\nset\r\n$1\r\nk\r\n$3\r\na b\r\n");
    assert_eq!(scanner.scan(b"*1\r\n$4\r\nPING\r\n"), Ok(Some(14)));
    assert!(!scanner.is_inline());
}

proptest! {
    #![proptest_config(arbitrary::config())]

    #[test]
    fn commands_round_trip(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..10)) {
        let mut out = Vec::new();
        encode::command(&mut out, &args);
        prop_assert_eq!(at_once(&out), (vec![(out.len(), args)], None));
    }
}
