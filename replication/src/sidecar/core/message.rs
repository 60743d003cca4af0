//! What the core hears and what it orders.

use std::{collections::BTreeMap, time::Instant};

use bellwether_election::{Leadership, NodeId, Peer, Rank};

use super::super::Switched;
use crate::{Address, Card, Clients, Inspection, Kind, MinReplicas, Passport, View};

/// Something became known.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The election says who leads.
    Leadership(Leadership),
    /// The election says who else is there.
    Peers(BTreeMap<NodeId, Peer>),
    /// Discovery says who else there is, and where their servers are.
    Members(BTreeMap<String, Address>),
    /// An operator wants that no other server becomes primary by itself, or does so no more.
    Paused(bool),
    /// The connection to the own server was lost.
    Lost,
    /// An [`Action::Ask`] was answered, or not.
    Answer {
        who: Who,
        asked: Instant,
        answer: Box<Result<Inspection, String>>,
    },
    /// An [`Action::Order`] ended.
    Done(Result<(), String>),
    /// An [`Action::FenceMember`] ended.
    Fenced {
        member: String,
        result: Result<(), String>,
    },
    /// Somebody wants another primary; by name or whoever fits best.
    Switchover { to: Option<String> },
    /// This member is to end.
    Leave,
    /// [`Core::wake_at`] has come.
    Tick,
}

/// A server that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Own,
    Member { name: String, address: Address },
}

/// What the own server is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Promote(Passport),
    /// Write this passport into its dataset.
    Stamp(Passport),
    /// Refuse writes, while it is a primary, without so many replicas.
    DemandReplicas(MinReplicas),
    Follow(Address),
    Fence(Clients),
    PauseWrites,
    ResumeWrites,
}

/// Something to be done by the shell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Campaign(Rank),
    Resign(Option<NodeId>),
    Announce(Card),
    /// Inspect a server and report an [`Event::Answer`], in bounded time.
    Ask(Who),
    /// Tell the own server and report [`Event::Done`], in bounded time.
    Order(Order),
    /// Fence another member's server and report [`Event::Fenced`], in bounded time.
    FenceMember {
        member: String,
        address: Address,
    },
    Publish(View),
    /// Tell the operator what was decided and why.
    Explain(Decision),
    SwitchoverEnded(Result<Switched, String>),
    /// The member may end now.
    Left,
}

/// What was decided, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) kind: Kind,
    pub(crate) what: String,
    pub(crate) why: String,
    /// Whether an operator should look at it.
    pub(crate) grave: bool,
}

impl Order {
    pub(super) fn verb(&self) -> &'static str {
        match self {
            Self::Promote(_) => "promote",
            Self::Stamp(_) => "write the passport",
            Self::DemandReplicas(_) => "demand replicas",
            Self::Follow(_) => "follow",
            Self::Fence(_) => "fence",
            Self::PauseWrites => "pause writes",
            Self::ResumeWrites => "resume writes",
        }
    }
}
