//! Finds the requests of clients and their arguments.
#![deny(clippy::disallowed_methods)]

use std::ops::Range;

use crate::error::RequestError;
use crate::inline;
use crate::limits::Limits;
use crate::line::{self, LineEnd};

/// How many arguments of a request a [`RequestScanner`] remembers.
///
/// Routing looks at the command, its subcommand and the options near the front.
/// The number is bounded so that a request of a million arguments costs no memory.
pub const KEPT_ARGS: usize = 64;

/// Finds the ends of client requests in a stream that arrives in pieces, and
/// where their first arguments are.
///
/// Both forms are read as a Redis server reads them: multibulk (`*2 $3 GET …`)
/// and inline (`GET key` with Redis's quoting). The scanner resumes at any byte,
/// looks at no byte twice, skips the bodies of arguments, and allocates nothing
/// for a multibulk request once its small table has grown.
///
/// **A request may be empty** (`*0`, `*-1`, an empty line). Redis skips it without
/// an answer, and so must the caller: see [`is_empty`](Self::is_empty).
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
    /// Where the first arguments stand, counted from the start of the request.
    args: Vec<(usize, usize)>,
    /// The arguments of an inline request.
    inline: Option<Vec<Vec<u8>>>,
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
            args: Vec::new(),
            inline: None,
        }
    }

    /// Changes the limits from the next header on, for instance when a client
    /// has authenticated.
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
    pub fn scan(&mut self, buf: &[u8]) -> Result<Option<usize>, RequestError> {
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
        self.inline.is_some()
    }

    /// The `i`th argument, 0 being the command's name, of the request that `buf`
    /// begins with: the finished one, or as much of the unfinished one as is there.
    ///
    /// `None` when there is no such argument, when it is not whole yet, when its
    /// bytes were released, or when `i` is [`KEPT_ARGS`] or more.
    #[must_use]
    pub fn arg<'a>(&'a self, buf: &'a [u8], i: usize) -> Option<&'a [u8]> {
        match &self.inline {
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
        let &(start, length) = self.args.get(i)?;
        let start = start.checked_sub(self.released)?;
        Some(start..start + length)
    }

    /// Takes the arguments of a finished inline request, to be sent on by
    /// [`encode::command`](crate::encode::command). `None` for a multibulk one.
    pub fn take_inline(&mut self) -> Option<Vec<Vec<u8>>> {
        self.inline.take()
    }

    fn start(&mut self, buf: &[u8]) -> Result<bool, RequestError> {
        let rest = &buf[self.scanned..];
        self.released = 0;
        self.count = 0;
        self.args.clear();
        self.inline = None;
        match rest.first() {
            None => Ok(false),
            Some(b'*') => self.read_multibulk(rest),
            Some(_) => self.read_inline(rest),
        }
    }

    fn read_multibulk(&mut self, rest: &[u8]) -> Result<bool, RequestError> {
        let found = self.line.find(rest, self.limits.line);
        let Some(end) = found.map_err(|_| RequestError::MultibulkLine)? else {
            return Ok(false);
        };
        let args = digits(&rest[..end])
            .and_then(multibulk_length)
            .filter(|n| *n <= self.limits.elements)
            .ok_or(RequestError::MultibulkLength)?;
        self.scanned += end;
        self.count = args;
        if args > 0 {
            self.state = State::Header { args };
        }
        Ok(true)
    }

    fn read_inline(&mut self, rest: &[u8]) -> Result<bool, RequestError> {
        let found = self.line.find(rest, self.limits.line);
        let Some(end) = found.map_err(|_| RequestError::InlineTooLong)? else {
            return Ok(false);
        };
        let args = inline::split(&rest[..end])?;
        self.scanned += end;
        self.count = args.len();
        self.inline = Some(args);
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
            .filter(|n| *n <= self.limits.bulk)
            .ok_or(RequestError::BulkLength)?;
        self.scanned += end;
        let start = self.released.saturating_add(self.scanned);
        if start.saturating_add(length).saturating_add(2) > self.limits.frame {
            return Err(RequestError::BulkLength);
        }
        if self.args.len() < KEPT_ARGS {
            self.args.push((start, length));
        }
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
        self.state = match args {
            1 => State::Start,
            _ => State::Header { args: args - 1 },
        };
        Ok(true)
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

    #[test]
    fn many_arguments_cost_no_memory_and_no_second_look() {
        let mut input = b"*100000\r\n".to_vec();
        for _ in 0..100_000 {
            input.extend_from_slice(b"$4\r\nbody\r\n");
        }
        let mut scanner = RequestScanner::new(Limits::default());
        let mut found = None;
        for end in (0..input.len()).step_by(16 * 1024).chain([input.len()]) {
            found = scanner.scan(&input[..end]).expect("it is a request");
        }
        assert_eq!(found, Some(input.len()));
        assert_eq!(scanner.count(), 100_000);
        assert_eq!(scanner.args.len(), KEPT_ARGS);
        assert!(scanner.args.capacity() <= 2 * KEPT_ARGS);
        let headers = 100_000 * b"$4\r\n".len() + b"*100000\r\n".len();
        assert_eq!(scanner.line.work, headers);
    }

    #[test]
    fn no_memory_for_declared_lengths() {
        let mut scanner = RequestScanner::new(Limits::default());
        assert_eq!(scanner.scan(b"*2147483647\r\n$536870912\r\n"), Ok(None));
        assert!(scanner.args.capacity() <= KEPT_ARGS);
    }
}
