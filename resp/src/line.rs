//! What both scanners share: finding line ends once, and reading lengths.

use memchr::memchr;

/// A line of at most so many bytes, with its CR LF, is short: it is read byte by
/// byte, which costs less than a call of memchr. With a lower
/// [`Limits::line`](crate::Limits::line) no line is short.
pub(crate) const SHORT_LINE: usize = 16;

/// Finds the end of the current line without looking at a byte twice.
#[derive(Debug, Default)]
pub(crate) struct LineEnd {
    /// Bytes of the current line that are known to hold no line end.
    searched: usize,
}

/// The line is longer than allowed.
pub(crate) struct TooLong;

impl LineEnd {
    /// The length, with its LF, of the line that `rest` begins with. `None` when
    /// the end has not come yet; the next call takes the same line, grown.
    pub(crate) fn find(&mut self, rest: &[u8], limit: usize) -> Result<Option<usize>, TooLong> {
        let found = memchr(b'\n', &rest[self.searched..]);
        looked_at(found.map_or(rest.len() - self.searched, |i| i + 1));
        match found.map(|i| self.searched + i + 1) {
            Some(length) if length <= limit => {
                self.searched = 0;
                Ok(Some(length))
            }
            None if rest.len() < limit => {
                self.searched = rest.len();
                Ok(None)
            }
            _ => Err(TooLong),
        }
    }

    /// Bytes of the current line that came without its end.
    #[inline]
    pub(crate) fn searched(&self) -> usize {
        self.searched
    }
}

/// A line with a length, or a bulk, that is whole and written as nearly all are.
/// The scanners read these without keeping a state, and leave the rest to `find`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short {
    /// Bytes of the line, with its type byte and CR LF.
    pub(crate) line: usize,
    /// The length that it says.
    pub(crate) length: usize,
}

/// The length that `rest` begins with, after its type byte. `None` when it is not
/// there wholly, has more than five digits, or is none: then nothing is known.
#[inline(always)]
pub(crate) fn short_length(rest: &[u8]) -> Option<Short> {
    let length = match *rest {
        [_, a, b'\r', b'\n', ..] => number([a]),
        [_, a @ b'1'..=b'9', b, b'\r', b'\n', ..] => number([a, b]),
        [_, a @ b'1'..=b'9', b, c, b'\r', b'\n', ..] => number([a, b, c]),
        [_, a @ b'1'..=b'9', b, c, d, b'\r', b'\n', ..] => number([a, b, c, d]),
        [_, a @ b'1'..=b'9', b, c, d, e, b'\r', b'\n', ..] => number([a, b, c, d, e]),
        _ => None,
    };
    looked_at(length.map_or(rest.len().min(8), |short| short.line));
    length
}

/// What so many decimal digits between a type byte and CR LF say.
#[inline(always)]
fn number<const N: usize>(digits: [u8; N]) -> Option<Short> {
    // The next line cannot be looked at before this number is known, so it is reached
    // in few steps: the zeros are one constant.
    let (mut sum, mut zeros) = (0, 0);
    for byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        sum = sum * 10 + usize::from(byte);
        zeros = zeros * 10 + usize::from(b'0');
    }
    Some(Short {
        line: 1 + N + 2,
        length: sum - zeros,
    })
}

/// The bulk that `rest` begins with, and what follows it. `None` when it is not
/// there wholly, has no short length or one above `limit`, or does not end with CR LF.
#[inline(always)]
pub(crate) fn short_bulk(rest: &[u8], limit: usize) -> Option<(Short, &[u8])> {
    let bulk = short_length(rest)?;
    if bulk.length > limit {
        return None;
    }
    let after = rest.get(bulk.line + bulk.length..)?;
    Some((bulk, after.strip_prefix(b"\r\n")?))
}

/// The length of the short line that `rest` begins with. `None` when it is not there
/// wholly, is long, or does not end with CR LF after its type byte.
#[inline]
pub(crate) fn short_line(rest: &[u8]) -> Option<usize> {
    let rest = &rest[..rest.len().min(SHORT_LINE)];
    let last = rest.iter().position(|byte| *byte == b'\n');
    looked_at(last.map_or(rest.len(), |last| last + 1));
    let last = last?;
    (last >= 2 && rest[last - 1] == b'\r').then_some(last + 1)
}

/// Reads a length as strictly as Redis does (`string2ll`): decimal digits, no
/// sign, no leading zero. `None` for anything else and from 10¹⁸ on.
pub(crate) fn length(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 18 || (digits[0] == b'0' && digits.len() > 1) {
        return None;
    }
    let mut n: u64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        n = n * 10 + u64::from(digit - b'0');
    }
    usize::try_from(n).ok()
}

/// Counts the bytes that were looked at in search of a line end or a length; in
/// tests only.
#[inline(always)]
fn looked_at(bytes: usize) {
    #[cfg(test)]
    tests::LOOKED_AT.set(tests::LOOKED_AT.get() + bytes);
    #[cfg(not(test))]
    let _ = bytes;
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        pub(crate) static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
    }

    /// Every text of up to seven bytes that matter.
    fn texts() -> impl Iterator<Item = Vec<u8>> {
        let symbols = b"019/:\r\n";
        (0..=7).flat_map(move |size| {
            (0..symbols.len().pow(size)).map(move |mut n| {
                let digit = |_| {
                    let symbol = symbols[n % symbols.len()];
                    n /= symbols.len();
                    symbol
                };
                std::iter::once(b'$').chain((0..size).map(digit)).collect()
            })
        })
    }

    fn found(rest: &[u8]) -> Option<&[u8]> {
        let end = LineEnd::default().find(rest, usize::MAX).ok()??;
        Some(&rest[..end])
    }

    #[test]
    fn short_lengths_are_read_as_others() {
        for text in texts() {
            let digits = found(&text).and_then(|line| line[1..].strip_suffix(b"\r\n"));
            let expected = digits
                .filter(|digits| digits.len() <= 5)
                .and_then(|digits| {
                    let line = digits.len() + 3;
                    length(digits).map(|length| Short { line, length })
                });
            assert_eq!(short_length(&text), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn short_lines_are_found_as_others() {
        for text in texts() {
            let line = found(&text).filter(|line| line.len() > 2 && line.ends_with(b"\r\n"));
            let expected = line.map(<[u8]>::len);
            assert_eq!(short_line(&text), expected, "{}", text.escape_ascii());
        }
        for length in SHORT_LINE - 2..SHORT_LINE + 2 {
            let line = format!("+{}\r\n+", "x".repeat(length - 3));
            let expected = (length <= SHORT_LINE).then_some(length);
            assert_eq!(short_line(line.as_bytes()), expected);
        }
    }

    #[test]
    fn a_short_bulk_is_whole_and_within_the_limit() {
        let bulk = Short { line: 4, length: 3 };
        assert_eq!(short_bulk(b"$3\r\nabc\r\n$", 3), Some((bulk, &b"$"[..])));
        assert_eq!(short_bulk(b"$3\r\nabc\r\n", 3), Some((bulk, &b""[..])));
        assert_eq!(short_bulk(b"$3\r\nabc\r\n", 2), None);
        for end in 0..b"$3\r\nabc\r\n".len() {
            assert_eq!(short_bulk(&b"$3\r\nabc\r\n"[..end], 3), None);
        }
        assert_eq!(short_bulk(b"$3\r\nabcd\r\n", 3), None);
        assert_eq!(short_bulk(b"$3\r\nabc\rd", 3), None);
    }
}
