//! Who leads a group: leader election behind one trait.
//!
//! An application takes one end of a [`seat`], a backend the other. The application says what it
//! wants (to lead, with a rank; not to lead; who shall come next) and reads from `watch` channels
//! who leads. The backend renews on its own. Neither waits for the other, and a test can take the
//! place of either.
//!
//! | backend | needs | guarantees |
//! |---|---|---|
//! | [`Timestamp`] | TCP between the members | one leader while the network is whole; **no quorum**: each side of a cut may have a leader |
//! | `Lease` (feature `kube`) | the Kubernetes API | one leader at any instant, whatever the network does; nobody leads while the API is away, unless all members confirm the leader |
//! | `Raft` (feature `raft`) | TCP between the members, and a majority of them | one leader at any instant, whatever the network does; nobody leads without a majority |
//!
//! All backends share this:
//! - **Act as leader only before [`Leading::until`](Leadership::Leading).** Check it before each
//!   act, not only when told: a process that was stopped reads an old value first.
//! - Each spell of leadership has a higher [`Term`] than any that its members have seen: use it to
//!   fence those who come late.
//! - Each time nobody is known to lead, the application has to say anew whether it stands.
//! - Who does not stand never leads.
//!
//! Work that only the leader may do, and nothing else, is run by [`Participant::lead`].
//!
//! # Example
//!
//! Two members on one machine.
//!
//! ```
//! use std::collections::BTreeSet;
//!
//! use bellwether_election::{
//!     Election, Leadership, Rank, Timestamp, TimestampConfig, seat,
//! };
//! use tokio::sync::watch;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (members_in, members) = watch::channel(BTreeSet::new());
//! let mut all = BTreeSet::new();
//! let mut participants = Vec::new();
//! for name in ["dolly", "shaun"] {
//!     let config = TimestampConfig::new("flock", name, ([127, 0, 0, 1], 0).into());
//!     let mut election = Timestamp::new(config, members.clone())?;
//!     all.insert(("127.0.0.1".to_string(), election.local_addr().port()));
//!     // What the others shall know of this member, such as where its server listens.
//!     let (participant, seat) = seat(format!("the card of {name}").into());
//!     tokio::spawn(async move { election.run(seat).await });
//!     participants.push(participant);
//! }
//! // Usually discovery says who the members are.
//! members_in.send_replace(all);
//!
//! // Who has data is fitter than who has none.
//! participants[0].campaign(Rank(vec![1]));
//! participants[1].campaign(Rank(vec![0]));
//!
//! let mut leadership = participants[1].leadership();
//! let follows = |now: &Leadership| matches!(now, Leadership::Following { .. });
//! if let Leadership::Following { leader, card, term } = &*leadership.wait_for(follows).await? {
//!     println!("{leader} leads in term {term} and says: {card:?}");
//!     assert_eq!(leader.member, "dolly");
//!     assert_eq!(card, "the card of dolly");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! - `kube`: `Lease`, by the crate kube, whose types appear in the constructor of that backend only.
//! - `raft`: `Raft`, over the crate `bellwether-raft`.
//! - `simulation`: for simulations of what is built on this crate only, and hidden: it may change at any
//!   time.

mod error;
mod frame;
mod lead;
mod leadership;
#[cfg(feature = "kube")]
mod lease;
mod listen;
#[cfg(feature = "raft")]
mod raft;
mod seat;
mod timestamp;

use async_trait::async_trait;

#[cfg(feature = "raft")]
pub use bellwether_raft::{Member as RaftMember, Roster};
pub use error::Error;
pub use lead::Led;
pub use leadership::{Leadership, NodeId, Rank, Term};
#[cfg(feature = "kube")]
pub use lease::{Confirming, Failsafe, Lease, LeaseConfig, LeaseStatus, Listing, Pauser};
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub use lease::{Flock, Plant};
#[cfg(feature = "raft")]
pub use raft::{Raft, RaftConfig};
pub use seat::{Intent, MAX_CARD, MAX_RANK, Participant, Peer, Seat, seat};
pub use timestamp::{Stats, Timestamp, TimestampConfig};

/// A way to agree on a leader.
///
/// A backend renews on its own, however busy the application is; the two speak through the ends of
/// a [`seat`]. `run` ends without error when the application drops its [`Participant`], and with
/// one only for what cannot heal; either way the application then sees [`Leadership::Vacant`].
///
/// An implementation states its **Safety**: what it guarantees, under which clocks and cuts, and
/// what it does not.
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
