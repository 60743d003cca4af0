//! How nodes talk: TCP, one connection for each purpose, messages behind their length.
//!
//! A leader has three connections to each follower: one for log entries, which are sent without
//! waiting for the answers; one for heartbeats, so that they do not queue behind entries; and one
//! for a snapshot while it is sent. Votes and the like have a short one of their own.

mod append;
mod call;
mod dial;
mod frame;
mod hello;
mod link;
mod messages;
mod serve;
mod snapshot;

use std::{io, time::Duration};

use crate::codec::Malformed;

pub(crate) use call::ask;
pub(crate) use dial::{Book, Dialler, Identity};
pub(crate) use hello::Purpose;
pub(crate) use link::Links;
pub(crate) use messages::{Question, proposed, put_question, read_index};
pub(crate) use serve::{Host, Raft, serve};

/// Beside entries, a message has at most this many bytes.
pub(crate) const SLACK: usize = 256 * 1024;

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the other end closed the connection")]
    Closed,
    #[error("no progress within {0:?}")]
    Slow(Duration),
    #[error("a message of {0} bytes is too long")]
    Oversize(usize),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("turned away: {0}")]
    Refused(hello::Refusal),
}
