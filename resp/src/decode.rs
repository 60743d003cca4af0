//! Builds values out of frames that the scanner has bounded.
//!
//! Single values are decoded by redis-protocol. Aggregates are walked here, for
//! four reasons: its recursion is unbounded, its maps and sets lose the order and
//! the duplicates, its RESP3 decoder refuses the nulls of RESP2 (`$-1`, `*-1`),
//! and it knows only two formats of verbatim text.
#![deny(clippy::disallowed_methods)]

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use redis_protocol::resp3::decode::complete::decode_range;
use redis_protocol::resp3::types::RangeFrame;

use crate::error::ScanError;
use crate::limits::Limits;
use crate::line;
use crate::scan::Scanner;
use crate::server_error::ServerError;
use crate::value::{Value, pairs};

/// Takes whole values out of a buffer that grows: a [`Scanner`] that decodes.
///
/// It holds a frame in memory until it is whole, so choose
/// [`Limits::frame`](crate::Limits::frame) with care.
#[derive(Debug)]
pub struct Decoder {
    scanner: Scanner,
}

impl Decoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let scanner = Scanner::new(limits);
        Self { scanner }
    }

    /// Removes the next value from the front of `buf`; `None` when it is not
    /// whole yet. Between calls, only append to `buf`.
    ///
    /// # Errors
    /// The bytes are no frame, or one beyond the limits: close the connection.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Value>, ScanError> {
        match self.scanner.scan(buf)? {
            Some(end) => decode(&buf.split_to(end).freeze()).map(Some),
            None => Ok(None),
        }
    }
}

impl Value {
    /// Decodes one whole frame, within the default [`Limits`]. The value shares
    /// the memory of `frame`.
    ///
    /// # Errors
    /// `frame` is not exactly one frame, or its content is malformed.
    pub fn decode(frame: &Bytes) -> Result<Self, ScanError> {
        match Scanner::new(Limits::default()).scan(frame)? {
            Some(end) if end == frame.len() => decode(frame),
            _ => Err(ScanError::NotOneFrame),
        }
    }
}

/// An aggregate some of whose values are still missing.
struct Open {
    kind: u8,
    length: usize,
    values: Vec<Value>,
}

/// Decodes a frame that a scanner accepted. No recursion: what is open stands in a list.
fn decode(frame: &Bytes) -> Result<Value, ScanError> {
    let mut rest = frame.clone();
    let mut open: Vec<Open> = Vec::new();
    loop {
        let mut value = match next(&mut rest)? {
            Part::Value(value) => value,
            Part::Header(aggregate) if aggregate.length > 0 => {
                open.push(aggregate);
                continue;
            }
            Part::Header(empty) => empty.close()?,
        };
        loop {
            let Some(mut around) = open.pop() else {
                assert!(rest.is_empty(), "the scanner bounded another frame");
                return Ok(value);
            };
            around.values.push(value);
            if around.values.len() < around.length {
                open.push(around);
                break;
            }
            value = around.close()?;
        }
    }
}

impl Open {
    fn close(mut self) -> Result<Value, ScanError> {
        Ok(match self.kind {
            b'*' => Value::Array(self.values),
            b'~' => Value::Set(self.values),
            b'>' => Value::Push(self.values),
            b'%' => Value::Map(pairs(self.values)),
            _ => {
                let annotated = self.values.pop().ok_or(ScanError::Content(self.kind))?;
                Value::Attributed(pairs(self.values), Box::new(annotated))
            }
        })
    }
}

enum Part {
    Value(Value),
    Header(Open),
}

/// Takes a single value, or the header of an aggregate, from the front of `rest`.
fn next(rest: &mut Bytes) -> Result<Part, ScanError> {
    let &kind = rest.first().ok_or(ScanError::NotOneFrame)?;
    let line = memchr(b'\n', rest).ok_or(ScanError::Terminator)? + 1;
    match (kind, &rest[..line]) {
        (_, b"_\r\n" | b"$-1\r\n") => {
            let _ = rest.split_to(line);
            Ok(Part::Value(Value::Null))
        }
        (_, b"*-1\r\n") => {
            let _ = rest.split_to(line);
            Ok(Part::Value(Value::NullArray))
        }
        (b'*' | b'~' | b'>' | b'%' | b'|', header) => {
            let length = declared(header)?;
            let _ = rest.split_to(line);
            Ok(Part::Header(Open {
                kind,
                length: match kind {
                    b'%' => length * 2,
                    b'|' => length * 2 + 1,
                    _ => length,
                },
                values: Vec::new(),
            }))
        }
        (b'$' | b'!' | b'=', header) => {
            let end = line + declared(header)? + 2;
            if end > rest.len() {
                return Err(ScanError::NotOneFrame);
            }
            let bulk = rest.split_to(end);
            match kind {
                b'=' => verbatim(&bulk.slice(line..end - 2)).map(Part::Value),
                _ => single(&bulk).map(Part::Value),
            }
        }
        _ => single(&rest.split_to(line)).map(Part::Value),
    }
}

fn declared(header: &[u8]) -> Result<usize, ScanError> {
    let digits = header.get(1..header.len().saturating_sub(2));
    digits.and_then(line::length).ok_or(ScanError::Length)
}

fn verbatim(body: &Bytes) -> Result<Value, ScanError> {
    match **body {
        [a, b, c, b':', ..] => Ok(Value::Verbatim {
            format: [a, b, c],
            text: body.slice(4..),
        }),
        _ => Err(ScanError::Content(b'=')),
    }
}

/// Decodes a value that holds no others.
fn single(frame: &Bytes) -> Result<Value, ScanError> {
    let malformed = || ScanError::Content(frame[0]);
    let (decoded, used) = decode_range(frame)
        .map_err(|_| malformed())?
        .ok_or_else(malformed)?;
    if used != frame.len() {
        return Err(malformed());
    }
    let bytes = |(start, end): (usize, usize)| frame.slice(start..end);
    match decoded {
        RangeFrame::SimpleString { data, .. } => Ok(Value::Simple(bytes(data))),
        RangeFrame::SimpleError { data, .. } | RangeFrame::BlobError { data, .. } => {
            Ok(Value::Error(ServerError::new(bytes(data))))
        }
        RangeFrame::Number { data, .. } => Ok(Value::Int(data)),
        RangeFrame::BlobString { data, .. } => Ok(Value::Bulk(bytes(data))),
        RangeFrame::Boolean { data, .. } => Ok(Value::Bool(data)),
        RangeFrame::Double { data, .. } => Ok(Value::Double(data)),
        RangeFrame::BigNumber { data, .. } => Ok(Value::BigNumber(bytes(data))),
        _ => Err(malformed()),
    }
}
