//! The part of the log that is there: behind what was purged, up to the last entry.

#![deny(clippy::disallowed_methods)]

use std::collections::VecDeque;

use openraft::entry::RaftEntry as _;

use crate::{
    codec,
    log::record::State,
    types::{Entry, LogId, Vote},
};

/// Entries in memory, and the vote and the committed index that belong to them.
///
/// A durable log has one too: the entries that are kept are bounded by bytes, and those who are
/// behind, the state machine and the network all read what was just written.
#[derive(Debug, Default)]
pub(crate) struct Window {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    purged: Option<LogId>,
    entries: VecDeque<Entry>,
}

impl Window {
    /// What is left of a log of which these entries are there.
    pub(crate) fn restored(state: State, entries: Vec<Entry>) -> Self {
        Self {
            vote: state.vote,
            committed: state.committed,
            purged: state.purged,
            entries: entries.into(),
        }
    }

    /// The last entry that was purged.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    /// The last entry; the last purged one if there is none behind it.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.entries
            .back()
            .map(|entry| entry.log_id)
            .or(self.purged)
    }

    /// The index that the next entry has.
    pub(crate) fn next_index(&self) -> u64 {
        self.last().map_or(0, |id| id.index() + 1)
    }

    /// Adds an entry; `false` if it would leave a hole or overwrite.
    #[must_use]
    pub(crate) fn push(&mut self, entry: Entry) -> bool {
        // What a snapshot is installed into begins anywhere.
        let first = self.entries.is_empty() && self.purged.is_none();
        let fits = first || entry.index() == self.next_index();
        if fits {
            self.entries.push_back(entry);
        }
        fits
    }

    /// Removes the entries behind this one, all without one.
    pub(crate) fn truncate_after(&mut self, last: Option<LogId>) {
        let next = last.map_or(0, |id| id.index() + 1);
        while self.entries.back().is_some_and(|e| e.index() >= next) {
            self.entries.pop_back();
        }
    }

    /// Removes the entries up to this one, itself included.
    pub(crate) fn purge(&mut self, upto: LogId) {
        while (self.entries.front()).is_some_and(|e| e.index() <= upto.index()) {
            self.entries.pop_front();
        }
        self.purged = self.purged.max(Some(upto));
    }

    /// The entries from `start` on, before `end`, of at most `bytes` together, but at least one.
    pub(crate) fn read(&self, start: u64, end: u64, bytes: usize) -> Vec<Entry> {
        let Some(first) = self.entries.front().map(Entry::index) else {
            return Vec::new();
        };
        let from = usize::try_from(start.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut total = 0;
        self.entries
            .range(from.min(self.entries.len())..)
            .take_while(|entry| {
                let is_first = total == 0;
                total += codec::size(entry);
                entry.index() < end && (is_first || total <= bytes)
            })
            .cloned()
            .collect()
    }

    /// Of the entries up to `upto`, the last one behind which `keep` bytes of entries remain.
    pub(crate) fn purgeable(&self, upto: u64, keep: usize) -> Option<u64> {
        let mut kept = 0;
        self.entries
            .iter()
            .rev()
            .find(|entry| {
                kept += codec::size(entry);
                kept > keep && entry.index() <= upto
            })
            .map(Entry::index)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use openraft::{EntryPayload, entry::RaftPayload as _};

    use super::*;
    use crate::{Commands, types::log_id};

    fn blank(index: u64) -> Entry {
        Entry {
            log_id: log_id(1, index),
            payload: EntryPayload::blank(),
        }
    }

    fn window(indices: std::ops::Range<u64>) -> Window {
        let mut window = Window::default();
        for index in indices {
            assert!(window.push(blank(index)));
        }
        window
    }

    fn indices(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(Entry::index).collect()
    }

    #[test]
    fn holes_are_refused() {
        let mut window = window(0..3);
        assert!(!window.push(blank(2)));
        assert!(!window.push(blank(4)));
        assert!(window.push(blank(3)));
        window.purge(log_id(1, 9));
        assert_eq!(window.last(), Some(log_id(1, 9)));
        assert!(!window.push(blank(4)));
        assert!(window.push(blank(10)));
    }

    #[test]
    fn what_is_cut_off_is_gone_at_both_ends() {
        let mut window = window(0..9);
        window.purge(log_id(1, 2));
        window.truncate_after(Some(log_id(1, 5)));
        assert_eq!(indices(&window.read(0, 99, usize::MAX)), [3, 4, 5]);
        window.purge(log_id(1, 1));
        assert_eq!(window.purged(), Some(log_id(1, 2)));
        window.truncate_after(None);
        assert_eq!(window.next_index(), 3);
    }

    #[test]
    fn a_read_is_bounded_by_bytes_but_never_empty() {
        let mut window = window(0..4);
        let commands = Commands::gather(&[Bytes::from(vec![0; 1000])]);
        assert!(window.push(Entry {
            log_id: log_id(1, 4),
            payload: EntryPayload::Normal(commands),
        }));
        assert_eq!(indices(&window.read(1, 3, usize::MAX)), [1, 2]);
        assert_eq!(indices(&window.read(0, 5, 3 * codec::MIN_ENTRY)), [0, 1, 2]);
        assert_eq!(indices(&window.read(3, 5, 100)), [3]);
        assert_eq!(indices(&window.read(4, 5, 100)), [4]);
        assert!(window.read(5, 9, 100).is_empty());
    }

    #[test]
    fn what_may_be_purged_leaves_as_many_bytes_as_are_wanted() {
        let window = window(0..10);
        assert_eq!(window.purgeable(9, 0), Some(9));
        assert_eq!(window.purgeable(5, 0), Some(5));
        assert_eq!(window.purgeable(9, 3 * codec::MIN_ENTRY), Some(6));
        assert_eq!(window.purgeable(9, usize::MAX), None);
    }
}
