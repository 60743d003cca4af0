//! The user's state machine, as the library wants it: entries are applied, snapshots are taken and
//! installed.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    entry::RaftEntry as _,
    storage::{EntryResponder, RaftStateMachine},
};
use tokio::sync::watch;

use crate::{
    StateMachine, View, codec,
    parcel::Parcel,
    shelf::Shelf,
    types::{self, Entry, LogId, Replies, SnapshotMeta, StoredMembership, Types},
};

pub(crate) type Snapshot = types::Snapshot<Parcel>;

/// The user's state machine, shared by those who read it and the one who applies.
#[derive(Debug)]
pub(crate) struct Shared<M>(Arc<RwLock<Kept<M>>>);

/// A state, and the entry that has led to it.
#[derive(Debug)]
pub(crate) struct Kept<M> {
    pub(crate) machine: M,
    pub(crate) applied: Option<LogId>,
}

impl<M> Clone for Shared<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> Shared<M> {
    pub(crate) fn new(machine: M) -> Self {
        Self(Arc::new(RwLock::new(Kept {
            machine,
            applied: None,
        })))
    }

    /// `None` if the machine has panicked and may be halfway through a command.
    pub(crate) fn read(&self) -> Option<RwLockReadGuard<'_, Kept<M>>> {
        self.0.read().ok()
    }

    pub(crate) fn write(&self) -> io::Result<RwLockWriteGuard<'_, Kept<M>>> {
        self.0
            .write()
            .map_err(|_| io::Error::other("the state machine has panicked"))
    }

    /// Whether nobody else has it: neither applies nor takes a snapshot.
    pub(crate) fn is_mine(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl<M: StateMachine> Kept<M> {
    /// Applies one entry; what the machine answers, if it is asked at all.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Replies {
        self.applied = Some(entry.log_id);
        match &entry.payload {
            EntryPayload::Normal(commands) => {
                let mut replies = self.machine.apply(entry.index(), commands);
                replies.resize_with(commands.len(), Default::default);
                Replies(replies)
            }
            EntryPayload::Blank | EntryPayload::Membership(_) => Replies::default(),
        }
    }
}

/// Applies entries to the user's state machine.
#[derive(Debug)]
pub(crate) struct Applier<M> {
    machine: Shared<M>,
    membership: StoredMembership,
    latest: Latest,
    shelf: Shelf,
    /// How many bytes of entries were applied since a snapshot was begun.
    since: watch::Sender<usize>,
}

/// The latest snapshot.
#[derive(Clone, Debug)]
struct Latest(Arc<Mutex<Option<Snapshot>>>);

impl<M: StateMachine> Applier<M> {
    /// `kept` is the snapshot that the machine begins with; the library restores it.
    pub(crate) fn new(
        machine: Shared<M>,
        (shelf, kept): (Shelf, Option<Snapshot>),
        since: watch::Sender<usize>,
    ) -> Self {
        Self {
            machine,
            membership: StoredMembership::default(),
            latest: Latest(Arc::new(Mutex::new(kept))),
            shelf,
            since,
        }
    }
}

impl<M: StateMachine> RaftStateMachine<Types> for Applier<M> {
    type SnapshotData = Parcel;
    type SnapshotBuilder = Builder<M>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let applied = self.machine.read().and_then(|kept| kept.applied);
        Ok((applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(first) = entries.next().await {
            let mut kept = self.machine.write()?;
            let mut bytes = 0;
            let mut next = Some(first);
            // What is there is applied in one go; the lock is not held while waiting for more.
            while let Some(item) = next {
                let (entry, responder) = item?;
                let replies = kept.apply(&entry);
                if let EntryPayload::Membership(membership) = &entry.payload {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                }
                bytes += codec::size(&entry);
                if let Some(responder) = responder {
                    responder.send(replies);
                }
                next = entries.next().now_or_never().flatten();
            }
            drop(kept);
            self.since.send_modify(|since| *since += bytes);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder<M> {
        self.since.send_replace(0);
        let kept = self.machine.read();
        Builder {
            view: Mutex::new(kept.as_ref().map(|kept| kept.machine.view())),
            meta: SnapshotMeta {
                last_log_id: kept.and_then(|kept| kept.applied),
                last_membership: self.membership.clone(),
            },
            latest: self.latest.clone(),
            shelf: self.shelf.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: Parcel) -> io::Result<()> {
        let (machine, shelf, latest) = (
            self.machine.clone(),
            self.shelf.clone(),
            self.latest.clone(),
        );
        let snapshot = Snapshot {
            meta: meta.clone(),
            snapshot: data,
        };
        blocking(move || {
            let mut from = snapshot.snapshot.reader()?;
            let mut kept = machine.write()?;
            kept.machine.restore(&mut from)?;
            kept.applied = snapshot.meta.last_log_id;
            drop(kept);
            latest.keep(&shelf, snapshot).map(drop)
        })
        .await?;
        self.membership = meta.last_membership.clone();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.latest.get())
    }
}

impl Latest {
    fn get(&self) -> Option<Snapshot> {
        let latest = self.0.lock();
        latest.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps it, unless a later one came meanwhile; whichever is kept. May block.
    fn keep(&self, shelf: &Shelf, mut snapshot: Snapshot) -> io::Result<Snapshot> {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = latest.as_ref()
            && known.meta.last_log_id > snapshot.meta.last_log_id
        {
            return Ok(known.clone());
        }
        shelf.keep(&mut snapshot)?;
        *latest = Some(snapshot.clone());
        Ok(snapshot)
    }
}

/// Writes a snapshot of a frozen view.
pub(crate) struct Builder<M: StateMachine> {
    // Only moved, never shared; the lock makes it shareable in the eyes of the compiler.
    view: Mutex<Option<M::View>>,
    meta: SnapshotMeta,
    latest: Latest,
    shelf: Shelf,
}

impl<M: StateMachine> RaftSnapshotBuilder<Types> for Builder<M> {
    type SnapshotData = Parcel;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let view = self.view.lock().ok().and_then(|mut view| view.take());
        let view = view.ok_or_else(|| io::Error::other("the state machine has panicked"))?;
        let (meta, shelf, latest) = (self.meta.clone(), self.shelf.clone(), self.latest.clone());
        blocking(move || {
            let mut pack = shelf.pack(&meta)?;
            view.write(&mut pack)?;
            let snapshot = pack.finish()?;
            latest.keep(&shelf, Snapshot { meta, snapshot })
        })
        .await
    }
}

/// Runs what may block on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
