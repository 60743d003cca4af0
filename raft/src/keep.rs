//! Bounds the log: takes snapshots and cuts the log behind them, both by bytes. The library counts
//! entries, of which one may have a few bytes or a million.

use tokio::sync::watch;

use crate::{StateMachine, log::Log, net::Raft};

/// Works until the node ends. `applied` counts the bytes since a snapshot was begun.
pub(crate) async fn keep<M: StateMachine>(
    raft: Raft<M>,
    log: Log,
    mut applied: watch::Receiver<usize>,
    snapshot_after: usize,
) {
    let mut snapshots = raft.watch_snapshot_progress();
    loop {
        let done = tokio::select! {
            changed = applied.changed() => {
                let enough = *applied.borrow_and_update() >= snapshot_after;
                // While one is being written, the library begins no other.
                changed.is_err() || enough && raft.trigger().snapshot().await.is_err()
            }
            changed = snapshots.changed() => {
                let upto = snapshots.get().and_then(|id| log.purgeable(id.index(), snapshot_after));
                changed.is_err() || match upto {
                    Some(upto) => raft.trigger().purge_log(upto).await.is_err(),
                    None => false,
                }
            }
        };
        if done {
            return;
        }
    }
}
