//! Who leads a group: leader election behind one trait.

mod error;
mod leadership;
mod seat;
mod timestamp;

use async_trait::async_trait;

pub use error::Error;
pub use leadership::{Leadership, NodeId, Rank, Term};
pub use seat::{Intent, MAX_CARD, MAX_RANK, Participant, Peer, Seat, seat};
pub use timestamp::{Stats, Timestamp, TimestampConfig};

/// A way to agree on a leader.
///
/// A backend renews on its own, however busy the application is; the two speak through the ends of
/// a [`seat`]. `run` ends without error when the application drops its [`Participant`], and with
/// one only for what cannot heal; either way the application then sees [`Leadership::Vacant`].
///
/// # Cancel safety
///
/// Dropping the future leaves the election as a crash would.
#[async_trait]
pub trait Election: Send {
    /// Takes part until the application leaves.
    ///
    /// # Errors
    ///
    /// For what cannot heal by itself, such as an address that cannot be listened on.
    async fn run(&mut self, seat: Seat) -> Result<(), Error>;
}

const _: fn(Box<dyn Election>) = drop;
