//! openraft's own suite for storage.

use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use tokio::sync::watch;

use crate::{
    Commands, StateMachine, View,
    apply::{Applier, Shared},
    log::Log,
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
        let applier = Applier::new(Shared::new(Nothing), watch::Sender::new(0));
        Ok(((), Log::memory(), applier))
    }
}

#[tokio::test]
async fn a_log_in_memory_is_a_log() {
    Suite::test_all(Memory).await.unwrap();
}
