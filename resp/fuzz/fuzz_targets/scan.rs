//! The scanner finds the same frames in any split of any input, with and without
//! released bytes; redis-protocol agrees wherever it is as strict.
#![no_main]

use bellwether_resp::{Limits, ScanError, Scanner};
use libfuzzer_sys::fuzz_target;

/// Ends of frames, and whether each is a push message.
type Found = (Vec<(usize, bool)>, Option<ScanError>);

/// Feeds the input in reads whose sizes repeat `steps`, releasing on the way if asked to.
fn scan(input: &[u8], steps: &[u8], release: bool) -> Found {
    // Low enough for a fuzzer to reach every limit.
    let limits = Limits {
        line: 40,
        bulk: 100,
        elements: 20,
        depth: 8,
        frame: 400,
        unauthenticated: false,
    };
    let mut scanner = Scanner::new(limits);
    // `start` is where the buffer begins, `ended` where the last frame ended.
    let (mut start, mut ended, mut read, mut found) = (0, 0, 0, Vec::new());
    let mut steps = steps.iter().cycle();
    loop {
        loop {
            match scanner.scan(&input[start..read]) {
                Ok(Some(length)) => {
                    start += length;
                    let frame = &input[ended..start];
                    assert!(scanner.is_push() == (frame[0] == b'>') || frame[0] == b'|');
                    found.push((start, scanner.is_push()));
                    ended = start;
                }
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
        assert!(start + scanner.scanned() <= read);
        if release {
            start += scanner.scanned();
            scanner.release(scanner.scanned());
        }
        if read == input.len() {
            return (found, None);
        }
        let step = steps
            .next()
            .map_or(input.len(), |step| usize::from(*step) + 1);
        read = input.len().min(read + step);
    }
}

fuzz_target!(|data: (Vec<u8>, &[u8])| {
    let (steps, input) = data;
    let whole = scan(input, &[], false);
    assert_eq!(scan(input, &steps, false), whole);
    assert_eq!(scan(input, &steps, true), whole);
    assert_eq!(scan(input, &[0], true), whole);
    if let Some((first, _)) = whole.0.first()
        && let Ok(Some((_, length))) = redis_protocol::resp2::decode::decode_range(input)
    {
        assert_eq!(length, *first);
    }
});
