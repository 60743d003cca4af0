//! What a proxy has done so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the proxy started, summed over its workers.
///
/// Workers publish theirs once per turn, so a snapshot may be some microseconds old.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Clients connected now.
    pub clients: u64,
    /// Clients accepted.
    pub accepted: u64,
    /// Requests received, without those of sessions that became plain relays.
    pub requests: u64,
    /// Requests that had to wait because there was no primary to send them to.
    pub held: u64,
    /// Requests that a server refused and that were sent again.
    pub replayed: u64,
    /// Requests that were sent and whose outcome nobody knows; each was answered with an error.
    pub unknown: u64,
    /// Requests that were answered with an error because no primary took them in time. They did
    /// not run.
    pub refused: u64,
    /// How often a primary refused commands or was lost before a topology said so.
    pub suspected: u64,
    /// Connections to servers that were begun.
    pub connects: u64,
    /// How often a command that needs a connection for itself found all of them lent.
    pub pool_exhausted: u64,
    /// Clients that were cut because they read too slowly.
    pub cut: u64,
    /// How often subscriptions were made again on another server.
    pub resubscribed: u64,
}

macro_rules! counters {
    ($($name:ident),*) => {
        /// The counters of one worker, published for readers on other threads.
        #[derive(Debug, Default)]
        pub(crate) struct Published { $($name: AtomicU64),* }

        impl Published {
            /// Only the worker itself stores, so plain stores suffice.
            pub(crate) fn store(&self, stats: &Stats) {
                $(self.$name.store(stats.$name, Ordering::Relaxed);)*
            }

            pub(crate) fn add_to(&self, sum: &mut Stats) {
                $(sum.$name += self.$name.load(Ordering::Relaxed);)*
            }
        }
    };
}

counters!(
    clients,
    accepted,
    requests,
    held,
    replayed,
    unknown,
    refused,
    suspected,
    connects,
    pool_exhausted,
    cut,
    resubscribed
);
