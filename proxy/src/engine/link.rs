//! A session's connection to a server.

use std::time::Instant;

use bellwether_resp::{Limits, Scanner};

use super::LinkId;
use super::buffer::Buffer;

/// How far a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It must be connected by then.
    Connecting(Instant),
    /// The state of the session is being set up; so many replies are still to come.
    Restoring(usize),
    /// It takes requests.
    Ready,
    /// Its server is not the primary any more: nothing is sent, and only refusals count.
    Stale,
    /// It is to be closed.
    Doomed,
}

/// What is done with a reply, decided at its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes to the client, as it comes.
    Deliver,
    /// It is thrown away, as it comes.
    Drop,
    /// It is looked at as a whole.
    Judge,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) phase: Phase,
    pub(crate) scanner: Scanner,
    /// Bytes of a reply that could not be dealt with yet.
    pub(crate) inbox: Buffer,
    /// What of the restoring requests is to be sent.
    pub(crate) greeting: Buffer,
    /// Of a reply that has come in part: its first byte, and what is done with it.
    pub(crate) partial: Option<(u8, Fate)>,
    /// How long a stale link may still answer.
    pub(crate) linger_until: Option<Instant>,
    /// The driver was told to read what is left.
    pub(crate) draining: bool,
    /// The driver wanted to read while it must not.
    pub(crate) paused: bool,
}

impl Link {
    pub(crate) fn new(id: LinkId, connect_by: Instant) -> Self {
        Self {
            id,
            phase: Phase::Connecting(connect_by),
            scanner: Scanner::new(Limits::default()),
            inbox: Buffer::default(),
            greeting: Buffer::default(),
            partial: None,
            linger_until: None,
            draining: false,
            paused: false,
        }
    }

    /// Whether the client has got a part of a reply whose rest will not come.
    pub(crate) fn cut_a_reply(&self) -> bool {
        matches!(self.partial, Some((_, Fate::Deliver)))
    }
}
