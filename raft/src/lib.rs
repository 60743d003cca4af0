//! A Raft group to embed: transport, log and membership around the library openraft, with a state
//! machine that the user supplies.
//!
//! Several nodes keep the same state. What is proposed at the leader is in the log of a majority
//! before it is applied and acknowledged, so it survives the loss of any minority, and of any node
//! that leads. The user supplies a [`StateMachine`] and holds a [`Group`] on each node.
//!
//! # Example
//!
//! A counter on three nodes, here in one process.
//!
//! ```
//! use std::{collections::BTreeSet, io};
//!
//! use bellwether_raft::{
//!     Commands, Config, Consistency, Error, Group, Member, Roster, StateMachine, Storage, View,
//! };
//! use bytes::Bytes;
//! use tokio::sync::watch;
//!
//! #[derive(Clone)]
//! struct Counter(u64);
//!
//! impl StateMachine for Counter {
//!     type View = Counter;
//!
//!     fn apply(&mut self, _index: u64, commands: &Commands) -> Vec<Bytes> {
//!         let add = |command: &[u8]| {
//!             self.0 += command.len() as u64;
//!             Bytes::copy_from_slice(&self.0.to_be_bytes())
//!         };
//!         commands.iter().map(add).collect()
//!     }
//!
//!     fn view(&self) -> Counter {
//!         self.clone()
//!     }
//!
//!     fn restore(&mut self, from: &mut dyn io::Read) -> io::Result<()> {
//!         let mut bytes = [0; 8];
//!         from.read_exact(&mut bytes)?;
//!         self.0 = u64::from_be_bytes(bytes);
//!         Ok(())
//!     }
//! }
//!
//! impl View for Counter {
//!     fn write(self, to: &mut dyn io::Write) -> io::Result<()> {
//!         to.write_all(&self.0.to_be_bytes())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Usually discovery says who the members are; two of three must agree to begin.
//! let (members_in, members) = watch::channel(BTreeSet::new());
//! let mut nodes = Vec::new();
//! for name in ["dolly", "shaun", "timmy"] {
//!     let config = Config::new("flock", name, ([127, 0, 0, 1], 0).into(), Storage::Memory);
//!     let roster = Roster::discovered(members.clone(), 2);
//!     let node = Group::start(config, roster, Counter(0)).await?;
//!     let port = node.local_addr().port();
//!     members_in.send_modify(|all| {
//!         all.insert(Member::new(name, "127.0.0.1", port));
//!     });
//!     nodes.push(node);
//! }
//!
//! // The first node need not lead; who does is named by whoever does not.
//! let mut asked = 0;
//! let reply = loop {
//!     match nodes[asked].propose("three".into()).await {
//!         Ok(reply) => break reply,
//!         Err(Error::NotLeader { leader: Some(leader) }) => {
//!             asked = nodes.iter().position(|node| node.id() == leader.id).unwrap_or(0);
//!         }
//!         Err(Error::NotLeader { .. } | Error::NoQuorum) => {
//!             tokio::time::sleep(std::time::Duration::from_millis(10)).await;
//!         }
//!         Err(other) => return Err(other.into()),
//!     }
//! };
//! assert_eq!(reply, &5_u64.to_be_bytes()[..]);
//! let count = nodes[1].read(Consistency::Linearizable, |counter| counter.0).await?;
//! assert_eq!(count, 5);
//! # Ok(())
//! # }
//! ```
//!
//! # What holds
//!
//! - **What is acknowledged is kept** while a majority of the nodes lives on, and with
//!   [`Storage::Directory`] also when all of them end at once: it is synced on a majority's disks
//!   before. With [`Storage::Memory`] a node that restarts comes back empty, under a new [`NodeId`]:
//!   a group that loses a majority at once, or one after the other, has lost its data.
//! - **A data directory is believed or refused**, never guessed at: a write that a crash has cut short
//!   is cut off; anything else that is wrong with it, or that belongs to another member or group, is
//!   named by [`Error::Data`], and left as it is. When writing fails, the node ends: nothing more
//!   is acknowledged, and what it has applied can be read further.
//! - **At most one node leads in a term**, and acts as leader only before
//!   [`until`](Leadership::Leading). That rests on clocks that run alike: those of two nodes may
//!   differ in speed by less than a tenth.
//! - **Exactly one group is founded**, however many nodes start at once and whatever they see of
//!   each other, as long as `quorum` is more than half of the members: see [`Roster`].
//! - **Members follow discovery**, one change at a time: who is new is brought up to date and then
//!   votes; who comes back under another [`NodeId`] replaces who it was in one change; who is no longer
//!   named is removed after `remove_after`, but never so that fewer than `quorum` vote or most of the
//!   voters do not answer. Who is named and dead stays a member.
//! - **A majority that is lost for good** is not made up for by guessing: [`Group::force_new_group`]
//!   begins anew with what one node has, once somebody says so.
//! - **Without a majority** new proposals are refused with [`Error::NoQuorum`] once the lease has
//!   ended; those that were taken before end as [`Error::Unknown`] at their deadline.
//!   [`Consistency::Local`] reads go on.
//! - A proposal that ended as [`Error::Unknown`] may still be applied, once. Who tries it again needs
//!   commands that can be told from their repetition.
//! - What comes from the network is bounded in size and time. It is **not authenticated**: whoever
//!   reaches the port can take part. Keep it to the group's own network.
//!
//! The library underneath logs much: a filter such as `info,openraft=warn` leaves what matters.

mod apply;
mod census;
mod civics;
mod codec;
mod commands;
mod config;
mod error;
mod founding;
mod group;
mod home;
mod keep;
mod leadership;
mod log;
mod machine;
mod member;
mod net;
mod parcel;
mod roster;
mod shelf;
mod steward;
mod types;

pub use commands::Commands;
pub use config::{Config, Storage};
pub use error::Error;
pub use group::{Consistency, Group};
pub use leadership::{Leadership, Status};
pub use machine::{StateMachine, View};
pub use member::{Member, NodeId, Peer};
pub use roster::Roster;
