//! All figures. `METRICS.md` says the same, which a test compares.

/// A figure and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) form: Form,
    /// Name of the label, if it has one.
    pub(super) label: Option<&'static str>,
    pub(super) text: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Counter,
    Gauge,
}

const fn gauge(name: &'static str, text: &'static str) -> Figure {
    Figure {
        name,
        form: Form::Gauge,
        label: None,
        text,
    }
}

const fn counter(name: &'static str, text: &'static str) -> Figure {
    Figure {
        form: Form::Counter,
        ..gauge(name, text)
    }
}

const fn by(label: &'static str, figure: Figure) -> Figure {
    Figure {
        label: Some(label),
        ..figure
    }
}

pub(super) const READY: Figure = gauge("bellwether_ready", "1: /readyz says so.");
pub(super) const ROLE: Figure = by(
    "role",
    gauge(
        "bellwether_role",
        "1: what the own server is, as /primary and /replica say; 0: what it is not.",
    ),
);
pub(super) const LEADER: Figure = gauge("bellwether_leader", "1: this member leads.");
pub(super) const TERM: Figure = gauge(
    "bellwether_term",
    "The term of the leadership that is known; 0: none is.",
);
pub(super) const LEASE: Figure = gauge(
    "bellwether_lease_remaining_seconds",
    "For how long this member still serves as primary, if it does not renew; 0: it does not serve.",
);
pub(super) const UP: Figure = gauge("bellwether_server_up", "1: the own server answers.");
pub(super) const FENCED: Figure = gauge(
    "bellwether_server_fenced",
    "1: the own server is a replica of nowhere: it refuses writes and copies nobody.",
);
pub(super) const KEYS: Figure = gauge(
    "bellwether_server_keys",
    "Keys of the own server, in all databases.",
);
pub(super) const OFFSET: Figure = gauge(
    "bellwether_server_offset_bytes",
    "How far the own server is in its history of writes.",
);
pub(super) const LAG: Figure = gauge(
    "bellwether_lag_bytes",
    "How far the own server is behind the primary; absent unless it is a linked replica and that is known.",
);
pub(super) const MEMBERS: Figure = gauge(
    "bellwether_members",
    "Members that are known, this one included.",
);
pub(super) const MEMBER_UP: Figure = by(
    "member",
    gauge(
        "bellwether_member_up",
        "1: the other member's server answers.",
    ),
);
pub(super) const MEMBER_LAG: Figure = by(
    "member",
    gauge(
        "bellwether_member_lag_bytes",
        "How far the other member's server is behind the own one; absent unless the own one serves, and the two have a common history.",
    ),
);
pub(super) const DECISIONS: Figure = by(
    "kind",
    counter("bellwether_decisions_total", "Decisions, as in /status."),
);
pub(super) const REFUSALS: Figure = by(
    "reason",
    counter(
        "bellwether_refusals_total",
        "Times this member did not stand, did not promote its server, or led no more.",
    ),
);
pub(super) const FAILOVERS: Figure = by(
    "cause",
    counter(
        "bellwether_failovers_total",
        "Times the own server became primary although nobody had planned it, by what became of the former one.",
    ),
);
pub(super) const SWITCHOVERS: Figure = by(
    "result",
    counter(
        "bellwether_switchovers_total",
        "Planned hand-overs by this member, those of its orderly end included.",
    ),
);
pub(super) const SWITCHOVERS_TOOK: Figure = counter(
    "bellwether_switchover_seconds_total",
    "How long the hand-overs that succeeded took in all.",
);
pub(super) const FENCES: Figure = by(
    "whose",
    counter(
        "bellwether_fences_total",
        "Servers fenced because they should not be writable.",
    ),
);
pub(super) const DROPPED: Figure = counter(
    "bellwether_dropped_bytes_total",
    "Bytes of writes that were given up with the own dataset, as far as that can be told.",
);
pub(super) const PAUSED: Figure = gauge(
    "bellwether_paused",
    "1: automatic failover is paused, for the whole group.",
);
pub(super) const FAILSAFE: Figure = by(
    "state",
    gauge(
        "bellwether_failsafe",
        "1 for each state that failsafe is in; absent without --failsafe.",
    ),
);
pub(super) const CALLS: Figure = by(
    "result",
    counter(
        "bellwether_api_calls_total",
        "Calls of the election to the Kubernetes API.",
    ),
);
pub(super) const ANSWERED: Figure = gauge(
    "bellwether_api_answered_seconds",
    "How long ago the Kubernetes API last answered the election, or told of the Lease by itself; absent before the first.",
);
pub(super) const EVENTS: Figure = by(
    "result",
    counter(
        "bellwether_events_total",
        "Kubernetes Events that the API has taken, and that were given up.",
    ),
);
