//! What members tell each other: a snapshot of all that others need to know, so that the latest
//! one wins and lost, repeated or late ones do no harm.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{MAX_CARD, MAX_RANK, NodeId, Rank, Term};

/// A host and a port that a member can be dialled at.
pub(crate) type Address = (String, u16);

/// A member's name or host is at most this long, in bytes.
pub(crate) const MAX_NAME: usize = 255;

/// Leaders that one snapshot overrules, at most: a bound for the wire, more are overruled later.
pub(crate) const MAX_OVERRULED: usize = 8;

/// No honest group reaches this term; a snapshot beyond it is garbage.
const MAX_TERM: Term = Term(1 << 62);

/// One member's snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Grows with each snapshot of one incarnation, so that a late one is known as such.
    pub(crate) sequence: u64,
    /// The highest term seen.
    pub(crate) highest: Term,
    pub(crate) stance: Stance,
    pub(crate) candidacy: Option<Candidacy>,
    /// The resignation of the sender that the others should know of.
    pub(crate) handover: Option<Handover>,
    /// Leaders that the sender has judged and found to be the worse of two: they step down.
    pub(crate) overruled: Vec<Spell>,
    /// This is the sender's last snapshot.
    pub(crate) leaving: bool,
    pub(crate) card: Bytes,
}

/// How a member stands to leadership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stance {
    Vacant {
        /// The application has said in this vacancy whether it stands.
        spoke: bool,
        vote: Option<Vote>,
    },
    Following {
        spell: Spell,
        /// The leader's card, if the sender hears the leader itself. Only such a sender vouches for
        /// the leader to those who cannot reach it.
        card: Option<Bytes>,
    },
    Leading {
        term: Term,
    },
}

/// One spell of leadership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spell {
    pub(crate) term: Term,
    pub(crate) leader: NodeId,
}

/// A member's one vote for a term.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Vote {
    pub(crate) term: Term,
    pub(crate) choice: NodeId,
}

/// A leader's wish about who comes next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handover {
    /// The term that ended.
    pub(crate) term: Term,
    pub(crate) successor: NodeId,
}

/// Standing for leadership.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Candidacy {
    pub(crate) rank: Rank,
    /// For how long the member had stood without break when it said so.
    pub(crate) age: Duration,
}

impl State {
    /// Whether every part is within the bounds that honest members keep.
    pub(crate) fn is_sane(&self) -> bool {
        let (terms, nodes): (Vec<Term>, Vec<&NodeId>) = match &self.stance {
            Stance::Vacant { vote, .. } => vote.iter().map(|v| (v.term, &v.choice)).unzip(),
            Stance::Following { spell, .. } => (vec![spell.term], vec![&spell.leader]),
            Stance::Leading { term } => (vec![*term], vec![]),
        };
        let relayed = match &self.stance {
            Stance::Following { card, .. } => card.as_ref().map_or(0, Bytes::len),
            Stance::Vacant { .. } | Stance::Leading { .. } => 0,
        };
        self.highest < MAX_TERM
            && terms.iter().all(|term| *term < MAX_TERM)
            && nodes.iter().all(|node| is_sane(node))
            && self.handover.iter().all(|h| is_sane(&h.successor))
            && self.overruled.len() <= MAX_OVERRULED
            && self.overruled.iter().all(|spell| is_sane(&spell.leader))
            && self.card.len() <= MAX_CARD
            && relayed <= MAX_CARD
            && (self.candidacy.iter()).all(|candidacy| candidacy.rank.0.len() <= MAX_RANK)
    }

    /// The highest term that this snapshot tells of.
    pub(crate) fn highest(&self) -> Term {
        let term = match &self.stance {
            Stance::Vacant { .. } => self.highest,
            Stance::Following { spell, .. } => spell.term,
            Stance::Leading { term } => *term,
        };
        self.highest.max(term)
    }

    /// Whether the application of the sender stands in the present vacancy.
    pub(crate) fn stands(&self) -> bool {
        self.candidacy.is_some() && matches!(self.stance, Stance::Vacant { spoke: true, .. })
    }
}

/// Whether a node's name is within bounds.
pub(crate) fn is_sane(node: &NodeId) -> bool {
    !node.member.is_empty() && node.member.len() <= MAX_NAME
}
