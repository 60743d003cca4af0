//! The scanner finds the same frames however the input is split, and refuses
//! what is hostile.

use bellwether_resp::{Limits, ScanError, Scanner};
use proptest::prelude::*;

mod arbitrary;

const EVERY_TYPE: &[u8] = b"+OK\r\n-ERR no\r\n:1\r\n$3\r\nabc\r\n$-1\r\n*-1\r\n*0\r\n*2\r\n:1\r\n\
*1\r\n$0\r\n\r\n_\r\n#t\r\n,1.5\r\n(123\r\n!5\r\nERR x\r\n=5\r\ntxt:x\r\n%1\r\n+a\r\n*1\r\n:2\r\n~2\r\n\
:1\r\n:2\r\n>2\r\n+a\r\n+b\r\n|1\r\n+ttl\r\n:5\r\n$1\r\nx\r\n*1\r\n|0\r\n:1\r\n%0\r\n";
const FRAMES: usize = 20;

/// Where frames end when the input has arrived up to each of `reads`, and the
/// error that ended it.
fn ends(input: &[u8], reads: impl IntoIterator<Item = usize>) -> (Vec<usize>, Option<ScanError>) {
    let mut scanner = Scanner::new(Limits::default());
    let (mut start, mut found) = (0, Vec::new());
    for read in reads {
        loop {
            match scanner.scan(&input[start..read]) {
                Ok(Some(length)) => {
                    assert!(length > 0 && length <= read - start);
                    assert_eq!(scanner.scanned(), 0);
                    start += length;
                    found.push(start);
                }
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
        assert!(start + scanner.scanned() <= read);
    }
    (found, None)
}

fn at_once(input: &[u8]) -> (Vec<usize>, Option<ScanError>) {
    ends(input, [input.len()])
}

fn byte_by_byte(input: &[u8]) -> (Vec<usize>, Option<ScanError>) {
    ends(input, 0..=input.len())
}

#[test]
fn every_type_at_every_split() {
    let whole = at_once(EVERY_TYPE);
    assert_eq!(whole.0.len(), FRAMES);
    assert_eq!(whole.0.last(), Some(&EVERY_TYPE.len()));
    assert_eq!(byte_by_byte(EVERY_TYPE), whole);
    for split in 0..EVERY_TYPE.len() {
        assert_eq!(ends(EVERY_TYPE, [split, EVERY_TYPE.len()]), whole);
    }
}

/// The whole input is forwarded as soon as it is known to belong to the frame.
#[test]
fn released_bytes_change_nothing() {
    for step in 1..8 {
        let mut scanner = Scanner::new(Limits::default());
        let (mut buf, mut forwarded, mut frames) = (Vec::new(), Vec::new(), 0);
        for piece in EVERY_TYPE.chunks(step) {
            buf.extend_from_slice(piece);
            while let Some(end) = scanner.scan(&buf).unwrap() {
                forwarded.extend(buf.drain(..end));
                frames += 1;
            }
            let known = scanner.scanned();
            scanner.release(known);
            forwarded.extend(buf.drain(..known));
            assert_eq!(scanner.scanned(), 0);
        }
        assert_eq!((frames, &forwarded[..]), (FRAMES, EVERY_TYPE));
    }
}

#[test]
fn a_large_body_can_be_streamed() {
    let mut scanner = Scanner::new(Limits::default());
    assert_eq!(scanner.scan(b"$100000\r\nabc"), Ok(None));
    assert_eq!(scanner.scanned(), 12);
    scanner.release(12);
    let body = vec![b'x'; 99_997];
    assert_eq!(scanner.scan(&body), Ok(None));
    scanner.release(99_990);
    assert_eq!(scanner.scan(b"xxxxxxx\r\n+"), Ok(Some(9)));
    assert_eq!(scanner.scan(b"+OK\r\n"), Ok(Some(5)));
}

#[test]
#[should_panic(expected = "released bytes that were not scanned")]
fn only_scanned_bytes_are_released() {
    let mut scanner = Scanner::new(Limits::default());
    assert_eq!(scanner.scan(b"$5"), Ok(None));
    scanner.release(1);
}

#[test]
fn push_messages_are_told_apart() {
    for (frame, push) in [
        (">1\r\n+a\r\n", true),
        ("|1\r\n+k\r\n+v\r\n>1\r\n+a\r\n", true),
        ("|0\r\n|1\r\n+k\r\n>0\r\n>0\r\n", true),
        ("|1\r\n+k\r\n>0\r\n+a\r\n", false),
        ("|1\r\n>0\r\n+v\r\n*1\r\n>0\r\n", false),
        ("*1\r\n>0\r\n", false),
        ("+>\r\n", false),
    ] {
        let mut scanner = Scanner::new(Limits::default());
        for earlier in [">0\r\n", "+OK\r\n"] {
            assert_eq!(scanner.scan(earlier.as_bytes()), Ok(Some(earlier.len())));
            assert_eq!(scanner.scan(frame.as_bytes()), Ok(Some(frame.len())));
            assert_eq!(scanner.is_push(), push, "{frame:?} after {earlier:?}");
        }
    }
}

#[test]
fn hostile_input_is_refused() {
    use ScanError as E;
    for (input, error) in [
        ("$99999999999\r\n", E::BulkTooLong),
        ("$9223372036854775807\r\n", E::Length),
        ("$536870913\r\n", E::BulkTooLong),
        ("*99999999999\r\n", E::TooManyElements),
        ("*2147483648\r\n", E::TooManyElements),
        ("%1073741824\r\n", E::TooManyElements),
        ("|999999999999999999\r\n", E::TooManyElements),
        ("$-2\r\n", E::Length),
        ("*-2\r\n", E::Length),
        ("%-1\r\n", E::Length),
        (">-1\r\n", E::Length),
        ("$+3\r\n", E::Length),
        ("*+1\r\n", E::Length),
        ("$03\r\n", E::Length),
        ("$00\r\n", E::Length),
        ("$\r\n", E::Length),
        ("$ 3\r\n", E::Length),
        ("$3 \r\n", E::Length),
        ("$1x\r\n", E::Length),
        ("$-01\r\n", E::Length),
        ("$?\r\n", E::Streamed),
        ("*?\r\n", E::Streamed),
        (";4\r\n", E::Streamed),
        (".\r\n", E::Streamed),
        ("$1\r\naXX", E::Terminator),
        ("$1\r\na\rX", E::Terminator),
        ("$1\r\nab\r\n", E::Terminator),
        ("+OK\n", E::Terminator),
        ("+\n", E::Terminator),
        ("$3\nabc\r\n", E::Terminator),
        ("GET k\r\n", E::UnknownType(b'G')),
        ("\r\n", E::UnknownType(b'\r')),
        ("*1\r\n\0", E::UnknownType(0)),
    ] {
        assert_eq!(
            at_once(input.as_bytes()),
            (vec![], Some(error)),
            "{input:?}"
        );
        assert_eq!(
            byte_by_byte(input.as_bytes()),
            (vec![], Some(error)),
            "{input:?}"
        );
    }
}

#[test]
fn lines_are_bounded_to_the_byte() {
    let limit = Limits::default().line;
    let longest = format!("+{}\r\n", "x".repeat(limit - 3));
    assert_eq!(at_once(longest.as_bytes()), (vec![limit], None));
    assert_eq!(
        ends(longest.as_bytes(), [limit - 1, limit]),
        (vec![limit], None)
    );
    assert_eq!(at_once(&longest.as_bytes()[..limit - 1]), (vec![], None));
    let too_long = format!("+{}\r\n", "x".repeat(limit - 2));
    let endless = &too_long.as_bytes()[..limit];
    assert_eq!(at_once(endless), (vec![], Some(ScanError::LineTooLong)));
    let refused = (vec![], Some(ScanError::LineTooLong));
    assert_eq!(at_once(too_long.as_bytes()), refused);
    assert_eq!(
        ends(too_long.as_bytes(), [limit - 1, limit, limit + 1]),
        refused
    );
    assert_eq!(at_once(&vec![b'$'; 1 << 20]), refused);
}

#[test]
fn nesting_is_bounded() {
    let depth = Limits::default().depth;
    for header in [
        "*1\r\n",
        "~1\r\n",
        "%1\r\n:1\r\n",
        "|0\r\n",
        "|1\r\n:1\r\n:2\r\n",
    ] {
        let deepest = format!("{}:1\r\n", header.repeat(depth));
        assert_eq!(
            at_once(deepest.as_bytes()),
            (vec![deepest.len()], None),
            "{header:?}"
        );
        let refused = (vec![], Some(ScanError::TooDeep));
        let too_deep = format!("{}:1\r\n", header.repeat(depth + 1));
        assert_eq!(at_once(too_deep.as_bytes()), refused, "{header:?}");
        assert_eq!(
            at_once(header.repeat(100_000).as_bytes()),
            refused,
            "{header:?}"
        );
    }
    let empty = "*0\r\n".repeat(1000);
    assert_eq!(at_once(empty.as_bytes()).0.len(), 1000);
}

#[test]
fn whole_frames_can_be_bounded() {
    let limits = Limits {
        frame: 18,
        ..Limits::default()
    };
    let frame = b"*2\r\n$1\r\na\r\n$2\r\nb!\r\n";
    assert_eq!(
        Scanner::new(limits).scan(frame),
        Err(ScanError::FrameTooLong)
    );
    let frame = b"*2\r\n$1\r\na\r\n$1\r\nb\r\n";
    let mut scanner = Scanner::new(limits);
    assert_eq!(scanner.scan(&frame[..6]), Ok(None));
    scanner.release(4);
    assert_eq!(scanner.scan(&frame[4..]), Ok(Some(14)));
    assert_eq!(
        scanner.scan(frame),
        Ok(Some(18)),
        "what was released is forgotten"
    );
    assert_eq!(
        scanner.scan(b"$12\r\n"),
        Err(ScanError::FrameTooLong),
        "declared, not yet sent"
    );
    assert_eq!(
        Scanner::new(limits).scan(b"*9\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n"),
        Err(ScanError::FrameTooLong)
    );
}

proptest! {
    #![proptest_config(arbitrary::config())]

    /// Where redis-protocol finds a frame of RESP2, so does the scanner, or it is stricter.
    #[test]
    fn agrees_with_redis_protocol(input in arbitrary::resp2_soup()) {
        let theirs = redis_protocol::resp2::decode::decode_range(&input);
        match (Scanner::new(Limits::default()).scan(&input), theirs) {
            (Ok(Some(ours)), Ok(theirs)) => prop_assert_eq!(Some(ours), theirs.map(|(_, end)| end)),
            (Ok(None), Ok(theirs)) => prop_assert!(theirs.is_none()),
            // Theirs also reads the numbers; ours is strict about lengths and ends of lines.
            (Ok(_), Err(_)) | (Err(_), _) => {}
        }
    }
}
