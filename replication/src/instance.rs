use std::time::Duration;

use async_trait::async_trait;

use crate::{Address, Error, Inspection, MinReplicas, Passport};

/// What becomes of a server's clients when it is fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// They are cut in the same transaction: what was queued may run but is never acknowledged.
    Cut,
    /// They stay, and writes that were paused are answered with READONLY. Only for a planned
    /// switchover, where no write ran after the pause began, and for a replica, whose clients read.
    Keep,
}

/// A server that can be told what to be.
///
/// Every method is idempotent: telling a server again what it already is does no harm, so the
/// answer to an error of unknown outcome is to inspect and decide anew. A method that returns `Ok`
/// has verified the outcome.
///
/// # Cancel safety
///
/// A dropped future may or may not have had its effect, as after [`Error::Unknown`].
#[async_trait]
pub trait Instance: Send + Sync {
    /// Asks the server what it is. Works while it loads its dataset.
    ///
    /// # Errors
    ///
    /// As every method here: see [`Error`]. A connection that was lost since the last call is
    /// replaced before this fails.
    async fn inspect(&self) -> Result<Inspection, Error>;

    /// Makes it accept writes, and writes this passport into its dataset. Ends a pause of writes.
    async fn promote(&self, passport: &Passport) -> Result<(), Error>;

    /// Writes this passport into the dataset of a primary, in place of the one that is there.
    async fn stamp(&self, passport: &Passport) -> Result<(), Error>;

    /// Makes it refuse writes whenever it is a primary with fewer replicas than that. The passport
    /// is written in spite of it.
    async fn demand_replicas(&self, demand: MinReplicas) -> Result<(), Error>;

    /// Makes it copy the server at `primary`. Reconnects at once where it already should but has
    /// no link.
    async fn follow(&self, primary: &Address) -> Result<(), Error>;

    /// Makes it refuse writes until told otherwise: a replica of nowhere, which keeps its data.
    /// Ends a pause of writes in the same transaction.
    async fn fence(&self, clients: Clients) -> Result<(), Error>;

    /// Holds back writes for at most this long; reads go on. It ends by itself: no fence.
    async fn pause_writes(&self, period: Duration) -> Result<(), Error>;

    /// Ends [`Instance::pause_writes`].
    async fn resume_writes(&self) -> Result<(), Error>;

    /// Waits until the connection of the last successful call is lost; without one, returns at
    /// once. A lost connection alone does not mean a dead server: inspect.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    async fn lost(&self);
}

const _: fn(Box<dyn Instance>) = drop;
