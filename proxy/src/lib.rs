//! Brings Redis clients to the current primary.
//!
//! A [`Proxy`] listens for clients and forwards what they send, byte by byte, to the primary that
//! a [`Topology`] names. Any command passes. Replies come back in the order of the requests.
//!
//! ```no_run
//! use std::sync::Arc;
//! use bellwether_proxy::{Proxy, ProxyConfig, Topology, Upstream};
//! use tokio::sync::watch;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let primary = Upstream { name: "a".into(), host: "127.0.0.1".into(), port: 6379 };
//! let topology = Topology { term: 1, primary: Some(primary), ..Topology::default() };
//! let (publish, topologies) = watch::channel(Arc::new(topology));
//! let proxy = Proxy::start(ProxyConfig::new(([127, 0, 0, 1], 0).into()), topologies)?;
//! println!("clients connect to {}", proxy.local_addr());
//! publish.send_replace(Arc::new(Topology { term: 2, ..Topology::default() })); // none at all
//! proxy.shutdown(std::time::Duration::from_secs(5)).await;
//! # Ok(()) }
//! ```
//!
//! # What happens in a failover
//!
//! | the request was | what its client gets |
//! |---|---|
//! | not sent, or only in part | nothing yet: it waits, and goes to the next primary; after [`ProxyConfig::hold`] an error `TRYAGAIN`: it did not run |
//! | refused with READONLY, LOADING, MASTERDOWN or NOREPLICAS | the same; after the hold the refusal itself. EVAL, EVALSHA, FCALL and EXEC get the refusal at once, because a script may have had effects before |
//! | answered by a server that had been replaced, or not at all | an error that says that the outcome is unknown. It is never sent again |
//! | AUTH, HELLO, SELECT, CLIENT SETNAME, CLIENT SETINFO | its answer; the proxy sets the same up on each new connection |
//!
//! When the primary changes, the former one has [`ProxyConfig::linger`] more to refuse what it was
//! sent: in a switchover such refusals are on their way. Nothing else that it says then is believed.
//!
//! A session that holds other state in its server ends with its upstream connection: an open
//! MULTI or WATCH, CLIENT TRACKING, CLIENT REPLY, a subscription, MONITOR, a command that blocks.
//! What can be delivered is delivered before.
//!
//! Requests that a client pipelined behind a refused one keep their order: reads run again after
//! it. What is not known to only read and was answered with success did run, and is never
//! repeated: its answer waits until it is due.
//!
//! # What it does not do
//!
//! - A reply that was read before [`Topology::until`] or before the next topology was published
//!   is delivered, even if its client gets it later.
//! - A WAIT or WAITAOF that comes after a failover closes its client: on the new connection its
//!   answer would be about other writes.
//! - A client that ended its sending half loses what waits for a primary: it may have left. One
//!   that left behind more than the proxy and the system buffer cannot be told from one that
//!   waits: what the proxy has read of it runs.

#[allow(dead_code, unused_imports, reason = "the engine will use it")]
mod commands;
mod config;
mod control;
mod driver;
mod engine;
mod error;
mod metrics;
mod proxy;
mod ready;
mod record;
mod scripts;
mod socket;
mod stats;
mod topology;

pub use config::{Balance, Credentials, Password, ProxyConfig, ReadFrom};
pub use error::Error;
pub use proxy::Proxy;
pub use stats::{Bucket, FamilyStats, Stats, UpstreamRole, UpstreamState, UpstreamStats};
pub use topology::{Topology, Upstream};
