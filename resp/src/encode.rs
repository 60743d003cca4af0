//! Writes commands and replies.

use std::io::Write as _;

use bytes::{BufMut, BytesMut};

/// Appends a command as the multibulk request that every server understands.
///
/// ```
/// let mut out = bytes::BytesMut::new();
/// bellwether_resp::encode::command(&mut out, &["GET", "key"]);
/// assert_eq!(out, "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n");
/// ```
pub fn command<A: AsRef<[u8]>>(out: &mut BytesMut, args: &[A]) {
    header(out, b'*', args.len());
    for arg in args {
        bulk(out, b'$', arg.as_ref());
    }
}

fn bulk(out: &mut BytesMut, kind: u8, body: &[u8]) {
    header(out, kind, body.len());
    out.reserve(body.len() + 2);
    out.put_slice(body);
    out.put_slice(b"\r\n");
}

fn header(out: &mut BytesMut, kind: u8, length: usize) {
    line(out, kind, format_args!("{length}"));
}

fn line(out: &mut BytesMut, kind: u8, content: std::fmt::Arguments<'_>) {
    write!(out.writer(), "{}{content}\r\n", char::from(kind)).expect("a BytesMut grows");
}
