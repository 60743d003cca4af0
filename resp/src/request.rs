//! Finds the requests of clients and their arguments.
#![deny(clippy::disallowed_methods)]

use std::ops::Range;

use crate::error::RequestError;
use crate::inline;
use crate::kept::Kept;
use crate::limits::Limits;
use crate::line::{self, LineEnd, SHORT_LINE};

/// How many arguments of a request a [`RequestScanner`] remembers.
///
/// Routing looks at the command, its subcommand and the options near the front.
/// The number is bounded so that a request of a million arguments costs no memory.
pub const KEPT_ARGS: usize = 64;

/// Finds the ends of client requests in a stream that arrives in pieces, and
/// where their first arguments are.
///
/// Both forms are read as a Redis server reads them: multibulk (`*2 $3 GET …`)
/// and inline (`GET key` with Redis's quoting). The scanner resumes at any byte and
/// skips the bodies of arguments; no byte is looked at more than twice, which a
/// short line is that a read cut off. It is at most 200 bytes and allocates only
/// for inline requests and for the first one of more than seven arguments.
///
/// **A request may be empty** (`*0`, `*-1`, an empty line). Redis skips it without
/// an answer, and so must the caller: see [`is_empty`](Self::is_empty).
///
/// **An inline request keeps memory**, up to some 30 times its line, until the next
/// request begins or [`take_inline`](Self::take_inline) is called. A multibulk one
/// keeps at most 1 KiB for arguments after the seventh.
///
/// [`Limits::depth`] does not matter here. After an error the connection can only
/// be closed, as Redis does.
///
/// ```
/// use bellwether_resp::{Limits, RequestScanner};
///
/// let mut scanner = RequestScanner::new(Limits::default());
/// let buf = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nget \"a b\"\r\n";
/// assert_eq!(scanner.scan(buf), Ok(Some(20)));
/// assert_eq!(scanner.arg(buf, 1), Some(&b"k"[..]));
///
/// let buf = &buf[20..];
/// assert_eq!(scanner.scan(buf), Ok(Some(11)));
/// assert_eq!(scanner.take_inline(), Some(vec![b"get".to_vec(), b"a b".to_vec()]));
/// ```
#[derive(Debug)]
pub struct RequestScanner {
    limits: Limits,
    /// Bytes of the caller's buffer that are done with.
    scanned: usize,
    /// Bytes of this request that the caller dropped from its buffer. Stays for
    /// `range` until the next request begins.
    released: usize,
    line: LineEnd,
    state: State,
    /// Arguments of the request, as declared.
    count: usize,
    /// The arguments; offsets count from the start of the request.
    kept: Kept,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// At the first byte of a request, or after the last one of the previous.
    Start,
    /// At the header of an argument, with so many to come.
    Header { args: usize },
    /// In an argument, with so many bytes and so many arguments, itself included, to come.
    Body { left: usize, args: usize },
}

impl RequestScanner {
    /// A scanner at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            scanned: 0,
            released: 0,
            line: LineEnd::default(),
            state: State::Start,
            count: 0,
            kept: Kept::new(),
        }
    }

    /// Changes the limits from the next header on, for instance from
    /// [`Limits::UNAUTHENTICATED`] when a client has authenticated. What it sent
    /// behind its AUTH is to be scanned after that, as Redis does.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Looks for the end of the current request.
    ///
    /// `buf` begins where the request begins, less what was [released](Self::release),
    /// and otherwise holds what earlier calls for this request were given, and
    /// more. `Some(end)` says that the request is `buf[..end]`; the next call
    /// takes `&buf[end..]`. `None` says that more bytes are needed.
    ///
    /// # Errors
    /// The client broke the protocol; the error's text is Redis's.
    ///
    /// # Panics
    /// When `buf` is shorter than what was scanned of this request.
    #[inline]
    pub fn scan(&mut self, buf: &[u8]) -> Result<Option<usize>, RequestError> {
        // Nearly every request of a pipeline is there wholly.
        if let State::Start = self.state
            && let Some(end) = self.short_request(buf)
        {
            return Ok(Some(end));
        }
        self.resume(buf)
    }

    fn resume(&mut self, buf: &[u8]) -> Result<Option<usize>, RequestError> {
        loop {
            let more = match self.state {
                State::Start => self.start(buf)?,
                State::Header { args } => self.read_header(buf, args)?,
                State::Body { left, args } => self.skip_body(buf, left, args)?,
            };
            if !more {
                return Ok(None);
            }
            if matches!(self.state, State::Start) {
                return Ok(Some(std::mem::take(&mut self.scanned)));
            }
        }
    }

    /// How many bytes at the start of the buffer are known to belong to the
    /// unfinished request. They can be forwarded before the request is whole.
    #[must_use]
    pub fn scanned(&self) -> usize {
        self.scanned
    }

    /// Says that the caller dropped the first `n` bytes of the unfinished request
    /// from its buffer. So a large argument can be streamed.
    ///
    /// # Panics
    /// When `n` is more than [`scanned`](Self::scanned).
    pub fn release(&mut self, n: usize) {
        assert!(n <= self.scanned, "released bytes that were not scanned");
        self.scanned -= n;
        self.released += n;
    }

    /// How many bytes are still to come of the unfinished request, at least: what is
    /// missing of the argument that has begun, and the least that the arguments
    /// after it can be. It counts from the end of what [`scan`](Self::scan) was
    /// given last, and is never 0.
    #[must_use]
    pub fn needed(&self) -> usize {
        const SHORTEST: usize = b"$0\r\n\r\n".len();
        let (current, after) = match self.state {
            State::Start => (1, 0),
            // As much of the header as was searched is there, but not its line end.
            State::Header { args } => {
                let missing = SHORTEST.saturating_sub(self.line.searched());
                (missing.max(b"\n\r\n".len()), args - 1)
            }
            // The CR may be there.
            State::Body { left: 0, args } => (b"\n".len(), args - 1),
            State::Body { left, args } => (left.saturating_add(b"\r\n".len()), args - 1),
        };
        after.saturating_mul(SHORTEST).saturating_add(current)
    }

    /// How many arguments the request has, the command's name included. While a
    /// multibulk request is unfinished, the number it declared.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether the finished request has no arguments: nothing to run, and no
    /// reply is due.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the request came in the inline form.
    #[must_use]
    pub fn is_inline(&self) -> bool {
        self.kept.inline().is_some()
    }

    /// The `i`th argument, 0 being the command's name, of the request that `buf`
    /// begins with: the finished one, or as much of the unfinished one as is there.
    ///
    /// `None` when there is no such argument, when it is not whole yet, when its
    /// bytes were released, or when `i` is [`KEPT_ARGS`] or more.
    #[must_use]
    pub fn arg<'a>(&'a self, buf: &'a [u8], i: usize) -> Option<&'a [u8]> {
        match self.kept.inline() {
            Some(args) => args.get(i).map(Vec::as_slice),
            None => buf.get(self.range(i)?),
        }
    }

    /// Where in the buffer the `i`th argument of a multibulk request stands. Of an
    /// unfinished request the last one may reach beyond the buffer.
    ///
    /// `None` when its header is not there yet, when any of its bytes were
    /// released, when `i` is [`KEPT_ARGS`] or more, and for an inline request.
    #[must_use]
    pub fn range(&self, i: usize) -> Option<Range<usize>> {
        let (start, length) = self.kept.range(i)?;
        let start = start.checked_sub(self.released)?;
        Some(start..start + length)
    }

    /// Takes the arguments of a finished inline request, to be sent on by
    /// [`encode::command`](crate::encode::command). `None` for a multibulk one.
    pub fn take_inline(&mut self) -> Option<Vec<Vec<u8>>> {
        self.kept.take_inline()
    }

    /// Forgets the finished request.
    #[inline]
    fn begin(&mut self) {
        self.released = 0;
        self.count = 0;
        self.kept.clear();
    }

    /// The end of the request that `buf` begins with, if it is multibulk and whole
    /// and nothing about it is unusual. Otherwise the state is where it becomes so,
    /// for [`resume`](Self::resume) to judge, which accepts all that this does.
    #[inline]
    fn short_request(&mut self, buf: &[u8]) -> Option<usize> {
        self.begin();
        if buf.first() != Some(&b'*') || self.line.searched() > 0 || self.limits.line < SHORT_LINE {
            return None;
        }
        let multibulk = line::short_length(buf)?;
        if multibulk.length > self.limits.elements {
            return None;
        }
        self.count = multibulk.length;
        self.scanned = multibulk.line;
        match self.short_args(buf, multibulk.length) {
            0 => Some(std::mem::take(&mut self.scanned)),
            args => {
                self.state = State::Header { args };
                None
            }
        }
    }

    /// Reads arguments as long as they are whole and usual. How many are left?
    #[inline]
    fn short_args(&mut self, buf: &[u8], mut args: usize) -> usize {
        if self.limits.line < SHORT_LINE {
            return args;
        }
        // What is beyond the limit is not whole here, and refused when it is read as others.
        let buf = &buf[..buf
            .len()
            .min(self.limits.frame.saturating_sub(self.released))];
        let Some(mut rest) = buf.get(self.scanned..) else {
            return args;
        };
        while args > 0
            && let [b'$', ..] = rest
            && let Some((bulk, after)) = line::short_bulk(rest, self.limits.bulk)
        {
            let start = buf.len() - rest.len() + bulk.line;
            self.kept.push(self.released + start, bulk.length);
            rest = after;
            args -= 1;
        }
        self.scanned = buf.len() - rest.len();
        args
    }

    fn start(&mut self, buf: &[u8]) -> Result<bool, RequestError> {
        match buf.first() {
            None => Ok(false),
            Some(b'*') => self.read_multibulk(buf),
            Some(_) => self.read_inline(buf),
        }
    }

    fn read_multibulk(&mut self, buf: &[u8]) -> Result<bool, RequestError> {
        let found = self.line.find(buf, self.limits.line);
        let Some(end) = found.map_err(|_| RequestError::MultibulkLine)? else {
            return Ok(false);
        };
        let args = digits(&buf[..end])
            .and_then(multibulk_length)
            .ok_or(RequestError::MultibulkLength)?;
        if args > self.limits.elements {
            return Err(match self.later_limits() {
                Some(later) if args <= later.elements => RequestError::UnauthenticatedMultibulk,
                _ => RequestError::MultibulkLength,
            });
        }
        self.scanned = end;
        self.count = args;
        if args > 0 {
            self.state = State::Header { args };
        }
        Ok(true)
    }

    fn read_inline(&mut self, buf: &[u8]) -> Result<bool, RequestError> {
        let found = self.line.find(buf, self.limits.line);
        let Some(end) = found.map_err(|_| RequestError::InlineTooLong)? else {
            return Ok(false);
        };
        let args = inline::split(&buf[..end])?;
        self.scanned = end;
        self.count = args.len();
        self.kept.set_inline(args);
        Ok(true)
    }

    #[inline]
    fn read_header(&mut self, buf: &[u8], args: usize) -> Result<bool, RequestError> {
        let rest = &buf[self.scanned..];
        match rest.first() {
            None => return Ok(false),
            Some(b'$') => {}
            Some(other) => return Err(RequestError::ExpectedBulk(*other)),
        }
        let found = self.line.find(rest, self.limits.line);
        let Some(end) = found.map_err(|_| RequestError::BulkLine)? else {
            return Ok(false);
        };
        let length = digits(&rest[..end])
            .and_then(line::length)
            .ok_or(RequestError::BulkLength)?;
        if length > self.limits.bulk {
            return Err(match self.later_limits() {
                Some(later) if length <= later.bulk => RequestError::UnauthenticatedBulk,
                _ => RequestError::BulkLength,
            });
        }
        self.scanned += end;
        let start = self.released.saturating_add(self.scanned);
        if start.saturating_add(length).saturating_add(2) > self.limits.frame {
            return Err(RequestError::BulkLength);
        }
        self.kept.push(start, length);
        self.state = State::Body { left: length, args };
        Ok(true)
    }

    #[inline]
    fn skip_body(&mut self, buf: &[u8], left: usize, args: usize) -> Result<bool, RequestError> {
        let here = left.min(buf.len() - self.scanned);
        self.scanned += here;
        self.state = State::Body {
            left: left - here,
            args,
        };
        if here < left {
            return Ok(false);
        }
        match buf[self.scanned..] {
            [b'\r', b'\n', ..] => {}
            [] | [b'\r'] => return Ok(false),
            _ => return Err(RequestError::Terminator),
        }
        self.scanned += 2;
        self.state = match self.short_args(buf, args - 1) {
            0 => State::Start,
            args => State::Header { args },
        };
        Ok(true)
    }

    /// What a client that has yet to authenticate may send afterwards.
    fn later_limits(&self) -> Option<Limits> {
        self.limits.unauthenticated.then(Limits::default)
    }
}

/// The text between the type byte and CR LF of a whole line.
#[inline]
fn digits(line: &[u8]) -> Option<&[u8]> {
    line.get(1..)?.strip_suffix(b"\r\n")
}

/// Redis takes any negative number for an empty request.
fn multibulk_length(digits: &[u8]) -> Option<usize> {
    match digits.strip_prefix(b"-") {
        Some(b"0") => None,
        Some(negative) => line::length(negative).map(|_| 0),
        None => line::length(digits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::tests::LOOKED_AT;

    #[test]
    fn many_arguments_are_not_looked_at_again() {
        let mut input = b"*100000\r\n".to_vec();
        for _ in 0..100_000 {
            input.extend_from_slice(b"$4\r\nbody\r\n");
        }
        let mut scanner = RequestScanner::new(Limits::default());
        let mut found = None;
        LOOKED_AT.set(0);
        let reads: Vec<usize> = (0..input.len()).step_by(16 * 1024).collect();
        for end in reads.iter().copied().chain([input.len()]) {
            found = scanner.scan(&input[..end]).expect("it is a request");
        }
        assert_eq!(found, Some(input.len()));
        assert_eq!(scanner.count(), 100_000);
        let headers = 100_000 * b"$4\r\n".len() + b"*100000\r\n".len();
        let bodies_are_skipped = headers..headers + reads.len() * SHORT_LINE;
        assert!(bodies_are_skipped.contains(&LOOKED_AT.get()));
    }

    /// However small the reads are.
    #[test]
    fn no_byte_is_looked_at_more_than_twice() {
        let multibulk = [b"*3000\r\n".as_slice(), &b"$0\r\n\r\n".repeat(3000)].concat();
        let headers = multibulk.len() - 3000 * b"\r\n".len();
        let inline = [b"ECHO ".as_slice(), &[b'x'; 60_000], b"\r\n"].concat();
        for (input, lines) in [(&multibulk, headers), (&inline, inline.len())] {
            for step in 1..20 {
                let mut scanner = RequestScanner::new(Limits::default());
                LOOKED_AT.set(0);
                let reads = (0..input.len()).step_by(step).chain([input.len()]);
                let ends = reads.map(|end| scanner.scan(&input[..end]));
                assert_eq!(ends.last(), Some(Ok(Some(input.len()))));
                assert!(LOOKED_AT.get() <= 2 * lines);
            }
        }
    }

    /// There is one for each client.
    #[test]
    fn a_scanner_is_small() {
        assert!(size_of::<RequestScanner>() <= 200);
    }
}
