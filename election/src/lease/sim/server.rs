//! The API server: one Lease or none, compare-and-swap, and versions that other writes advance too.

use crate::lease::{
    core::{Call, Failure, Seen},
    record::{Record, Snapshot, Version},
};

#[derive(Default)]
pub(super) struct Server {
    /// Versions do not order, as Kubernetes did not promise it before 1.35.
    pub(super) opaque: bool,
    /// The latest version that anything got.
    version: u64,
    objects: u64,
    lease: Option<Stored>,
    /// The Lease was deleted at some time.
    pub(super) deleted: bool,
}

#[derive(Clone, Debug)]
struct Stored {
    version: u64,
    object: u64,
    record: Record,
}

impl Server {
    /// Does what a call asks for; answers, and says whether something has changed.
    pub(super) fn handle(&mut self, call: &Call) -> (Result<Seen, Failure>, bool) {
        let fits = match call {
            Call::Read => return (Ok(self.seen()), false),
            Call::Create(_) => self.lease.is_none(),
            Call::Write(version, _) => self.lease.as_ref().is_some_and(|stored| {
                (version.as_ref()).is_none_or(|version| *version == self.shown(stored.version))
            }),
        };
        if !fits {
            return (Err(Failure::Conflict), false);
        }
        if let Call::Create(record) | Call::Write(_, record) = call {
            self.put(record.clone());
        }
        (Ok(self.seen()), true)
    }

    /// What a record leaves out is gone, where the API would leave a pause as it is.
    pub(super) fn put(&mut self, record: Record) {
        if self.lease.is_none() {
            self.objects += 1;
        }
        self.version += 1;
        self.lease = Some(Stored {
            version: self.version,
            object: self.objects,
            record,
        });
    }

    /// Something else was written.
    pub(super) fn write_elsewhere(&mut self, writes: u64) {
        self.version += writes;
    }

    /// Deletes the Lease; tells what a watch is told of that.
    pub(super) fn delete(&mut self) -> Option<Seen> {
        self.lease.take()?;
        self.deleted = true;
        self.version += 1;
        Some(Seen::Absent(Some(self.shown(self.version))))
    }

    pub(super) fn record(&self) -> Option<&Record> {
        self.lease.as_ref().map(|stored| &stored.record)
    }

    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        self.lease.as_ref().map(|stored| Snapshot {
            version: self.shown(stored.version),
            object: stored.object.to_string(),
            record: Box::new(stored.record.clone()),
        })
    }

    pub(super) fn seen(&self) -> Seen {
        self.snapshot().map_or(Seen::Absent(None), Seen::Present)
    }

    fn shown(&self, version: u64) -> Version {
        if self.opaque {
            return Version(format!(
                "v{:x}",
                version.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ));
        }
        Version(version.to_string())
    }
}
