//! The thread that writes a durable log: what comes while it syncs is written and synced together.

use std::{
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use openraft::storage::IOFlushed;
use tokio::sync::oneshot;

use crate::{
    codec,
    log::{record::Record, wal::Wal},
    types::Types,
};

/// What nobody waits for is on disk after this time at the latest; sooner if anything else is.
const LAZY: Duration = Duration::from_millis(50);

/// As much is gathered before it is written, and as much is written and synced at once, if it is
/// not a single record that is longer.
const AT_ONCE: usize = 8 * 1024 * 1024;

/// Who waits until records are on disk.
pub(crate) enum Waiter {
    Nobody,
    Library(IOFlushed<Types>),
    Task(oneshot::Sender<io::Result<()>>),
}

impl Waiter {
    fn tell(self, outcome: Result<(), &str>) {
        let outcome = outcome.map_err(io::Error::other);
        match self {
            Self::Nobody => {}
            Self::Library(done) => done.io_completed(outcome),
            // Who no longer waits does not need to know.
            Self::Task(done) => drop(done.send(outcome)),
        }
    }
}

struct Job {
    records: Vec<Record>,
    waiter: Waiter,
}

/// A handle on the thread, which ends when all handles are gone.
#[derive(Clone, Debug)]
pub(crate) struct Writer(Sender<Job>);

impl Writer {
    pub(crate) fn start(wal: Wal) -> io::Result<Self> {
        let (jobs, queue) = channel();
        thread::Builder::new()
            .name("raft-log".into())
            .spawn(move || run(wal, &queue))?;
        Ok(Self(jobs))
    }

    /// Writes records, after all that came before.
    pub(crate) fn write(&self, records: Vec<Record>, waiter: Waiter) {
        if let Err(unsent) = self.0.send(Job { records, waiter }) {
            unsent.0.waiter.tell(Err("the log's thread has ended"));
        }
    }

    /// Writes records and waits until they are on disk.
    pub(crate) async fn write_and_wait(&self, records: Vec<Record>) -> io::Result<()> {
        let (done, outcome) = oneshot::channel();
        self.write(records, Waiter::Task(done));
        outcome
            .await
            .map_err(|_| io::Error::other("the log's thread has ended"))?
    }
}

fn run(mut wal: Wal, queue: &Receiver<Job>) {
    let mut failed: Option<String> = None;
    let mut batch = Batch::default();
    while batch.gather(queue) {
        let Batch {
            records, waiters, ..
        } = std::mem::take(&mut batch);
        if failed.is_none()
            && let Err(error) = parts(&records).try_for_each(|part| wal.commit(part))
        {
            tracing::error!(%error, "the log cannot be written, and is given up");
            // What is on disk now is not known; writing more could make it look whole.
            failed = Some(format!("the log cannot be written: {error}"));
        }
        for waiter in waiters {
            waiter.tell(failed.as_deref().map_or(Ok(()), Err));
        }
    }
}

/// Cuts what a frame could not hold: the library hands over any number of entries of any size.
fn parts(records: &[Record]) -> impl Iterator<Item = &[Record]> {
    let mut rest = records;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|record| {
            bytes += size(record);
            bytes <= AT_ONCE
        });
        let count = fits.count().max(1).min(rest.len());
        let (part, behind) = rest.split_at(count);
        rest = behind;
        (!part.is_empty()).then_some(part)
    })
}

/// About how many bytes a record takes.
fn size(record: &Record) -> usize {
    match record {
        Record::Entry(entry) => codec::size(entry),
        _ => 32,
    }
}

#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    bytes: usize,
    waiters: Vec<Waiter>,
    /// When what nobody waits for is due.
    due: Option<Instant>,
}

impl Batch {
    /// Waits until there is something to write, and takes what else is there; `false` once there
    /// will be nothing any more.
    fn gather(&mut self, queue: &Receiver<Job>) -> bool {
        loop {
            let job = match self.due {
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => queue.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match job {
                Ok(job) => self.take(job),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return !self.records.is_empty(),
            }
            while self.bytes < AT_ONCE
                && let Ok(job) = queue.try_recv()
            {
                self.take(job);
            }
            if !self.waiters.is_empty() || self.bytes >= AT_ONCE {
                return true;
            }
        }
    }

    fn take(&mut self, job: Job) {
        self.bytes += job.records.iter().map(size).sum::<usize>();
        self.records.extend(job.records);
        match job.waiter {
            Waiter::Nobody => {
                self.due.get_or_insert_with(|| Instant::now() + LAZY);
            }
            waiter => self.waiters.push(waiter),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use openraft::EntryPayload;

    use super::*;
    use crate::{
        Commands, NodeId,
        log::disk::{Disk, sim::Sim},
        types::{Entry, log_id, vote},
    };

    fn writer(sim: &Sim) -> Writer {
        let wal = Wal::create(Arc::new(sim.clone()), NodeId(1)).unwrap();
        Writer::start(wal).unwrap()
    }

    fn some_record(term: u64) -> Vec<Record> {
        vec![Record::Vote(vote(term, NodeId(1), false))]
    }

    fn kept_vote(sim: &Sim) -> Option<u64> {
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let (_, window) = Wal::open(&disk, NodeId(1)).unwrap();
        window.vote.map(|vote| vote.leader_id.term)
    }

    #[tokio::test]
    async fn what_is_waited_for_is_on_disk() {
        let sim = Sim::default();
        let writer = writer(&sim);
        writer.write_and_wait(some_record(4)).await.unwrap();
        sim.crash(&mut fastrand::Rng::with_seed(1));
        assert_eq!(kept_vote(&sim), Some(4));
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_written_by_and_by() {
        let sim = Sim::default();
        let writer = writer(&sim);
        writer.write(some_record(5), Waiter::Nobody);
        drop(writer);
        let deadline = Instant::now() + Duration::from_secs(60);
        while kept_vote(&sim) != Some(5) {
            assert!(Instant::now() < deadline, "it is never written");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[tokio::test]
    async fn what_comes_together_is_synced_together() {
        let sim = Sim::default();
        let writer = writer(&sim);
        let before = sim.syncs();
        let all = (1..=1000).map(|term| writer.write_and_wait(some_record(term)));
        for outcome in futures_util::future::join_all(all).await {
            outcome.unwrap();
        }
        let syncs = sim.syncs() - before;
        assert!(syncs < 1000, "{syncs} syncs");
    }

    #[test]
    fn what_is_too_much_for_one_write_is_cut() {
        let entry = |index, bytes| {
            let commands = Commands::gather(&[vec![0; bytes].into()]);
            Record::Entry(Entry {
                log_id: log_id(1, index),
                payload: EntryPayload::Normal(commands),
            })
        };
        let third = AT_ONCE / 3;
        let sizes = [third, third, third, AT_ONCE + 1, 1, 1];
        let records: Vec<_> = (0..).zip(sizes).map(|(n, bytes)| entry(n, bytes)).collect();
        let counts: Vec<_> = parts(&records).map(<[Record]>::len).collect();
        assert_eq!(counts, [2, 1, 1, 2]);
        assert_eq!(parts(&[]).count(), 0);
    }

    #[tokio::test]
    async fn after_a_failure_nothing_is_written_any_more() {
        let sim = Sim::default();
        let writer = writer(&sim);
        writer.write_and_wait(some_record(1)).await.unwrap();
        // The write succeeds, the sync does not.
        sim.fail_after(1);
        let failed = writer.write_and_wait(some_record(2)).await;
        assert!(
            failed
                .unwrap_err()
                .to_string()
                .contains("cannot be written")
        );
        sim.fail_after(1000);
        let failed = writer.write_and_wait(some_record(3)).await;
        assert!(
            failed
                .unwrap_err()
                .to_string()
                .contains("cannot be written")
        );
        assert_ne!(kept_vote(&sim), Some(3));
    }
}
