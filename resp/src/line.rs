//! What both scanners share: finding line ends once, and reading lengths.

use memchr::memchr;

/// Finds the end of the current line without looking at a byte twice.
#[derive(Debug, Default)]
pub(crate) struct LineEnd {
    /// Bytes of the current line that are known to hold no line end.
    searched: usize,
    #[cfg(test)]
    pub(crate) work: usize,
}

/// The line is longer than allowed.
pub(crate) struct TooLong;

impl LineEnd {
    /// The length, with its LF, of the line that `rest` begins with. `None` when
    /// the end has not come yet; the next call takes the same line, grown.
    pub(crate) fn find(&mut self, rest: &[u8], limit: usize) -> Result<Option<usize>, TooLong> {
        let found = memchr(b'\n', &rest[self.searched..]);
        #[cfg(test)]
        {
            self.work += found.map_or(rest.len() - self.searched, |i| i + 1);
        }
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
