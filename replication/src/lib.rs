//! What each Redis server is told to be: promote, follow, fence, switch over.
//!
//! A [`Sidecar`] runs beside one server. An election tells it who leads; it makes its server follow
//! that, hands over without loss when asked to, and publishes as a [`View`] whom clients may be
//! brought to. It decides by what the servers themselves say: how far their datasets are in which
//! history of writes, a [`Position`].
//!
//! ```
//! use bellwether_replication::{Position, Relation};
//!
//! let position = |id: &str, offset, previous: Option<(&str, u64)>| Position {
//!     replication_id: id.into(),
//!     offset,
//!     previous: previous.map(|(id, end)| (id.into(), end)),
//! };
//! // A replica that had 100 bytes was promoted; its former primary wrote 20 more before it died.
//! let promoted = position("new", 150, Some(("old", 101)));
//! let former = position("old", 120, None);
//! assert_eq!(former.relation(&promoted), Relation::Diverged);
//! assert_eq!(former.bytes_beyond(&promoted), Some(20));
//! ```
//!
//! # What may be told what to be
//!
//! | [`Instance`] | a fence holds | a promotion is verified | versions |
//! |---|---|---|---|
//! | [`Redis`] | until it is told otherwise; over a restart if it boots as a replica of nowhere | by ROLE, and by its [`Passport`] | Redis from 6.2 on (tested with 7.0, and with 7.0 without functions), and Valkey, which speaks the same (not tested) |
//!
//! # Which dataset is the latest
//!
//! One that contains another by the rule of PSYNC goes before it. Where histories do not compare, the
//! later [`Passport`] does: it is written into the dataset at each promotion, and again when the
//! primary loses a replica, so that what that one has is known to be older. In Redis it is a library
//! of functions called `bellwether_passport`, which survives FLUSHALL and is no key; from a server
//! that has no functions, or does not permit them, it is the key `bellwether:passport`. Users see it
//! in FUNCTION LIST; what they do to it is undone by the leader. A dataset of another group is left
//! alone: to copy functions between groups, leave this library out.
//!
//! After a restart of everything, members that are expected (their agents are connected, or discovery
//! knows of them) are waited for until they have told what they have, up to
//! [`SidecarConfig::form_timeout`]; and those that nobody knows of yet, if
//! [`SidecarConfig::expected_members`] says how many there are.
//!
//! # Guarantees
//!
//! A sidecar never promotes a blank server while it reaches one with data, nor one with an older
//! dataset while it reaches a later one; publishes its server only when that is a verified primary
//! with a passport of its own; and loses no acknowledged write in a switchover that
//! succeeds. Whether there is one primary at a time is up to the election, and to whether the old
//! one can be reached to be fenced. Replication is asynchronous: what an unplanned failover loses
//! lies beyond the successor's offset at promotion, and is logged. A dataset that comes back when
//! another one serves already gives way to it, even if it is the later one: that is logged too.
//! While an operator has paused failover ([`Sidecar::with_pause`]), it hands over only when it is asked
//! to.
//!
//! A primary whose agent dies goes on taking writes until somebody fences it. With
//! [`SidecarConfig::min_replicas_to_write`] it stops by itself once it has lost its replicas: at once
//! when their connections end, else within [`SidecarConfig::min_replicas_max_lag`] and two seconds.
//!
//! There are no features.

mod address;
mod card;
mod error;
mod inspection;
mod instance;
mod passport;
mod position;
mod rank;
mod redis;
mod sidecar;
mod view;

pub use address::Address;
pub use card::Card;
pub use error::Error;
pub use inspection::{Inspection, Link, MinReplicas, Role};
pub use instance::{Clients, Instance};
pub use passport::{Papers, Passport};
pub use position::{Position, Relation};
pub use redis::{Redis, RedisOptions};
pub use sidecar::{
    Cause, Connect, Decided, Handle, Kind, MemberStatus, Refusal, Sidecar, SidecarConfig, Status,
    Switched, Tally, Whose,
};
pub use view::{Server, View};
