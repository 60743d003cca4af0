//! The scanner gives the same frames for every split of the input.

use bellwether_resp::{Limits, ScanError, Scanner};

const EVERY_TYPE: &[u8] = b"+OK\r\n-ERR no\r\n:1\r\n$3\r\nabc\r\n$-1\r\n*-1\r\n*0\r\n*2\r\n:1\r\n\
*1\r\n$0\r\n\r\n_\r\n#t\r\n,1.5\r\n(123\r\n!5\r\nERR x\r\n=5\r\ntxt:x\r\n%1\r\n+a\r\n*1\r\n:2\r\n~2\r\n\
:1\r\n:2\r\n>2\r\n+a\r\n+b\r\n|1\r\n+ttl\r\n:5\r\n$1\r\nx\r\n*1\r\n|0\r\n:1\r\n%0\r\n";
const FRAMES: usize = 20;

fn ends(input: &[u8], pieces: impl Iterator<Item = usize>) -> Result<Vec<usize>, ScanError> {
    let mut scanner = Scanner::new(Limits::default());
    let (mut start, mut found) = (0, Vec::new());
    for end in pieces {
        while let Some(length) = scanner.scan(&input[start..end])? {
            start += length;
            found.push(start);
        }
        assert!(start + scanner.scanned() <= end);
    }
    Ok(found)
}

#[test]
fn every_type_at_every_split() {
    let whole = ends(EVERY_TYPE, std::iter::once(EVERY_TYPE.len())).unwrap();
    assert_eq!(whole.len(), FRAMES);
    assert_eq!(whole.last(), Some(&EVERY_TYPE.len()));
    assert_eq!(ends(EVERY_TYPE, 1..=EVERY_TYPE.len()), Ok(whole.clone()));
    for split in 0..EVERY_TYPE.len() {
        let pieces = [split, EVERY_TYPE.len()].into_iter();
        assert_eq!(ends(EVERY_TYPE, pieces), Ok(whole.clone()), "{split}");
    }
}
