//! Real servers under test: redis-server, Sentinel, DNS, and hosts in network namespaces; with the
//! feature `kube`, a Kubernetes API.
//!
//! For tests, benches and the quickstart of Bellwether; unpublished. All of it is synchronous and
//! runs on plain threads, so that it can be used from any test. Whatever is started ends when its
//! value is dropped, and at the latest with this process, even if that is killed.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use bellwether_testkit::{Redis, install};
//!
//! install::redis_server()?;
//! let mut server = Redis::fresh()?;
//! server.command(&["REPLICAOF", "NO", "ONE"])?;
//! assert!(server.role()?.is_primary());
//! server.kill()?;
//! # Ok(())
//! # }
//! ```
//!
//! A test that cannot run here, because it needs root, calls [`skip()`].

mod claim;
mod dns;
mod group;
pub mod install;
#[cfg(feature = "kube")]
pub mod kube;
mod lines;
mod net;
pub mod ports;
mod process;
mod redis;
mod reply;
mod scrape;
mod sentinel;
mod skip;
mod until;
mod writer;

pub use crate::dns::DnsServer;
pub use crate::group::{Group, GroupOptions, Node};
#[cfg(feature = "kube")]
pub use crate::kube::KubeApi;
pub use crate::lines::Lines;
pub use crate::net::{Host, Network};
pub use crate::process::{Process, Program};
pub use crate::redis::{Boot, Data, Options, Redis};
pub use crate::reply::Role;
pub use crate::scrape::Scrape;
pub use crate::sentinel::Sentinel;
pub use crate::skip::{mounts_or_skip, networks_or_skip, skip};
pub use crate::until::{Condition, until};
pub use crate::writer::{Comparison, InTurn, Record, Route, Writer, WriterOptions};
