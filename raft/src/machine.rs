//! What a group keeps the same on all of its nodes.

use std::io;

use bytes::Bytes;

use crate::Commands;

/// The state that a group replicates: the user's part of a group.
///
/// All nodes apply the same commands in the same order, each once for as long as it has its state,
/// and thereby come to the same state. So `apply` must depend on nothing but the state and the
/// commands: no clock, no randomness, no order of a hash map, nothing of this machine. What depends
/// on these is decided by who proposes, and is part of the command.
///
/// # Cancel safety
///
/// The methods are synchronous and are never left halfway.
pub trait StateMachine: Send + Sync + 'static {
    /// The state at one instant, see [`view`](Self::view).
    type View: View;

    /// Applies the commands of one log entry in order and returns one reply for each.
    ///
    /// `index` is the entry's place in the log; it grows from entry to entry, but not by one. The
    /// replies reach who proposed the commands on this node; on the other nodes they are dropped.
    /// Replies that are missing arrive as empty ones.
    fn apply(&mut self, index: u64, commands: &Commands) -> Vec<Bytes>;

    /// A frozen view of the state, from which a snapshot is written while further commands are
    /// applied. Must be cheap, since nothing is applied meanwhile: an `Arc`, a persistent map, or a
    /// fork of a store.
    fn view(&self) -> Self::View;

    /// Takes over the state that a [`View`] has written, here or on another node, in place of the
    /// present one.
    ///
    /// # Errors
    ///
    /// If what is read is no such state. The node then stops, as it cannot follow the others; what
    /// it has may be read further.
    fn restore(&mut self, from: &mut dyn io::Read) -> io::Result<()>;
}

/// The state of a [`StateMachine`] at one instant.
pub trait View: Send + 'static {
    /// Writes the state so that [`StateMachine::restore`] reads it. Runs on a thread that may block.
    ///
    /// # Errors
    ///
    /// If it cannot be written: only what `to` returns.
    fn write(self, to: &mut dyn io::Write) -> io::Result<()>;
}
