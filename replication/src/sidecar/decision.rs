use serde::Serialize;

/// What a decision is about, for who counts or reports decisions.
///
/// Deliberately exhaustive: who reports them has to choose what becomes of a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// This member does not stand for leadership.
    Abstain {
        /// Why.
        reason: Refusal,
    },
    /// It was to lead, and gives that up without having promoted its server.
    Refuse {
        /// Why.
        reason: Refusal,
    },
    /// It led with a verified primary, and gives that up.
    Resign {
        /// Why.
        reason: Refusal,
    },
    /// The own server is told to become primary.
    Promote,
    /// The own server is a verified primary from now on.
    Serve {
        /// What became of the former one.
        cause: Cause,
    },
    /// A server is told to refuse writes until it is told otherwise.
    Fence {
        /// Which.
        whose: Whose,
    },
    /// The own server is told to copy another one.
    Follow,
    /// The own server is told to copy nobody, because its primary is gone.
    Detach,
    /// The own server was found writable, and is kept for the data that it has.
    Adopt,
    /// A passport is written into the own dataset.
    Stamp,
    /// The own server, while it is primary, is told to refuse writes without replicas.
    Demand,
    /// The own server is primary and refuses writes, because replicas are missing.
    Starve,
    /// Writes are given up that no other server has: the own dataset is about to be replaced.
    Drop {
        /// How much, in bytes of the replication stream; `None` if that cannot be told, because the
        /// datasets have no common history.
        bytes: Option<u64>,
    },
    /// A planned change of primary begins.
    HandOver,
    /// The successor serves, and this server follows it.
    HandedOver,
    /// A planned change of primary came to nothing.
    Keep,
    /// What should be done might lose data, so that it waits for others or for an operator.
    Wait,
    /// A server did not do what it was told.
    Fail,
}

impl Kind {
    /// All words of [`name`](Self::name).
    pub const NAMES: [&str; 18] = [
        "abstain",
        "refuse",
        "resign",
        "promote",
        "serve",
        "fence",
        "follow",
        "detach",
        "adopt",
        "stamp",
        "demand",
        "starve",
        "drop",
        "hand_over",
        "handed_over",
        "keep",
        "wait",
        "fail",
    ];

    /// A word for it, as labels of metrics have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Abstain { .. } => "abstain",
            Self::Refuse { .. } => "refuse",
            Self::Resign { .. } => "resign",
            Self::Promote => "promote",
            Self::Serve { .. } => "serve",
            Self::Fence { .. } => "fence",
            Self::Follow => "follow",
            Self::Detach => "detach",
            Self::Adopt => "adopt",
            Self::Stamp => "stamp",
            Self::Demand => "demand",
            Self::Starve => "starve",
            Self::Drop { .. } => "drop",
            Self::HandOver => "hand_over",
            Self::HandedOver => "handed_over",
            Self::Keep => "keep",
            Self::Wait => "wait",
            Self::Fail => "fail",
        }
    }
}

/// Why a member does not lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Its server does not answer, or was restarted.
    ServerDown,
    /// Its server loads, syncs, or has the priority 0.
    Unfit,
    /// Somebody made its server a replica, or has just fenced it.
    Demoted,
    /// Another member's dataset goes before its own.
    Behind,
    /// Its server is empty and another one is not.
    Empty,
    /// Its server's dataset is another group's.
    Foreign,
    /// It cannot be told yet whether its dataset is the latest.
    Undecided,
    /// Its server may or may not have done what it was told.
    InDoubt,
    /// Its leadership was not renewed in time.
    Lapsed,
    /// It ends.
    Leaving,
    /// It has handed over, as planned.
    HandedOver,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::ServerDown,
        Self::Unfit,
        Self::Demoted,
        Self::Behind,
        Self::Empty,
        Self::Foreign,
        Self::Undecided,
        Self::InDoubt,
        Self::Lapsed,
        Self::Leaving,
        Self::HandedOver,
    ];

    /// A word for it, as labels of metrics have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ServerDown => "server_down",
            Self::Unfit => "unfit",
            Self::Demoted => "demoted",
            Self::Behind => "behind",
            Self::Empty => "empty",
            Self::Foreign => "foreign",
            Self::Undecided => "undecided",
            Self::InDoubt => "in_doubt",
            Self::Lapsed => "lapsed",
            Self::Leaving => "leaving",
            Self::HandedOver => "handed_over",
        }
    }
}

/// What became of the former primary when another server, or the same one again, was promoted: as
/// far as the member knows that did so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// None was known.
    First,
    /// Its agent had fenced it just before and gave up leadership, while it still answers: as in a
    /// planned switchover.
    HandedOver,
    /// It does not answer, or was restarted.
    ServerDown,
    /// It answers, but its agent did not keep the leadership: because it died, hangs, or cannot reach
    /// what it leads by.
    LeaderLost,
    /// It is the own server, promoted again: it was restarted, or leadership was lost and came back.
    Regained,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::First,
        Self::HandedOver,
        Self::ServerDown,
        Self::LeaderLost,
        Self::Regained,
    ];

    /// Whether that was a failover: nobody had planned it.
    #[must_use]
    pub fn is_failover(self) -> bool {
        match self {
            Self::First | Self::HandedOver => false,
            Self::ServerDown | Self::LeaderLost | Self::Regained => true,
        }
    }

    /// A word for it, as labels of metrics have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::HandedOver => "handed_over",
            Self::ServerDown => "server_down",
            Self::LeaderLost => "leader_lost",
            Self::Regained => "regained",
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::First => "no former primary is known",
            Self::HandedOver => "the former primary was fenced in good order",
            Self::ServerDown => "the server of the former primary is down",
            Self::LeaderLost => "the agent of the former primary lost leadership",
            Self::Regained => "it was primary before itself",
        }
    }
}

/// A server, as seen from an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// The one beside it.
    Own,
    /// Another member's.
    Other,
}
