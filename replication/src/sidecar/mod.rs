//! One agent beside one server: makes it what the election wants it to be.

mod core;
mod decision;
mod shell;
mod status;
mod tally;

use std::time::Duration;

use serde::Serialize;

pub use decision::{Cause, Kind, Refusal, Whose};
pub use shell::{Connect, Handle, Sidecar};
pub use status::{Decided, MemberStatus, Status};
pub use tally::Tally;

use crate::Server;

/// How a [`Sidecar`] behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SidecarConfig {
    /// The group's name, which is written into its datasets: a server whose dataset is of another
    /// group takes no part.
    pub group: String,
    /// The own server: the name of this member in the election, and where the others reach the
    /// server.
    pub server: Server,
    /// How often the own server is asked what it is. Default 100 ms: a changed link or dataset is
    /// noticed within this; a lost connection is noticed at once.
    pub probe_interval: Duration,
    /// How long the own server may take to answer before it counts as hung. Default 1 s, as long
    /// as a slow command or a fork of a large dataset commonly takes.
    pub down_after: Duration,
    /// How long another member's server may take to answer. Default 200 ms: it delays a failover
    /// when the old primary hangs.
    pub answer_timeout: Duration,
    /// How often the other members' servers are looked at while nothing happens. Default 1 s.
    pub survey_interval: Duration,
    /// Bounds a planned switchover, and so the time for which writes may be paused. Default 2 s.
    pub handover_timeout: Duration,
    /// How long members that are expected, and have not told what they have, are waited for while
    /// nobody knows which dataset is the latest: after a restart of everything. Then the latest of
    /// those that answered is taken. Default 10 s, as long as servers of some gigabytes, or pods
    /// that start together, come apart; a server that loads its dataset is waited for longer. It
    /// should be longer than the election takes to notice that a leader died: whose server was in
    /// step with a primary no longer ago than this waits for nobody.
    pub form_timeout: Duration,
    /// How many members the group has, this one included. After a restart of everything, those that
    /// are not even known yet are waited for as well, for `form_timeout`. Default 0: those that are
    /// known are all.
    pub expected_members: usize,
    /// How many replicas a primary must have to take writes (`min-replicas-to-write`): one that is cut
    /// off from them stops by itself, also when its agent is gone. It is set at each promotion, as soon as any other member is known or
    /// `expected_members` tells of one; a server that was alone gets it with its replicas. It is never
    /// taken back: neither for a group that shrinks, nor when this is set to 0. If it cannot be set,
    /// the server serves without, which is shown as trouble. Default 0: it is left as it is.
    pub min_replicas_to_write: u32,
    /// How old a replica's last word may be for it to count (`min-replicas-max-lag`); whole seconds,
    /// at least 1. A cut is noticed within two seconds more; a connection that is closed, at once.
    /// Default 2 s. With 1 s Redis takes replicas that are well for lost now and then, and refuses
    /// writes for a second: they speak once a second, by their own clocks.
    pub min_replicas_max_lag: Duration,
    /// Lets an empty server become primary, and be followed, although others have data; lets one
    /// become primary of which nobody knows whether its data is the latest; and takes the dataset of
    /// another group for one of this group. Default no: data would be lost.
    pub allow_data_loss: bool,
}

impl SidecarConfig {
    /// The defaults for this server of this group.
    #[must_use]
    pub fn new(group: impl Into<String>, server: Server) -> Self {
        Self {
            group: group.into(),
            server,
            probe_interval: Duration::from_millis(100),
            down_after: Duration::from_secs(1),
            answer_timeout: Duration::from_millis(200),
            survey_interval: Duration::from_secs(1),
            handover_timeout: Duration::from_secs(2),
            form_timeout: Duration::from_secs(10),
            expected_members: 0,
            min_replicas_to_write: 0,
            min_replicas_max_lag: Duration::from_secs(2),
            allow_data_loss: false,
        }
    }
}

/// A switchover that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Switched {
    /// The member whose server was primary.
    pub from: String,
    /// The member whose server is primary now.
    pub to: String,
    /// From the request until the old primary follows the new one.
    pub took: Duration,
}
