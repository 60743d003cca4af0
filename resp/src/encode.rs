//! Writes commands and replies, into any buffer that grows (`BytesMut`, `Vec<u8>`).

use std::fmt;
use std::io::Write as _;

use bytes::BufMut;

use crate::options::Protocol;
use crate::value::Value;

/// Appends a command as the multibulk request that every server understands.
///
/// ```
/// let mut out = Vec::new();
/// bellwether_resp::encode::command(&mut out, &["GET", "key"]);
/// assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n");
/// ```
pub fn command<A: AsRef<[u8]>>(out: &mut impl BufMut, args: &[A]) {
    line(out, '*', args.len());
    for arg in args {
        bulk(out, '$', arg.as_ref());
    }
}

/// Appends a reply.
///
/// In RESP2, what RESP3 added becomes what Redis sends in its place: a map a flat
/// array, a set or push an array, a boolean 1 or 0, doubles, big numbers and
/// verbatim texts bulk strings; attributes are left out.
///
/// CR and LF inside a status, an error or a big number become spaces, as in
/// Redis, because they would end the reply early; only an error in RESP3 keeps
/// them, as a blob error.
///
/// ```
/// use bellwether_resp::{Protocol, Value, encode};
///
/// let map = Value::Map(vec![(Value::Int(1), Value::Bool(true))]);
/// let (mut resp2, mut resp3) = (Vec::new(), Vec::new());
/// encode::value(&mut resp2, &map, Protocol::Resp2);
/// encode::value(&mut resp3, &map, Protocol::Resp3);
/// assert_eq!(resp2, b"*2\r\n:1\r\n:1\r\n");
/// assert_eq!(resp3, b"%1\r\n:1\r\n#t\r\n");
/// ```
pub fn value(out: &mut impl BufMut, value: &Value, protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => resp2(out, value),
        Protocol::Resp3 => resp3(out, value),
    }
}

fn resp2(out: &mut impl BufMut, value: &Value) {
    match value {
        Value::Null => out.put_slice(b"$-1\r\n"),
        Value::NullArray => out.put_slice(b"*-1\r\n"),
        Value::Simple(text) => clean_line(out, '+', text),
        Value::Error(error) => clean_line(out, '-', error.text()),
        Value::Int(n) => line(out, ':', n),
        Value::Bool(b) => line(out, ':', u8::from(*b)),
        Value::Double(d) => bulk(out, '$', Decimal(*d).to_string().as_bytes()),
        Value::Bulk(bytes) | Value::BigNumber(bytes) => bulk(out, '$', bytes),
        Value::Verbatim { text, .. } => bulk(out, '$', text),
        Value::Array(values) | Value::Set(values) | Value::Push(values) => {
            line(out, '*', values.len());
            values.iter().for_each(|value| resp2(out, value));
        }
        Value::Map(pairs) => {
            line(out, '*', pairs.len() * 2);
            each(pairs, |value| resp2(out, value));
        }
        Value::Attributed(_, value) => resp2(out, value),
    }
}

fn resp3(out: &mut impl BufMut, value: &Value) {
    match value {
        Value::Null | Value::NullArray => out.put_slice(b"_\r\n"),
        Value::Simple(text) => clean_line(out, '+', text),
        Value::Error(error) if breaks_line(error.text()) => bulk(out, '!', error.text()),
        Value::Error(error) => clean_line(out, '-', error.text()),
        Value::Int(n) => line(out, ':', n),
        Value::Bool(b) => line(out, '#', if *b { 't' } else { 'f' }),
        Value::Double(d) => line(out, ',', Decimal(*d)),
        Value::BigNumber(digits) => clean_line(out, '(', digits),
        Value::Bulk(bytes) => bulk(out, '$', bytes),
        Value::Verbatim { format, text } => {
            bulk(out, '=', &[format.as_slice(), b":", text].concat());
        }
        Value::Array(values) => resp3_all(out, '*', values),
        Value::Set(values) => resp3_all(out, '~', values),
        Value::Push(values) => resp3_all(out, '>', values),
        Value::Map(pairs) => {
            line(out, '%', pairs.len());
            each(pairs, |value| resp3(out, value));
        }
        Value::Attributed(pairs, value) => {
            line(out, '|', pairs.len());
            each(pairs, |value| resp3(out, value));
            resp3(out, value);
        }
    }
}

fn resp3_all(out: &mut impl BufMut, kind: char, values: &[Value]) {
    line(out, kind, values.len());
    values.iter().for_each(|value| resp3(out, value));
}

fn each(pairs: &[(Value, Value)], mut encode: impl FnMut(&Value)) {
    for (key, value) in pairs {
        encode(key);
        encode(value);
    }
}

fn bulk(out: &mut impl BufMut, kind: char, body: &[u8]) {
    line(out, kind, body.len());
    out.put_slice(body);
    out.put_slice(b"\r\n");
}

fn line(out: &mut impl BufMut, kind: char, content: impl fmt::Display) {
    write!(out.writer(), "{kind}{content}\r\n").expect("the buffer grows");
}

fn clean_line(out: &mut impl BufMut, kind: char, content: &[u8]) {
    out.put_u8(kind as u8);
    for byte in content {
        out.put_u8(if breaks_line(&[*byte]) { b' ' } else { *byte });
    }
    out.put_slice(b"\r\n");
}

fn breaks_line(text: &[u8]) -> bool {
    memchr::memchr2(b'\r', b'\n', text).is_some()
}

/// A double as Redis writes it: `1.5`, `10`, `1e300`, `inf`, `nan`.
struct Decimal(f64);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_nan() {
            return f.write_str("nan");
        }
        let text = format!("{:?}", self.0);
        f.write_str(text.strip_suffix(".0").unwrap_or(&text))
    }
}
