//! Finds where RESP frames end, without building values.
#![deny(clippy::disallowed_methods)]

use crate::error::ScanError;
use crate::limits::Limits;
use crate::line::{self, LineEnd, SHORT_LINE};

/// Finds the ends of RESP2 and RESP3 frames in a stream that arrives in pieces.
///
/// - It can stop and resume at any byte. Bodies of bulks are skipped, not read, and
///   no byte is looked at more than twice: a short line that a read cut off is.
/// - It allocates nothing from a declared length: its only memory is one number
///   for each aggregate that is open, at most [`Limits::depth`].
/// - It accepts every type of both protocols except the streamed ones
///   ([`ScanError::Streamed`]). An attribute belongs to the value that follows.
/// - Content of single lines is not checked (`:abc` passes): decoding does that.
///
/// After an error the stream has no known frame boundary any more: close it and
/// drop the scanner.
///
/// ```
/// use bellwether_resp::{Limits, Scanner};
///
/// let mut scanner = Scanner::new(Limits::default());
/// assert_eq!(scanner.scan(b"$5\r\nhel"), Ok(None));
/// assert_eq!(scanner.scan(b"$5\r\nhello\r\n+OK\r\n"), Ok(Some(11)));
/// assert_eq!(scanner.scan(b"+OK\r\n"), Ok(Some(5))); // the caller has moved on by 11
/// ```
#[derive(Debug)]
pub struct Scanner {
    limits: Limits,
    /// Bytes of the caller's buffer that are done with.
    scanned: usize,
    /// Bytes of this frame that the caller dropped from its buffer.
    released: usize,
    line: LineEnd,
    /// Inside a bulk: bytes of its body still to come.
    body: Option<usize>,
    /// Values still to come in each open aggregate, the innermost last. An
    /// attribute is an aggregate that holds its pairs and the annotated value.
    open: Vec<usize>,
    /// How many of `open`, from the first, are attributes of the whole frame.
    leading: usize,
    push: bool,
}

/// What one step of the scanner found.
enum Step {
    /// More bytes are needed.
    Starved,
    /// A header whose content follows.
    Opened,
    /// The end of a value.
    Closed,
}

impl Scanner {
    /// A scanner at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            scanned: 0,
            released: 0,
            line: LineEnd::default(),
            body: None,
            open: Vec::new(),
            leading: 0,
            push: false,
        }
    }

    /// Looks for the end of the current frame.
    ///
    /// `buf` begins where the frame begins, less what was [released](Self::release),
    /// and otherwise holds what earlier calls for this frame were given, and more.
    /// `Some(end)` says that the frame is `buf[..end]`; the scanner then stands at
    /// the next frame, and the next call takes `&buf[end..]`. `None` says that
    /// more bytes are needed.
    ///
    /// # Errors
    /// The bytes are no frame, or one beyond the limits.
    ///
    /// # Panics
    /// When `buf` is shorter than what was scanned of this frame.
    #[inline]
    pub fn scan(&mut self, buf: &[u8]) -> Result<Option<usize>, ScanError> {
        // Nearly every frame of a pipeline is a single value that is there wholly.
        if self.scanned == 0
            && self.released == 0
            && let Some(end) = self.short_value(buf)
        {
            self.push = false;
            return Ok(Some(end));
        }
        self.resume(buf)
    }

    fn resume(&mut self, buf: &[u8]) -> Result<Option<usize>, ScanError> {
        loop {
            let step = match self.body {
                Some(left) => self.skip_body(buf, left)?,
                None => self.read_header(buf)?,
            };
            match step {
                Step::Starved => return Ok(None),
                Step::Closed if self.close_value() => return Ok(Some(self.finish())),
                Step::Opened | Step::Closed => {}
            }
        }
    }

    /// How many bytes at the start of the buffer are known to belong to the
    /// unfinished frame. They can be forwarded before the frame is whole.
    #[must_use]
    pub fn scanned(&self) -> usize {
        self.scanned
    }

    /// Says that the caller dropped the first `n` bytes of the unfinished frame
    /// from its buffer. So a large value can be streamed.
    ///
    /// # Panics
    /// When `n` is more than [`scanned`](Self::scanned).
    pub fn release(&mut self, n: usize) {
        assert!(n <= self.scanned, "released bytes that were not scanned");
        self.scanned -= n;
        self.released += n;
    }

    /// Whether the frame that [`scan`](Self::scan) found last is a push message,
    /// with or without an attribute before it. Push messages of RESP3 answer no
    /// request.
    #[must_use]
    pub fn is_push(&self) -> bool {
        self.push
    }

    /// The length of the single value that `rest` begins with, if it is whole and
    /// nothing about it is unusual. Whatever is not found here is judged by
    /// [`read_header`](Self::read_header), which accepts all that this does.
    #[inline]
    fn short_value(&self, rest: &[u8]) -> Option<usize> {
        if self.line.searched() > 0 || self.limits.line < SHORT_LINE {
            return None;
        }
        // What is beyond the limit is not whole here, and refused when read there.
        let before = self.released.saturating_add(self.scanned);
        let rest = &rest[..rest.len().min(self.limits.frame.saturating_sub(before))];
        match rest {
            [b'+', b'O', b'K', b'\r', b'\n', ..] | [b'$', b'-', b'1', b'\r', b'\n', ..] => Some(5),
            [b'$' | b'!' | b'=', ..] => {
                let (_, after) = line::short_bulk(rest, self.limits.bulk)?;
                Some(rest.len() - after.len())
            }
            [b'+' | b':' | b'_' | b',' | b'#' | b'(', ..] => line::short_line(rest),
            // An error is seldom short.
            _ => None,
        }
    }

    #[inline]
    fn read_header(&mut self, buf: &[u8]) -> Result<Step, ScanError> {
        let rest = &buf[self.scanned..];
        if !self.open.is_empty()
            && let Some(length) = self.short_value(rest)
        {
            if self.at_top() {
                self.push = false;
            }
            self.scanned += length;
            return Ok(Step::Closed);
        }
        let Some(&kind) = rest.first() else {
            return Ok(Step::Starved);
        };
        check_kind(kind)?;
        let found = self.line.find(rest, self.limits.line);
        let Some(end) = found.map_err(|_| ScanError::LineTooLong)? else {
            return Ok(Step::Starved);
        };
        // The kind itself is never CR, so `end - 2` is at least 1 when it is.
        if end < 3 || rest[end - 2] != b'\r' {
            return Err(ScanError::Terminator);
        }
        if kind != b'|' && self.at_top() {
            self.push = kind == b'>';
        }
        self.scanned += end;
        self.check_frame(0)?;
        self.enter(kind, &rest[1..end - 2])
    }

    #[inline]
    fn enter(&mut self, kind: u8, text: &[u8]) -> Result<Step, ScanError> {
        match kind {
            b'$' | b'!' | b'=' => {
                let Some(length) = declared(kind, text)? else {
                    return Ok(Step::Closed);
                };
                if length > self.limits.bulk {
                    return Err(ScanError::BulkTooLong);
                }
                self.check_frame(length.saturating_add(2))?;
                self.body = Some(length);
                Ok(Step::Opened)
            }
            b'*' | b'~' | b'>' | b'%' | b'|' => match declared(kind, text)? {
                None => Ok(Step::Closed),
                Some(length) => self.open_aggregate(kind, length),
            },
            _ => Ok(Step::Closed),
        }
    }

    fn open_aggregate(&mut self, kind: u8, length: usize) -> Result<Step, ScanError> {
        let elements = match kind {
            b'%' | b'|' => length.saturating_mul(2),
            _ => length,
        };
        if elements > self.limits.elements {
            return Err(ScanError::TooManyElements);
        }
        let values = match kind {
            b'|' => elements.saturating_add(1),
            _ => elements,
        };
        if values == 0 {
            return Ok(Step::Closed);
        }
        if self.open.len() >= self.limits.depth {
            return Err(ScanError::TooDeep);
        }
        if kind == b'|' && self.at_top() {
            self.leading += 1;
        }
        self.open.push(values);
        Ok(Step::Opened)
    }

    #[inline]
    fn skip_body(&mut self, buf: &[u8], left: usize) -> Result<Step, ScanError> {
        let here = left.min(buf.len() - self.scanned);
        self.scanned += here;
        self.body = Some(left - here);
        if here < left {
            return Ok(Step::Starved);
        }
        match buf[self.scanned..] {
            [b'\r', b'\n', ..] => {}
            [] | [b'\r'] => return Ok(Step::Starved),
            _ => return Err(ScanError::Terminator),
        }
        self.scanned += 2;
        self.body = None;
        Ok(Step::Closed)
    }

    /// Counts a finished value in the aggregates around it; true when it was the
    /// last of the frame.
    #[inline]
    fn close_value(&mut self) -> bool {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return false;
            }
            self.open.pop();
        }
        true
    }

    #[inline]
    fn finish(&mut self) -> usize {
        self.released = 0;
        self.leading = 0;
        std::mem::take(&mut self.scanned)
    }

    /// Whether the next value is the frame itself, not a part of it.
    #[inline]
    fn at_top(&self) -> bool {
        self.open.len() == self.leading && self.open.last().is_none_or(|left| *left == 1)
    }

    #[inline]
    fn check_frame(&self, coming: usize) -> Result<(), ScanError> {
        let length = self.released.saturating_add(self.scanned);
        if length.saturating_add(coming) > self.limits.frame {
            return Err(ScanError::FrameTooLong);
        }
        Ok(())
    }
}

#[inline]
fn check_kind(kind: u8) -> Result<(), ScanError> {
    let line = matches!(kind, b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(');
    let bulk = matches!(kind, b'$' | b'!' | b'=');
    let aggregate = matches!(kind, b'*' | b'~' | b'>' | b'%' | b'|');
    match kind {
        _ if line || bulk || aggregate => Ok(()),
        b';' | b'.' => Err(ScanError::Streamed),
        _ => Err(ScanError::UnknownType(kind)),
    }
}

/// The declared length, `None` for the two nulls of RESP2.
#[inline]
fn declared(kind: u8, text: &[u8]) -> Result<Option<usize>, ScanError> {
    match (kind, text) {
        (b'$' | b'*', b"-1") => Ok(None),
        (_, b"?") => Err(ScanError::Streamed),
        _ => line::length(text).map(Some).ok_or(ScanError::Length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::tests::LOOKED_AT;

    /// An array that arrives in small reads is looked at once, although nearly
    /// every read ends inside it. A scanner that began anew would look at 10⁹ bytes.
    #[test]
    fn only_what_a_read_cut_off_is_looked_at_twice() {
        let mut input = b"*300000\r\n".to_vec();
        for _ in 0..300_000 {
            input.extend_from_slice(b"$4\r\nbody\r\n");
        }
        let mut scanner = Scanner::new(Limits::default());
        let mut found = None;
        LOOKED_AT.set(0);
        let reads: Vec<usize> = (0..input.len()).step_by(16 * 1024).collect();
        for end in reads.iter().copied().chain([input.len()]) {
            found = scanner.scan(&input[..end]).expect("it is a frame");
        }
        assert_eq!(found, Some(input.len()));
        let headers = 300_000 * b"$4\r\n".len() + b"*300000\r\n".len();
        let bodies_are_skipped = headers..headers + reads.len() * SHORT_LINE;
        assert!(bodies_are_skipped.contains(&LOOKED_AT.get()));
    }

    /// However small the reads are.
    #[test]
    fn no_byte_is_looked_at_more_than_twice() {
        let array = [b"*3000\r\n".as_slice(), &b"$0\r\n\r\n:1\r\n".repeat(1500)].concat();
        let lines = array.len() - 1500 * b"\r\n".len();
        let line = [b"+".as_slice(), &[b'x'; 60_000], b"\r\n"].concat();
        for (input, lines) in [(&array, lines), (&line, line.len())] {
            for step in 1..20 {
                let mut scanner = Scanner::new(Limits::default());
                LOOKED_AT.set(0);
                let reads = (0..input.len()).step_by(step).chain([input.len()]);
                let ends = reads.map(|end| scanner.scan(&input[..end]));
                assert_eq!(ends.last(), Some(Ok(Some(input.len()))));
                assert!(LOOKED_AT.get() <= 2 * lines);
            }
        }
    }

    /// The only memory is one number for each open aggregate.
    #[test]
    fn no_memory_for_declared_lengths() {
        for header in ["*2147483647", "%1000000000", "|1000000000", ">2147483647"] {
            let mut scanner = Scanner::new(Limits::default());
            assert_eq!(scanner.scan(format!("{header}\r\n").as_bytes()), Ok(None));
            assert!(scanner.open.capacity() <= 8, "{header}");
        }
        let mut scanner = Scanner::new(Limits::default());
        let deep = b"*1\r\n".repeat(100_000);
        assert_eq!(scanner.scan(&deep), Err(ScanError::TooDeep));
        assert!(scanner.open.capacity() <= 256);
    }
}
