//! What the proxy knows about commands: which may share a connection, where each may run, and
//! whether it may run twice.
//!
//! Three sources, the later over the earlier:
//!
//! 1. `table`, generated from the metadata of Redis 7.0 by `cargo xtask commands`, and
//!    `supplement`, a few commands of other versions that need special treatment. `judge` decides
//!    what is to be done about each: by name, where the flags do not tell.
//! 2. The configured renames, see [`Commands::new`].
//! 3. The server's own `COMMAND`, see [`Commands::overlay`].
//!
//! `golden.txt` lists the outcome for every command; a test compares it.
#![deny(clippy::disallowed_methods)]

mod blocking;
mod flags;
mod index;
mod judge;
mod known;
mod overlay;
mod renames;
mod spec;
mod supplement;
mod table;

#[cfg(test)]
mod tests;

pub(crate) use blocking::{arguments, blocks, with_timeout};
pub(crate) use known::Commands;
pub(crate) use spec::{Family, Reads, Space, Spec, TimeoutArg, Treat};
