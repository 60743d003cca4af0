//! One file of a durable log: frames, each with what was written and synced at once.
//!
//! A frame is written only when the one before it is known to be on disk. So at most the last frame
//! of the last segment can have been cut short by a crash: a bad frame with a good one behind it is
//! damage.

#![deny(clippy::disallowed_methods)]

use bytes::{BufMut, Bytes, BytesMut};
use crc32fast::Hasher;

use crate::{
    NodeId,
    codec::{Malformed, Reader},
    log::record::{self, Record, State},
};

const MAGIC: u32 = u32::from_be_bytes(*b"BWf1");

/// Magic, length, sequence number, sum.
const HEAD: usize = 4 + 4 + 8 + 4;

/// The first frame's contents.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Begin {
    /// Whose log this is.
    pub(crate) node: NodeId,
    /// The segment's own number.
    pub(crate) number: u64,
    pub(crate) state: State,
}

/// A segment's file name.
pub(crate) fn name(number: u64) -> String {
    format!("log-{number:016x}")
}

/// The number in a segment's file name.
pub(crate) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-").filter(|d| d.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

pub(crate) fn put_begin(to: &mut BytesMut, sequence: u64, begin: &Begin) {
    put_frame(to, sequence, |body| {
        body.put_u64(begin.node.0);
        body.put_u64(begin.number);
        record::put_state(body, &begin.state);
    });
}

pub(crate) fn put_records<'a>(
    to: &mut BytesMut,
    sequence: u64,
    records: impl IntoIterator<Item = &'a Record>,
) {
    put_frame(to, sequence, |body| {
        for each in records {
            record::put(body, each);
        }
    });
}

fn put_frame(to: &mut BytesMut, sequence: u64, body: impl FnOnce(&mut BytesMut)) {
    let begin = to.len();
    to.put_bytes(0, HEAD);
    body(to);
    let length =
        u32::try_from(to.len() - begin - HEAD).expect("what is written at once is bounded");
    let sum = sum(length, sequence, &to[begin + HEAD..]);
    let mut head = &mut to[begin..begin + HEAD];
    head.put_u32(MAGIC);
    head.put_u32(length);
    head.put_u64(sequence);
    head.put_u32(sum);
}

fn sum(length: u32, sequence: u64, body: &[u8]) -> u32 {
    let mut sum = Hasher::new();
    sum.update(&length.to_be_bytes());
    sum.update(&sequence.to_be_bytes());
    sum.update(body);
    sum.finalize()
}

/// What a file holds.
#[derive(Debug)]
pub(crate) struct Frames {
    /// The bodies of the good frames from the begin on.
    pub(crate) bodies: Vec<Bytes>,
    /// The sequence number of the first one.
    pub(crate) first: u64,
    /// Where the last good one ends, in bytes.
    pub(crate) end: usize,
    pub(crate) rest: Rest,
}

/// What is behind the good frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    Nothing,
    /// A frame that was never finished.
    Torn,
    /// A later frame that is good: what is before it was.
    Damaged,
}

/// Takes a file apart.
pub(crate) fn frames(file: &Bytes) -> Frames {
    let mut found = Frames {
        bodies: Vec::new(),
        first: 0,
        end: 0,
        rest: Rest::Nothing,
    };
    while let Some((sequence, body)) = frame(&file[found.end..]) {
        if found.bodies.is_empty() {
            found.first = sequence;
        } else if sequence != found.next() {
            break;
        }
        let begin = found.end + HEAD;
        found.end = begin + body;
        found.bodies.push(file.slice(begin..found.end));
    }
    if found.end < file.len() {
        let later = (found.end + 1..file.len()).any(|at| {
            // Earlier sequence numbers are those of a file that was here before.
            frame(&file[at..]).is_some_and(|(sequence, _)| sequence >= found.next())
        });
        found.rest = if later { Rest::Damaged } else { Rest::Torn };
    }
    found
}

impl Frames {
    /// The sequence number of the next frame.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.bodies.len() as u64
    }
}

/// The frame that begins here: its sequence number and the length of its body.
fn frame(bytes: &[u8]) -> Option<(u64, usize)> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let mut head = Reader(Bytes::copy_from_slice(head));
    let (magic, length, sequence, expected) = (
        head.u32().ok()?,
        head.u32().ok()?,
        head.u64().ok()?,
        head.u32().ok()?,
    );
    if magic != MAGIC {
        return None;
    }
    let body = rest.get(..usize::try_from(length).ok()?)?;
    (sum(length, sequence, body) == expected).then_some((sequence, body.len()))
}

/// The contents of a segment's first frame.
pub(crate) fn begin(body: Bytes) -> Result<Begin, Malformed> {
    let mut from = Reader(body);
    let begin = Begin {
        node: NodeId(from.u64()?),
        number: from.u64()?,
        state: record::read_state(&mut from)?,
    };
    from.end()?;
    Ok(begin)
}

/// The contents of any other frame.
pub(crate) fn records(body: Bytes) -> Result<Vec<Record>, Malformed> {
    let mut from = Reader(body);
    let mut records = Vec::new();
    while !from.is_empty() {
        records.push(record::read(&mut from)?);
    }
    Ok(records)
}
