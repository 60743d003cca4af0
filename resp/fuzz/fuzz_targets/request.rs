//! Requests are found alike in any split of any input, with the same arguments, and
//! what was found survives being written anew.
#![no_main]

use bellwether_resp::{KEPT_ARGS, Limits, RequestError, RequestScanner, encode};
use libfuzzer_sys::fuzz_target;

/// Low enough for a fuzzer to reach every one.
const LIMITS: Limits = Limits {
    line: 60,
    bulk: 100,
    elements: 100,
    depth: 1,
    frame: 400,
    unauthenticated: true,
};

/// End, number of arguments and the arguments kept of each request.
type Found = (Vec<(usize, usize, Vec<Vec<u8>>)>, Option<RequestError>);

fn scan(input: &[u8], steps: &[u8]) -> Found {
    let mut scanner = RequestScanner::new(LIMITS);
    let (mut start, mut read, mut promised, mut found) = (0, 0, 0, Vec::new());
    let mut steps = steps.iter().cycle();
    loop {
        loop {
            let buf = &input[start..read];
            match scanner.scan(buf) {
                Ok(Some(length)) => {
                    let kept = scanner.count().min(if scanner.is_inline() {
                        usize::MAX
                    } else {
                        KEPT_ARGS
                    });
                    let args = (0..kept).map(|i| scanner.arg(buf, i).expect("it is kept").to_vec());
                    start += length;
                    assert!(start >= promised, "more was needed than came");
                    found.push((start, scanner.count(), args.collect()));
                }
                Ok(None) => {
                    assert!(scanner.needed() > 0);
                    promised = read + scanner.needed();
                    break;
                }
                Err(error) => return (found, Some(error)),
            }
        }
        assert!(start + scanner.scanned() <= read);
        if read == input.len() {
            return (found, None);
        }
        let step = steps
            .next()
            .map_or(input.len(), |step| usize::from(*step) + 1);
        read = input.len().min(read + step);
    }
}

/// As `scan`, but releases what was scanned: the ends and counts only.
fn stream(input: &[u8], steps: &[u8]) -> Vec<(usize, usize)> {
    let mut scanner = RequestScanner::new(LIMITS);
    let (mut start, mut read, mut found) = (0, 0, Vec::new());
    let mut steps = steps.iter().cycle();
    while read < input.len() {
        let step = steps
            .next()
            .map_or(input.len(), |step| usize::from(*step) + 1);
        read = input.len().min(read + step);
        while let Some(length) = scanner
            .scan(&input[start..read])
            .expect("it was accepted whole")
        {
            for i in 0..KEPT_ARGS {
                assert!(scanner.range(i).is_none_or(|range| range.end <= length));
            }
            start += length;
            found.push((start, scanner.count()));
        }
        start += scanner.scanned();
        scanner.release(scanner.scanned());
    }
    found
}

fuzz_target!(|data: (Vec<u8>, &[u8])| {
    let (steps, input) = data;
    let whole = scan(input, &[]);
    assert_eq!(scan(input, &steps), whole);
    assert_eq!(scan(input, &[0]), whole);
    if whole.1.is_none() {
        let ends = whole.0.iter().map(|(end, count, _)| (*end, *count));
        assert_eq!(stream(input, &steps), ends.collect::<Vec<_>>());
    }
    for (_, count, args) in whole.0 {
        if count == args.len() && count > 0 && count <= KEPT_ARGS {
            let mut out = Vec::new();
            encode::command(&mut out, &args);
            let mut scanner = RequestScanner::new(Limits::default());
            assert_eq!(scanner.scan(&out), Ok(Some(out.len())));
            for (i, arg) in args.iter().enumerate() {
                assert_eq!(scanner.arg(&out, i), Some(&arg[..]));
            }
        }
    }
});
