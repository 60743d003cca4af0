//! Both scanners find the same, with the same errors, however the input is split.
//!
//! Byte by byte no frame or argument is ever whole when it is looked at, so that the
//! resumable reading is compared with the short way that takes what is whole.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fmt::Debug;
use std::ops::Range;

use bellwether_resp::{
    KEPT_ARGS, Limits, RequestError, RequestScanner, ScanError, Scanner, encode,
};
use proptest::prelude::*;
use proptest::sample::Index;

mod arbitrary;

/// What one of the scanners can do.
trait Scan {
    type Error: Debug + PartialEq;
    /// What is known of a whole frame, apart from its end.
    type Frame: Debug + PartialEq;

    fn new(limits: Limits) -> Self;
    fn scan(&mut self, buf: &[u8]) -> Result<Option<usize>, Self::Error>;
    fn scanned(&self) -> usize;
    fn release(&mut self, n: usize);
    fn needed(&self) -> usize;
    /// `buf` begins with the frame, less what was released of it.
    fn frame(&self, buf: &[u8]) -> Self::Frame;
}

impl Scan for Scanner {
    type Error = ScanError;
    type Frame = bool;

    fn new(limits: Limits) -> Self {
        Self::new(limits)
    }
    fn scan(&mut self, buf: &[u8]) -> Result<Option<usize>, ScanError> {
        self.scan(buf)
    }
    fn scanned(&self) -> usize {
        self.scanned()
    }
    fn release(&mut self, n: usize) {
        self.release(n);
    }
    fn needed(&self) -> usize {
        1
    }
    fn frame(&self, _: &[u8]) -> bool {
        self.is_push()
    }
}

impl Scan for RequestScanner {
    type Error = RequestError;
    /// Number of arguments, and those that are kept.
    type Frame = (usize, Vec<Option<Vec<u8>>>);

    fn new(limits: Limits) -> Self {
        Self::new(limits)
    }
    fn scan(&mut self, buf: &[u8]) -> Result<Option<usize>, RequestError> {
        self.scan(buf)
    }
    fn scanned(&self) -> usize {
        self.scanned()
    }
    fn release(&mut self, n: usize) {
        self.release(n);
    }
    fn needed(&self) -> usize {
        self.needed()
    }
    fn frame(&self, buf: &[u8]) -> Self::Frame {
        assert_eq!(self.is_empty(), self.count() == 0);
        let args = (0..KEPT_ARGS).map(|i| self.arg(buf, i).map(<[u8]>::to_vec));
        (self.count(), args.collect())
    }
}

/// Every frame with its end, and the error that ended the input.
type Found<S> = (Vec<(usize, <S as Scan>::Frame)>, Option<<S as Scan>::Error>);

/// What is found when the input has arrived up to each of `reads`.
fn found<S: Scan>(
    limits: Limits,
    input: &[u8],
    reads: impl IntoIterator<Item = usize>,
) -> Found<S> {
    let mut scanner = S::new(limits);
    let (mut start, mut frames, mut promised) = (0, Vec::new(), 0);
    for read in reads {
        loop {
            let buf = &input[start..read];
            match scanner.scan(buf) {
                Ok(Some(length)) => {
                    assert_eq!(scanner.scanned(), 0);
                    frames.push((start + length, scanner.frame(&buf[..length])));
                    start += length;
                    assert!(start >= promised, "more was needed than came");
                }
                Ok(None) => {
                    assert!(scanner.needed() > 0);
                    promised = read.saturating_add(scanner.needed());
                    break;
                }
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(start + scanner.scanned() <= read);
    }
    (frames, None)
}

/// Ends of frames when everything is released as soon as it was scanned.
fn ends_of_streamed<S: Scan>(
    limits: Limits,
    input: &[u8],
    reads: &[usize],
) -> (Vec<usize>, Option<S::Error>) {
    let mut scanner = S::new(limits);
    let (mut start, mut ends) = (0, Vec::new());
    for read in reads {
        loop {
            match scanner.scan(&input[start..*read]) {
                Ok(Some(length)) => {
                    start += length;
                    ends.push(start);
                }
                Ok(None) => break,
                Err(error) => return (ends, Some(error)),
            }
        }
        let scanned = scanner.scanned();
        scanner.release(scanned);
        start += scanned;
    }
    (ends, None)
}

fn check<S: Scan>(limits: Limits, input: &[u8], reads: &[Index]) -> Result<(), TestCaseError> {
    let whole = found::<S>(limits, input, [input.len()]);
    prop_assert_eq!(&found::<S>(limits, input, 0..=input.len()), &whole);
    let mut reads: Vec<usize> = reads.iter().map(|i| i.index(input.len() + 1)).collect();
    reads.push(input.len());
    reads.sort_unstable();
    prop_assert_eq!(&found::<S>(limits, input, reads.iter().copied()), &whole);

    let (ends, error) = ends_of_streamed::<S>(limits, input, &reads);
    let whole_ends: Vec<usize> = whole.0.iter().map(|(end, _)| *end).collect();
    prop_assert_eq!(&ends, &whole_ends);
    prop_assert_eq!(error, whole.1);
    Ok(())
}

/// One of these, or one beside it.
fn near(values: &'static [usize]) -> impl Strategy<Value = usize> {
    (prop::sample::select(values), 0..3_usize)
        .prop_map(|(value, by)| (value + by).saturating_sub(1))
}

/// Often low enough to matter.
fn limits() -> impl Strategy<Value = Limits> {
    let rarely = prop::bool::weighted(0.2);
    (
        prop::option::weighted(0.2, near(&[4, 8, 16, 40])),
        prop::option::weighted(0.2, near(&[0, 10, 100, 1000, 16 * 1024])),
        prop::option::weighted(0.2, near(&[1, 8, 10, 64])),
        prop::option::weighted(0.2, near(&[8, 50, 300])),
        rarely,
    )
        .prop_map(|(line, bulk, elements, frame, unauthenticated)| {
            let limits = Limits::default();
            Limits {
                line: line.unwrap_or(limits.line),
                bulk: bulk.unwrap_or(limits.bulk),
                elements: elements.unwrap_or(limits.elements),
                frame: frame.unwrap_or(limits.frame),
                unauthenticated,
                ..limits
            }
        })
}

/// Lengths on both sides of one more digit; long ones are rare.
fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        60 => prop::collection::vec(any::<u8>(), 0..20),
        20 => near(&[10, 100]).prop_map(|n| vec![b'\n'; n]),
        2 => near(&[1000]).prop_map(|n| vec![b'$'; n]),
        1 => near(&[10_000, 16 * 1024, 100_000]).prop_map(|n| vec![b'x'; n]),
    ]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let few = prop::collection::vec(body(), 1..10);
    let many = (
        near(&[10, 64, 100]),
        prop::collection::vec(any::<u8>(), 0..3),
    )
        .prop_map(|(n, arg)| vec![arg; n]);
    let multibulk = prop_oneof![10 => few, 1 => many].prop_map(|args| {
        let mut out = Vec::new();
        encode::command(&mut out, &args);
        out
    });
    let inline = "[a-c\"'\\\\x4 ]{0,12}\r?\n";
    let odd = "\\*(0|-1|1|2|01)\r\n|[*$]|\r\n|\\*1\r\n\\$(|-|0|1)[0-9]{0,8}\r\n";
    prop_oneof![
        8 => multibulk,
        2 => inline.prop_map(String::into_bytes),
        1 => odd.prop_map(String::into_bytes),
    ]
}

fn reply() -> impl Strategy<Value = Vec<u8>> {
    let bulk = ("[$!=]", body()).prop_map(|(kind, body)| {
        let header = format!("{kind}{}\r\n", body.len());
        [header.as_bytes(), &body, b"\r\n"].concat()
    });
    let odd = "[*$!=~>%|](|-|0|1|2|3)[0-9]{0,1}\r\n|[+:_,#(-][^\r\n]{0,20}(\r|\n|\r\n)";
    prop_oneof![
        4 => bulk,
        4 => arbitrary::stream(),
        2 => odd.prop_map(String::into_bytes),
    ]
}

/// Several of them, sometimes damaged in a byte or cut off.
fn stream(piece: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::option::weighted(
        0.3,
        (
            any::<Index>(),
            prop_oneof![any::<u8>(), prop::sample::select(b"\r\n0$*-+".as_slice()),],
        ),
    );
    let cut = prop::option::weighted(0.2, any::<Index>());
    (prop::collection::vec(piece, 0..8), damage, cut).prop_map(|(pieces, damage, cut)| {
        let mut stream = pieces.concat();
        if let (Some((at, byte)), false) = (damage, stream.is_empty()) {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        if let Some(cut) = cut {
            stream.truncate(cut.index(stream.len() + 1));
        }
        stream
    })
}

fn reads() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..20)
}

proptest! {
    #![proptest_config(arbitrary::config())]

    #[test]
    fn every_split_gives_the_same_requests(
        limits in limits(), input in stream(request()), reads in reads(),
    ) {
        check::<RequestScanner>(limits, &input, &reads)?;
    }

    #[test]
    fn every_split_gives_the_same_replies(
        limits in limits(), input in stream(reply()), reads in reads(),
    ) {
        check::<Scanner>(limits, &input, &reads)?;
    }
}

/// The kept arguments are where they were in the stream, also when the front of the
/// request was released before they came.
#[test]
fn ranges_count_from_what_is_left() {
    let args: Vec<Vec<u8>> = (0..KEPT_ARGS + 2).map(|i| vec![b'a'; i * 3]).collect();
    let mut input = Vec::new();
    encode::command(&mut input, &args);
    for cut in 0..input.len() {
        let mut scanner = RequestScanner::new(Limits::default());
        assert_eq!(scanner.scan(&input[..cut]), Ok(None));
        let released = scanner.scanned();
        scanner.release(released);
        let rest = &input[released..];
        assert_eq!(scanner.scan(rest), Ok(Some(rest.len())));
        let ranges: Vec<Option<Range<usize>>> = (0..args.len()).map(|i| scanner.range(i)).collect();
        let mut end = input.len() - released;
        for (i, arg) in args.iter().enumerate().rev() {
            let range = (end.checked_sub(2 + arg.len())).map(|start| start..start + arg.len());
            let expected = range.filter(|_| i < KEPT_ARGS);
            assert_eq!(ranges[i], expected, "argument {i} after {released} bytes");
            end = end.saturating_sub(format!("${}\r\n", arg.len()).len() + arg.len() + 2);
        }
    }
}
