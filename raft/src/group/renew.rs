//! A new group from what one node has left.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    Error, Member, StateMachine, View,
    apply::{Shared, Snapshot, blocking},
    group::{Group, LEAVING, start::listen},
    home::Home,
    types::{LogId, Membership, SnapshotMeta, StoredMembership, log_id, vote},
};

/// Ends a node and starts it as the only one of a new group.
pub(super) async fn renew<M: StateMachine>(mut group: Group<M>) -> Result<Group<M>, Error> {
    let metrics = group.metrics();
    let me = group.me(metrics.membership_config.membership());
    let ended = group.raft.shutdown().await;
    ended.map_err(|error| Error::Ended(error.to_string()))?;
    group.tasks.shutdown().await;

    let Group {
        config,
        local_addr,
        raft,
        machine,
        helm,
        dialler,
        log,
        roster,
        shelf,
        civics,
        ..
    } = group;
    let id = dialler.identity.id;
    drop((raft, helm, dialler));
    alone(&machine).await?;

    // First of all it leaves: a group of one must never be taken for the one that it came from.
    let charter = Uuid::new_v4().as_u128();
    let papers = civics.leave_for(charter);
    let papers = papers.ok_or_else(|| Error::Unfit("this node belongs to no group".into()))?;
    let storage = |source| Error::Storage {
        path: civics.disk().map(|disk| disk.path("")).unwrap_or_default(),
        source,
    };

    // What is in the log may have been acknowledged.
    let rest = log.behind(applied(&machine)?);
    let term = metrics.current_term + 1;
    let last = rest.last().map(|entry| entry.log_id.index());
    let last = last.max(applied(&machine)?);
    let begin = log_id(term, last.map_or(0, |index| index + 1));
    let meta = SnapshotMeta {
        last_log_id: Some(begin),
        last_membership: StoredMembership::new(Some(begin), only(id, me)),
    };
    let (taken, onto) = (machine.clone(), shelf.clone());
    let snapshot = blocking(move || {
        let view = {
            let mut kept = taken.write()?;
            for entry in &rest {
                // Nobody on this node waits for the reply any more.
                drop(kept.apply(entry));
            }
            kept.machine.view()
        };
        let mut pack = onto.pack(&meta)?;
        view.write(&mut pack)?;
        let snapshot = pack.finish()?;
        let mut snapshot = Snapshot { meta, snapshot };
        onto.keep(&mut snapshot)?;
        Ok(snapshot)
    });
    let snapshot = snapshot.await.map_err(storage)?;
    let renewed = log.renew(begin, vote(term, id, false)).await;
    renewed.map_err(storage)?;
    // The library restores it from the snapshot, as after any restart.
    forget(&machine)?;
    tracing::warn!(node = %id, "a new group begins with this node alone");

    let home = Home {
        papers,
        log,
        shelf,
        snapshot: Some(snapshot),
        disk: civics.disk(),
    };
    let mut config = Arc::unwrap_or_clone(config);
    config.listen = local_addr;
    let listener = listen(&config)?;
    Group::start_at(listener, home, config, roster, machine).await
}

/// Waits until nobody applies or takes a snapshot any more.
async fn alone<M>(machine: &Shared<M>) -> Result<(), Error> {
    let deadline = Instant::now() + LEAVING;
    while !machine.is_mine() {
        if Instant::now() >= deadline {
            return Err(Error::Ended("its state machine is still at work".into()));
        }
        sleep(std::time::Duration::from_millis(1)).await;
    }
    Ok(())
}

fn applied<M>(machine: &Shared<M>) -> Result<Option<u64>, Error> {
    let kept = machine.read();
    let kept = kept.ok_or_else(|| Error::Ended("its state machine has panicked".into()))?;
    Ok(kept.applied.as_ref().map(LogId::index))
}

fn forget<M>(machine: &Shared<M>) -> Result<(), Error> {
    let kept = machine.write();
    kept.map_err(|error| Error::Ended(error.to_string()))?
        .applied = None;
    Ok(())
}

/// A membership of one.
fn only(id: crate::NodeId, member: Member) -> Membership {
    let voters = vec![BTreeSet::from([id])];
    Membership::new(voters, BTreeMap::from([(id, member)])).expect("the voter is a member")
}
