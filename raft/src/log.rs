//! The log, as the library wants it.

#[cfg(test)]
mod suite;
mod window;

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard},
};

use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};

use crate::types::{Entry, LogId, Types, Vote};

use window::Window;

/// One read for the network carries about this many bytes.
pub(crate) const READ_BYTES: usize = 1024 * 1024;

/// A handle on the log of this node; all of them see the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    window: Arc<Mutex<Window>>,
}

impl Log {
    /// A log in memory.
    pub(crate) fn memory() -> Self {
        Self::default()
    }

    /// Up to where the log may be purged if all up to `upto` is in a snapshot, so that `keep` bytes
    /// remain for nodes that are behind.
    pub(crate) fn purgeable(&self, upto: u64, keep: usize) -> Option<u64> {
        self.window().purgeable(upto, keep)
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().expect("nobody panics while holding it")
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<B>(&mut self, range: B) -> Result<Vec<Entry>, io::Error>
    where
        B: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        Ok(self.window().read(start, end, usize::MAX))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.window().vote)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self.window().read(start, end, READ_BYTES))
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let window = self.window();
        Ok(LogState {
            last_purged_log_id: window.purged(),
            last_log_id: window.last(),
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.window().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.window().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.window().committed)
    }

    async fn append<I>(&mut self, entries: I, done: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        for entry in entries {
            if !self.window().push(entry) {
                return Err(io::Error::other("an entry would leave a hole in the log"));
            }
        }
        done.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.window().truncate_after(last);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.window().purge(upto);
        Ok(())
    }
}
