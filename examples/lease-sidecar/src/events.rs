//! Kubernetes Events of what was decided, for who looks at the pod or the Lease by `kubectl describe`.
//!
//! They are told by a task of their own, some time after the fact, and nobody waits for that: a
//! failover does not depend on it. What cannot be told is dropped.

mod bookmark;
mod note;
mod outbox;
mod publish;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bellwether_election::LeaseStatus;
use bellwether_hive::bridge;
use bellwether_replication::Status;
use kube::Client;
use tokio::{sync::watch, time::sleep_until};
use tracing::{debug, info, warn};

use crate::Settings;
use bookmark::Bookmark;
use note::notes;
use outbox::{Outbox, Outcome};
use publish::Publisher;

/// How long the program waits at its end for the last events.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(500);

/// How many events the API has taken, and how many were given up; a decision that nobody looked at in
/// time counts as one that was given up, whatever it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) told: u64,
    pub(crate) dropped: u64,
}

/// Tells.
pub(crate) struct Teller {
    member: String,
    publisher: Publisher,
    outbox: Outbox,
    seen: Bookmark,
    /// Whether failover was paused when that was last looked at.
    paused: Option<bool>,
    counts: watch::Sender<Counts>,
    /// Whether it was said that events are not permitted.
    complained: bool,
}

impl Teller {
    pub(crate) fn new(client: Client, settings: &Settings) -> Self {
        Self {
            member: settings.member.clone(),
            publisher: Publisher::new(client, settings),
            outbox: Outbox::new(now()),
            seen: Bookmark::default(),
            paused: None,
            counts: watch::Sender::default(),
            complained: false,
        }
    }

    pub(crate) fn counts(&self) -> watch::Receiver<Counts> {
        self.counts.subscribe()
    }

    /// Tells until the sidecar ends, and then what is left.
    pub(crate) async fn run(
        mut self,
        mut status: watch::Receiver<Arc<Status>>,
        mut lease: watch::Receiver<LeaseStatus>,
    ) {
        loop {
            self.collect(&status.borrow_and_update(), &lease.borrow_and_update());
            self.tell_next().await;
            let due = self.outbox.wake_at();
            let waits = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = status.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
                // The election ends before the sidecar does, and then tells nothing any more.
                Ok(()) = lease.changed() => {}
                () = waits => {}
            }
        }
        self.collect(&status.borrow_and_update(), &lease.borrow());
        self.outbox.hurry();
        while self.tell_next().await {}
    }

    fn collect(&mut self, status: &Status, lease: &LeaseStatus) {
        let now = now();
        let (missed, new) = self.seen.turn(&status.decisions);
        if missed > 0 {
            info!(
                missed,
                "decisions came faster than Kubernetes Events could be told"
            );
            self.outbox.miss(missed);
        }
        for decided in new {
            for note in notes(&self.member, decided) {
                self.outbox.push(now, note);
            }
        }
        if lease.answered.is_some() {
            let before = self.paused.replace(lease.paused);
            let changed = before.is_some_and(|before| before != lease.paused);
            // One member tells it, not all.
            if changed && status.leadership == "leading" {
                let note = note::pause(&self.member, lease.paused, millis());
                self.outbox.push(now, note);
            }
        }
        self.count();
    }

    /// Makes the call that is due, if any.
    async fn tell_next(&mut self) -> bool {
        let Some(call) = self.outbox.next(now()) else {
            self.count();
            return false;
        };
        let outcome = self.publisher.publish(&call).await;
        match &outcome {
            Outcome::Told if std::mem::take(&mut self.complained) => {
                info!("Kubernetes Events are permitted now");
            }
            Outcome::Forbidden(why) if !std::mem::replace(&mut self.complained, true) => {
                warn!(why, "Kubernetes Events are not told");
            }
            Outcome::Told | Outcome::Forbidden(_) => {}
            Outcome::Refused(why) | Outcome::Failed(why) => debug!(why, "an event was not told"),
        }
        self.outbox.done(now(), &outcome);
        self.count();
        true
    }

    fn count(&self) {
        bridge::publish(&self.counts, self.outbox.counts());
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn millis() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_1970.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}
