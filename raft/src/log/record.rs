//! What a log is made of: what happened to it, in order.

#![deny(clippy::disallowed_methods)]

use bytes::{BufMut, BytesMut};
use openraft::entry::RaftEntry as _;

use crate::{
    codec,
    codec::{Malformed, Reader},
    log::window::Window,
    types::{Entry, LogId, Vote},
};

/// One thing that happened to a log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    Vote(Vote),
    Committed(LogId),
    Entry(Entry),
    /// The entries behind this one are gone; all of them without one.
    Truncated(Option<LogId>),
    /// The entries up to this one are gone.
    Purged(LogId),
}

/// Where a log stands when a segment begins: what is needed of the segments before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
}

impl State {
    /// Takes a record into account; `false` if it cannot follow what was before.
    #[must_use]
    pub(crate) fn follow(&mut self, record: &Record) -> bool {
        match record {
            Record::Vote(vote) => self.vote = Some(*vote),
            Record::Committed(id) => self.committed = Some(*id),
            Record::Entry(entry) => {
                let fits = self.last.is_none() || entry.index() == next(self.last);
                self.last = Some(entry.log_id);
                return fits;
            }
            Record::Truncated(last) => {
                if next(*last) < next(self.last) {
                    self.last = *last;
                }
            }
            Record::Purged(upto) => {
                self.purged = self.purged.max(Some(*upto));
                if next(self.last) <= upto.index() {
                    self.last = Some(*upto);
                }
            }
        }
        true
    }
}

fn next(last: Option<LogId>) -> u64 {
    last.map_or(0, |id| id.index() + 1)
}

/// Builds a log anew from its records.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) state: State,
    entries: Vec<Entry>,
}

impl Replay {
    /// A log whose segments before this state are gone.
    pub(crate) fn from(state: State) -> Self {
        Self {
            state,
            entries: Vec::new(),
        }
    }

    /// Takes the next record; `false` if it cannot follow what was before.
    #[must_use]
    pub(crate) fn follow(&mut self, record: Record) -> bool {
        let fits = self.state.follow(&record);
        match record {
            Record::Entry(entry) => self.entries.push(entry),
            Record::Truncated(last) => {
                let from = next(last);
                let kept = self.entries.partition_point(|e| e.index() < from);
                self.entries.truncate(kept);
            }
            Record::Vote(_) | Record::Committed(_) | Record::Purged(_) => {}
        }
        fits
    }

    /// The log; nothing, if entries are missing that were never purged.
    pub(crate) fn finish(mut self) -> Option<(State, Window)> {
        let first = next(self.state.purged);
        let purged = self.entries.partition_point(|e| e.index() < first);
        self.entries.drain(..purged);
        let complete = match self.entries.first() {
            // A log without purged entries may begin anywhere.
            Some(entry) => self.state.purged.is_none() || entry.index() == first,
            None => next(self.state.last) <= first,
        };
        let window = Window::restored(self.state, self.entries);
        complete.then_some((self.state, window))
    }
}

const VOTE: u8 = 1;
const COMMITTED: u8 = 2;
const ENTRY: u8 = 3;
const TRUNCATED: u8 = 4;
const PURGED: u8 = 5;

pub(crate) fn put(to: &mut BytesMut, record: &Record) {
    match record {
        Record::Vote(vote) => {
            to.put_u8(VOTE);
            codec::put_vote(to, vote);
        }
        Record::Committed(id) => {
            to.put_u8(COMMITTED);
            codec::put_log_id(to, id);
        }
        Record::Entry(entry) => {
            to.put_u8(ENTRY);
            codec::put_entry(to, entry);
        }
        Record::Truncated(last) => {
            to.put_u8(TRUNCATED);
            codec::put_maybe_log_id(to, last.as_ref());
        }
        Record::Purged(upto) => {
            to.put_u8(PURGED);
            codec::put_log_id(to, upto);
        }
    }
}

pub(crate) fn read(from: &mut Reader) -> Result<Record, Malformed> {
    match from.u8()? {
        VOTE => Ok(Record::Vote(from.vote()?)),
        COMMITTED => Ok(Record::Committed(from.log_id()?)),
        ENTRY => Ok(Record::Entry(from.entry()?)),
        TRUNCATED => Ok(Record::Truncated(from.maybe_log_id()?)),
        PURGED => Ok(Record::Purged(from.log_id()?)),
        _ => Err(Malformed),
    }
}

pub(crate) fn put_state(to: &mut BytesMut, state: &State) {
    to.put_u8(state.vote.is_some().into());
    if let Some(vote) = &state.vote {
        codec::put_vote(to, vote);
    }
    for id in [state.committed, state.purged, state.last] {
        codec::put_maybe_log_id(to, id.as_ref());
    }
}

pub(crate) fn read_state(from: &mut Reader) -> Result<State, Malformed> {
    Ok(State {
        vote: (from.flag()?).then(|| from.vote()).transpose()?,
        committed: from.maybe_log_id()?,
        purged: from.maybe_log_id()?,
        last: from.maybe_log_id()?,
    })
}
