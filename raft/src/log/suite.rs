//! openraft's own suite for storage.

use std::sync::Arc;

use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::{
    Commands, NodeId, StateMachine, View,
    apply::{Applier, Shared},
    log::{
        Log,
        disk::{Directory, Disk},
    },
    shelf::Shelf,
    types::Types,
};

/// Keeps nothing: the suite looks at logs and snapshots.
#[derive(Debug)]
struct Nothing;

impl StateMachine for Nothing {
    type View = Nothing;

    fn apply(&mut self, _: u64, _: &Commands) -> Vec<bytes::Bytes> {
        Vec::new()
    }

    fn view(&self) -> Nothing {
        Nothing
    }

    fn restore(&mut self, _: &mut dyn std::io::Read) -> std::io::Result<()> {
        Ok(())
    }
}

impl View for Nothing {
    fn write(self, _: &mut dyn std::io::Write) -> std::io::Result<()> {
        Ok(())
    }
}

struct Memory;

impl StoreBuilder<Types, Log, Applier<Nothing>> for Memory {
    async fn build(&self) -> Result<((), Log, Applier<Nothing>), StorageError<Types>> {
        let kept = (Shelf::default(), None);
        let applier = Applier::new(Shared::new(Nothing), kept, watch::Sender::new(0));
        Ok(((), Log::memory(), applier))
    }
}

struct OnDisk;

impl StoreBuilder<Types, Log, Applier<Nothing>, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, Log, Applier<Nothing>), StorageError<Types>> {
        let path = tempfile::tempdir().expect("there is room");
        let directory = Directory::open(path.path()).expect("it can be made");
        let disk: Arc<dyn Disk> = directory.expect("nobody else uses it");
        let log = Log::create(&disk, NodeId(1)).expect("it is empty");
        let kept = (Shelf::on(disk), None);
        let applier = Applier::new(Shared::new(Nothing), kept, watch::Sender::new(0));
        Ok((path, log, applier))
    }
}

#[tokio::test]
async fn a_log_in_memory_is_a_log() {
    Suite::test_all(Memory).await.unwrap();
}

#[tokio::test]
async fn a_log_on_disk_is_a_log() {
    Suite::test_all(OnDisk).await.unwrap();
}
