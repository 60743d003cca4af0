//! A durable log: segments, one behind the other. What is committed to it is on disk; after a crash
//! it holds all that was, and perhaps the begin of what was about to be.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::{
    Error, NodeId,
    log::{
        disk::{self, Append, Disk},
        record::{Record, Replay, State},
        segment::{self, Begin, Rest},
        window::Window,
    },
};

/// A segment that has grown to this many bytes is followed by a new one.
pub(crate) const SEGMENT: usize = 16 * 1024 * 1024;

/// The end of a durable log at which is written.
pub(crate) struct Wal {
    disk: Arc<dyn Disk>,
    node: NodeId,
    state: State,
    /// The number of the segment that is written, and the bytes in it.
    number: u64,
    length: usize,
    file: Box<dyn Append>,
    /// The sequence number of the next frame.
    sequence: u64,
    /// The segments before, the oldest first, each with the index behind its last entry.
    before: Vec<(u64, u64)>,
    /// The index behind the last entry that was written to the present segment.
    behind: u64,
    segment_bytes: usize,
}

impl Wal {
    /// Begins a log where there is none.
    pub(crate) fn create(disk: Arc<dyn Disk>, node: NodeId) -> std::io::Result<Self> {
        let state = State::default();
        let (file, length) = open_segment(&*disk, node, 0, 0, state)?;
        Ok(Self {
            disk,
            node,
            state,
            number: 0,
            length,
            file,
            sequence: 1,
            before: Vec::new(),
            behind: 0,
            segment_bytes: SEGMENT,
        })
    }

    /// Opens the log of this node. A frame that a crash has cut short is cut off; anything else that
    /// is wrong is named and left as it is.
    pub(crate) fn open(disk: &Arc<dyn Disk>, node: NodeId) -> Result<(Self, Window), Error> {
        let (stale, run) = latest_run(&**disk)?;
        let mut found = Vec::new();
        let mut tail = None;
        for number in run {
            let name = segment::name(number);
            if tail.is_some() {
                // Only the last one may end badly.
                return Err(data(
                    &**disk,
                    &name,
                    "follows a segment that is damaged".into(),
                ));
            }
            let bytes = disk::read_all(&**disk, &name).map_err(|e| storage(&**disk, &name, e))?;
            let bytes = Bytes::from(bytes);
            let frames = segment::frames(&bytes);
            match frames.rest {
                Rest::Nothing if !frames.bodies.is_empty() => {}
                Rest::Damaged => {
                    let what = format!("damaged at byte {}", frames.end);
                    return Err(data(&**disk, &name, what));
                }
                Rest::Torn | Rest::Nothing => tail = Some(bytes.len()),
            }
            found.push((number, frames));
        }
        // A segment whose first frame was never finished is none.
        let unbegun = found.pop_if(|(_, frames)| frames.bodies.is_empty());
        let torn = tail.is_some() && unbegun.is_none();
        let opened = Self::replay(Arc::clone(disk), node, found, torn)?;
        // All is well with what is left, so what is not needed can go.
        for number in stale.into_iter().chain(unbegun.map(|(number, _)| number)) {
            let name = segment::name(number);
            tracing::info!(segment = name, "is not needed, and is removed");
            disk.remove(&name).map_err(|e| storage(&**disk, &name, e))?;
        }
        Ok(opened)
    }

    fn replay(
        disk: Arc<dyn Disk>,
        node: NodeId,
        found: Vec<(u64, segment::Frames)>,
        torn: bool,
    ) -> Result<(Self, Window), Error> {
        let mut replay: Option<(Replay, u64)> = None;
        let mut before = Vec::new();
        let mut last = None;
        for (number, frames) in found {
            let name = segment::name(number);
            let wrong = |what: &str| data(&*disk, &name, what.into());
            let (next, end) = (frames.next(), frames.end);
            let mut bodies = frames.bodies.into_iter();
            let begin = bodies.next().and_then(|body| segment::begin(body).ok());
            let begin = begin.ok_or_else(|| wrong("does not begin as a segment does"))?;
            if begin.node != node {
                return Err(wrong(&format!(
                    "belongs to node {}, not to {node}",
                    begin.node
                )));
            }
            if begin.number != number {
                return Err(wrong("has another segment's name"));
            }
            let (mut log, expected) = replay
                .take()
                .unwrap_or_else(|| (Replay::from(begin.state), frames.first));
            if log.state != begin.state || expected != frames.first {
                return Err(wrong("does not continue the segment before"));
            }
            let mut behind = 0;
            for body in bodies {
                let records = segment::records(body);
                for record in records.map_err(|_| wrong("holds what is no record"))? {
                    behind = behind.max(end_of(&record));
                    if !log.follow(record) {
                        return Err(wrong("holds entries that do not follow one another"));
                    }
                }
            }
            before.extend(last.replace((number, end, behind)).map(|(n, _, b)| (n, b)));
            replay = Some((log, next));
        }
        let (Some((log, sequence)), Some((number, length, behind))) = (replay, last) else {
            return Err(data(&*disk, "", "holds no log".into()));
        };
        let name = segment::name(number);
        let (state, window) = log
            .finish()
            .ok_or_else(|| data(&*disk, &name, "follows segments that are missing".into()))?;
        if torn {
            tracing::info!(segment = name, length, "what was not finished is cut off");
        }
        // Cut or not, a sync shows whether the file can be written.
        let cut = || {
            let mut file = disk.cut(&name, length as u64)?;
            file.sync()?;
            Ok(file)
        };
        let file = cut().map_err(|e| storage(&*disk, &name, e))?;
        let wal = Self {
            disk,
            node,
            state,
            number,
            length,
            file,
            sequence,
            before,
            behind,
            segment_bytes: SEGMENT,
        };
        Ok((wal, window))
    }

    /// Segments of another size, for tests.
    #[cfg(test)]
    pub(crate) fn with_segments_of(mut self, bytes: usize) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Writes records and syncs them. After an error it is unknown what is on disk, and nothing more
    /// must be written: the log is opened anew, or not at all.
    pub(crate) fn commit(&mut self, records: &[Record]) -> std::io::Result<()> {
        if self.length >= self.segment_bytes {
            self.rotate()?;
        }
        let mut bytes = BytesMut::new();
        segment::put_records(&mut bytes, self.sequence, records);
        self.file.write(&bytes)?;
        self.file.sync()?;
        self.sequence += 1;
        self.length += bytes.len();
        let purged = self.state.purged;
        for record in records {
            let fits = self.state.follow(record);
            assert!(fits, "the log in memory has refused what does not fit");
            self.behind = self.behind.max(end_of(record));
        }
        if self.state.purged != purged {
            self.drop_purged();
        }
        Ok(())
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        let number = self.number + 1;
        let (file, length) =
            open_segment(&*self.disk, self.node, number, self.sequence, self.state)?;
        self.before.push((self.number, self.behind));
        (self.number, self.file, self.length) = (number, file, length);
        self.sequence += 1;
        self.behind = 0;
        Ok(())
    }

    /// Removes the oldest segments, as long as all their entries are purged.
    fn drop_purged(&mut self) {
        let first = self.state.purged.map_or(0, |id| id.index() + 1);
        while let Some((number, behind)) = self.before.first().copied() {
            if behind > first {
                return;
            }
            let name = segment::name(number);
            if let Err(error) = self.disk.remove(&name) {
                // It takes room, and is tried again with the next purge.
                tracing::warn!(segment = name, %error, "cannot be removed");
                return;
            }
            self.before.remove(0);
        }
    }
}

/// Makes a segment whose first frame is on disk, and its name too.
fn open_segment(
    disk: &dyn Disk,
    node: NodeId,
    number: u64,
    sequence: u64,
    state: State,
) -> std::io::Result<(Box<dyn Append>, usize)> {
    let mut bytes = BytesMut::new();
    let begin = Begin {
        node,
        number,
        state,
    };
    segment::put_begin(&mut bytes, sequence, &begin);
    let mut file = disk.create(&segment::name(number))?;
    file.write(&bytes)?;
    file.sync()?;
    disk.sync()?;
    Ok((file, bytes.len()))
}

/// The index behind the entry that this record holds.
fn end_of(record: &Record) -> u64 {
    match record {
        Record::Entry(entry) => entry.log_id.index() + 1,
        _ => 0,
    }
}

/// The numbers of the segments up to the last one, as far back as none is missing, behind those of
/// older ones: they were removed, and a crash has brought their names back.
fn latest_run(disk: &dyn Disk) -> Result<(Vec<u64>, Vec<u64>), Error> {
    let names = disk.list().map_err(|e| storage(disk, "", e))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|n| segment::number(n)).collect();
    numbers.sort_unstable();
    let gap = numbers.windows(2).rposition(|pair| pair[0] + 1 != pair[1]);
    let run = numbers.split_off(gap.map_or(0, |at| at + 1));
    Ok((numbers, run))
}

/// Whether there is no log, or one in which nothing was ever written.
pub(crate) fn is_unused(disk: &dyn Disk) -> Result<bool, Error> {
    match latest_run(disk)?.1.as_slice() {
        [] => Ok(true),
        [0] => {
            let name = segment::name(0);
            let bytes = disk::read_all(disk, &name).map_err(|e| storage(disk, &name, e))?;
            let frames = segment::frames(&Bytes::from(bytes));
            Ok(frames.bodies.len() <= 1 && frames.rest != Rest::Damaged)
        }
        _ => Ok(false),
    }
}

pub(crate) fn data(disk: &dyn Disk, name: &str, what: String) -> Error {
    let path = disk.path(name);
    Error::Data { path, what }
}

pub(crate) fn storage(disk: &dyn Disk, name: &str, source: std::io::Error) -> Error {
    let path = disk.path(name);
    Error::Storage { path, source }
}
