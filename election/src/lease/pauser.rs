//! An operator's wish that leadership stays where it is, kept in the Lease itself.

use std::{fmt, time::Duration};

use k8s_openapi::jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

use crate::lease::{
    api::{LeaseApi, Trouble},
    core::{Call, Failure, Seen},
    object::PAUSED,
};

/// For how long a wish is tried to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// From a failed attempt to the next one.
const AGAIN: Duration = Duration::from_millis(200);

/// Pauses automatic failover of the whole group, and ends that: see [`Lease`](crate::Lease) for what
/// it means.
///
/// A handle of one member's that works beside its election, by calls of its own. The pause is kept in
/// the Lease's annotation `bellwether.dev/paused`, so it outlives all members, and operators may as
/// well set and remove it by kubectl. Any value but `false` pauses.
#[derive(Clone)]
pub struct Pauser {
    api: LeaseApi,
    member: String,
    told: watch::Receiver<bool>,
}

impl Pauser {
    pub(crate) fn new(api: LeaseApi, member: String, told: watch::Receiver<bool>) -> Self {
        Self { api, member, told }
    }

    /// Whether automatic failover is paused, as far as this member's election knows. It is told this
    /// before any leadership that comes of it.
    #[must_use]
    pub fn paused(&self) -> watch::Receiver<bool> {
        self.told.clone()
    }

    /// Pauses, if that is not so yet. A leader whose watch is broken knows it one `retry_period`
    /// later at the latest; nobody else takes the Lease from when this has returned.
    ///
    /// # Errors
    ///
    /// What the API refuses, or that it did not answer within 5 s, in one line. Only what was not
    /// answered may have been done, or may be yet.
    ///
    /// # Cancel safety
    ///
    /// What was sent may be done.
    pub async fn pause(&self) -> Result<(), String> {
        let now = Timestamp::now();
        let text = format!("since {now:.0} by {}", self.member);
        self.write(Some(&text)).await
    }

    /// Ends a pause, if there is one.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    ///
    /// # Cancel safety
    ///
    /// What was sent may be done.
    pub async fn resume(&self) -> Result<(), String> {
        self.write(None).await
    }

    async fn write(&self, text: Option<&str>) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while let Err(Trouble { failure, words }) = self.attempt(text).await {
            let again = match failure {
                // The holder has renewed between the look and the write.
                Failure::Conflict => Duration::ZERO,
                Failure::Busy(_) | Failure::Lost => AGAIN,
                Failure::Denied => return Err(words),
            };
            if Instant::now() + again >= deadline {
                return Err(words);
            }
            sleep(again).await;
        }
        // Who asks this member next is told the same. An election that cannot see it is not waited
        // for any longer: it is so.
        let mut told = self.told.clone();
        let seen = told.wait_for(|paused| *paused == text.is_some());
        let _ = timeout_at(deadline, seen).await;
        Ok(())
    }

    /// The write names the version that it was decided on: one that arrives late does nothing.
    async fn attempt(&self, text: Option<&str>) -> Result<(), Trouble> {
        let Seen::Present(seen) = self.api.call(Call::Read).await? else {
            return Err(Trouble {
                failure: Failure::Denied,
                words: format!("there is no {} yet", self.api.lease()),
            });
        };
        if seen.record.paused == text.is_some() {
            return Ok(());
        }
        self.api.annotate(&seen.version, PAUSED, text).await
    }
}

impl fmt::Debug for Pauser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pauser")
            .field("lease", &self.api.lease())
            .finish_non_exhaustive()
    }
}
