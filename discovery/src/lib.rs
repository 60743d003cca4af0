//! Which members of a group exist: a fixed list, DNS or Kubernetes.
//!
//! A [`Discovery`] answers one question, again and again: who is there now? It does not say who is
//! alive, ready or the leader.
//!
//! ```
//! use bellwether_discovery::{Discovery, Fixed, Peers};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let peers: Peers = "10.0.0.1:3000,redis-2.example:3000,[fd00::3]:3000".parse()?;
//! let Peers::Fixed(members) = peers else {
//!     unreachable!("it is a list");
//! };
//! let mut discovery = Fixed::new(members);
//! let names: Vec<_> = discovery.changed().await?.into_iter().map(|m| m.name).collect();
//! assert_eq!(names, ["10.0.0.1:3000", "[fd00::3]:3000", "redis-2.example:3000"]);
//! # Ok(())
//! # }
//! ```
//!
//! A program that takes its peers from a flag parses it as [`Peers`] and calls
//! `Peers::into_discovery`, whatever was given.
//!
//! # Implementations
//!
//! | | a change is seen | when its source is silent | all members see the same |
//! |---|---|---|---|
//! | [`Fixed`] | never | has none | if they were given the same list |
//! | `Dns` (feature `dns`) | within the record's TTL, kept within bounds, plus one lookup | the last answer stands, one error per outage | not at the same time: caches differ by up to the TTL |
//! | `Kubernetes` (feature `kube`) | when the API tells it; a departure after `linger` (1 s) | the last answer stands, one error per outage, noticed within `max_silence` plus twice `timeout` (40 s) | not at the same time: watches run apart, and API servers differ by some milliseconds |
//!
//! None of them is a quorum: two members may hold different sets at the same time, and a member
//! that was removed may still run. What must be safe must not rest on discovery alone.
//!
//! # Announcing the leader
//!
//! The other way round, `Announcer` (feature `kube`) tells the clients of a group whom to talk to: it
//! points a Kubernetes Service at the leader's pod, and where asked labels the pods by their role. A
//! term in an annotation keeps an older leader from overwriting a newer one.
//!
//! # Features
//!
//! - `dns`: `Dns`, by hickory-resolver.
//! - `kube`: `Kubernetes` and `Announcer`, by kube. Which version of the API is compiled in is chosen
//!   by the final program, by a feature of k8s-openapi; the ones used here are in every version.
//!
//! Without them the crate does no I/O.

mod address;
#[cfg(feature = "kube")]
mod announce;
#[cfg(any(feature = "dns", feature = "kube"))]
mod backoff;
#[cfg(feature = "dns")]
mod dns;
mod error;
mod fixed;
#[cfg(feature = "kube")]
mod kube;
mod member;
#[cfg(feature = "dns")]
mod pace;
mod peers;
mod query;
#[cfg(feature = "dns")]
mod zone;

use async_trait::async_trait;

#[cfg(feature = "kube")]
pub use crate::announce::{Announcement, Announcer, AnnouncerConfig, Leader, RoleLabel};
#[cfg(feature = "dns")]
pub use crate::dns::{Dns, DnsConfig};
pub use crate::error::Error;
pub use crate::fixed::Fixed;
#[cfg(feature = "kube")]
pub use crate::kube::Kubernetes;
#[cfg(feature = "kube")]
pub use crate::kube::config::{Family, Include, KubernetesConfig, Port, Source};
pub use crate::member::{Member, Members};
pub use crate::peers::Peers;
pub use crate::query::Query;

/// Finds the members of a group, of which the caller is one.
#[async_trait]
pub trait Discovery: Send {
    /// Waits until the members differ from those last returned, and returns all of them.
    ///
    /// The first call returns the first answer there is, even if it is that there are none.
    ///
    /// # Errors
    ///
    /// An error tells that the source cannot be asked at present; it is returned once per outage.
    /// What was last returned still stands. Calling again resumes: the implementation itself
    /// keeps asking, at a bounded rate, so the caller neither waits nor counts.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: when the future is dropped no change and no error is lost, and a question
    /// that was under way goes on at the next call. It does so only while a call is polled.
    async fn changed(&mut self) -> Result<Members, Error>;
}

const _: fn(Box<dyn Discovery>) = drop;
