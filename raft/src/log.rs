//! The log, as the library wants it: in memory, and on disk too if it shall outlive the node.

#[cfg(test)]
mod crash;
pub(crate) mod disk;
mod record;
mod segment;
#[cfg(test)]
mod suite;
mod wal;
mod window;
mod writer;

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

use crate::{
    Error, NodeId,
    types::{Entry, LogId, Types, Vote},
};

use disk::Disk;
use record::Record;
use wal::Wal;
use window::Window;
use writer::{Waiter, Writer};

pub(crate) use wal::{data as damaged, storage as failed};

/// One read for the network carries about this many bytes.
pub(crate) const READ_BYTES: usize = 1024 * 1024;

/// A handle on the log of this node; all of them see the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    window: Arc<Mutex<Window>>,
    /// Where it is durable.
    writer: Option<Writer>,
}

impl Log {
    /// A log in memory.
    pub(crate) fn memory() -> Self {
        Self::default()
    }

    /// A log on disk, begun anew.
    pub(crate) fn create(disk: &Arc<dyn Disk>, node: NodeId) -> Result<Self, Error> {
        let wal = Wal::create(Arc::clone(disk), node).map_err(|e| failed(&**disk, "", e))?;
        Self::durable(&**disk, wal, Window::default())
    }

    /// The log of this node that is on disk.
    pub(crate) fn open(disk: &Arc<dyn Disk>, node: NodeId) -> Result<Self, Error> {
        let (wal, window) = Wal::open(disk, node)?;
        Self::durable(&**disk, wal, window)
    }

    fn durable(disk: &dyn Disk, wal: Wal, window: Window) -> Result<Self, Error> {
        let writer = Writer::start(wal).map_err(|error| failed(disk, "", error))?;
        Ok(Self {
            window: Arc::new(Mutex::new(window)),
            writer: Some(writer),
        })
    }

    /// Whether a log on disk was begun and never used: what a first start leaves that a crash cuts
    /// short.
    pub(crate) fn is_unused(disk: &dyn Disk) -> Result<bool, Error> {
        wal::is_unused(disk)
    }

    /// The last entry that is no longer there, and whether this node has ever voted.
    pub(crate) fn past(&self) -> (Option<LogId>, bool) {
        let window = self.window();
        (window.purged(), window.vote.is_some())
    }

    /// The entries behind this one, in order.
    pub(crate) fn behind(&self, index: Option<u64>) -> Vec<Entry> {
        let start = index.map_or(0, |index| index + 1);
        self.window().read(start, u64::MAX, usize::MAX)
    }

    /// Begins anew behind an entry that never was, which a snapshot holds: all before is gone.
    pub(crate) async fn renew(&self, begin: LogId, vote: Vote) -> io::Result<()> {
        if let Some(writer) = &self.writer {
            let records = vec![
                Record::Vote(vote),
                Record::Purged(begin),
                Record::Committed(begin),
            ];
            writer.write_and_wait(records).await?;
        }
        let mut window = self.window();
        window.purge(begin);
        window.vote = Some(vote);
        window.committed = Some(begin);
        Ok(())
    }

    /// Waits until all that was written is on disk.
    pub(crate) async fn flush(&self) -> io::Result<()> {
        match &self.writer {
            Some(writer) => writer.write_and_wait(Vec::new()).await,
            None => Ok(()),
        }
    }

    /// Writes what nobody waits for, if this log is durable.
    fn note(&self, record: Record) {
        if let Some(writer) = &self.writer {
            writer.write(vec![record], Waiter::Nobody);
        }
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
        if let Some(writer) = &self.writer {
            writer.write_and_wait(vec![Record::Vote(*vote)]).await?;
        }
        self.window().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        // On disk it may be behind: then less is applied after a restart, until a leader tells.
        if let Some(committed) = committed {
            self.note(Record::Committed(committed));
        }
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
        let mut records = Vec::new();
        {
            let mut window = self.window();
            for entry in entries {
                if self.writer.is_some() {
                    records.push(Record::Entry(entry.clone()));
                }
                if !window.push(entry) {
                    return Err(io::Error::other("an entry would leave a hole in the log"));
                }
            }
        }
        if let Some(writer) = &self.writer {
            writer.write(records, Waiter::Library(done));
            return Ok(());
        }
        done.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.note(Record::Truncated(last));
        self.window().truncate_after(last);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.note(Record::Purged(upto));
        self.window().purge(upto);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use openraft::{EntryPayload, type_config::TypeConfigExt as _};

    use super::{disk::sim::Sim, *};
    use crate::types::{log_id, vote};

    #[tokio::test]
    async fn what_the_library_is_told_is_on_disk_outlives_a_crash() {
        for seed in 0..20 {
            let sim = Sim::default();
            let disk: Arc<dyn Disk> = Arc::new(sim.clone());
            let mut log = Log::create(&disk, NodeId(1)).unwrap();
            log.save_vote(&vote(3, NodeId(2), false)).await.unwrap();
            let entries = (0..3).map(|index| Entry {
                log_id: log_id(3, index),
                payload: EntryPayload::Blank,
            });
            let (done, appended) = Types::oneshot();
            let done = IOFlushed::signal(done);
            log.append(entries, done).await.unwrap();
            appended.await.unwrap().unwrap();
            sim.crash(&mut fastrand::Rng::with_seed(seed));

            let mut log = Log::open(&disk, NodeId(1)).unwrap();
            let voted = log.read_vote().await.unwrap();
            assert_eq!(voted, Some(vote(3, NodeId(2), false)), "seed {seed}");
            let state = log.get_log_state().await.unwrap();
            assert_eq!(state.last_log_id, Some(log_id(3, 2)), "seed {seed}");

            log.save_committed(Some(log_id(3, 1))).await.unwrap();
            log.purge(log_id(3, 0)).await.unwrap();
            log.flush().await.unwrap();
            sim.crash(&mut fastrand::Rng::with_seed(seed));
            let mut log = Log::open(&disk, NodeId(1)).unwrap();
            let committed = log.read_committed().await.unwrap();
            assert_eq!(committed, Some(log_id(3, 1)), "seed {seed}");
            assert_eq!(log.past().0, Some(log_id(3, 0)), "seed {seed}");
        }
    }
}
