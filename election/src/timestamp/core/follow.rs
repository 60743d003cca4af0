//! Finding the leader that stands, and the right of way of a named successor.

use std::time::Instant;

use bytes::Bytes;

use super::{Core, Role, Source};
use crate::{
    NodeId,
    timestamp::{
        Flaw,
        message::{Handover, Spell, Stance},
    },
};

/// That a member leads, as heard from itself or from one that hears it.
pub(super) struct Claim {
    pub(super) spell: Spell,
    card: Bytes,
    source: Source,
}

impl Core {
    /// All claims in sight. Of a member that is heard itself, only its own word counts.
    pub(super) fn claims(&self) -> impl Iterator<Item = Claim> {
        self.mesh
            .states()
            .filter_map(|(node, state)| match &state.stance {
                Stance::Leading { term } => Some(Claim {
                    spell: Spell {
                        term: *term,
                        leader: node.clone(),
                    },
                    card: state.card.clone(),
                    source: Source::Leader,
                }),
                Stance::Following {
                    spell,
                    card: Some(card),
                } if spell.leader != self.me && self.mesh.link(&spell.leader).is_none() => {
                    Some(Claim {
                        spell: spell.clone(),
                        card: card.clone(),
                        source: Source::Witness(node.clone()),
                    })
                }
                Stance::Following { .. } | Stance::Vacant { .. } => None,
            })
    }

    /// Follows the leader that stands, if there is one, else nobody. A leader is kept for as long as
    /// it stands, whoever else claims to lead: two leaders settle it among themselves.
    pub(super) fn find_leader(&mut self, now: Instant) {
        let held = self.is_held(now);
        let kept = if held { None } else { self.kept() };
        if let Some(claim) = kept.or_else(|| self.acceptable(held)) {
            self.follow(claim);
        } else {
            self.miss_leader(now, held);
        }
        self.refuse_equal_term();
    }

    /// Nobody is heard to lead any more. A witness that is there and says so is to be believed. If
    /// it is gone, and this member never heard the leader itself, its last word counts for as long
    /// as the leader's own would: the leader may lead on, unheard of.
    fn miss_leader(&mut self, now: Instant, held: bool) {
        let Role::Following {
            source, met, hold, ..
        } = &mut self.role
        else {
            return;
        };
        let vanished = match std::mem::replace(source, Source::Nobody) {
            Source::Witness(witness) => !*met && self.mesh.link(&witness).is_none(),
            Source::Leader | Source::Nobody => false,
        };
        if vanished && !held {
            *hold = Some(now + self.timing.lost_after);
        } else if !held {
            self.vacate(now);
        }
    }

    fn follow(
        &mut self,
        Claim {
            spell,
            card,
            source,
        }: Claim,
    ) {
        if self.last.as_ref() != Some(&spell) {
            tracing::info!(leader = %spell.leader, term = %spell.term, "follows");
        }
        self.highest = self.highest.max(spell.term);
        self.last = Some(spell.clone());
        self.forming = None;
        self.handover = None;
        let met = match &self.role {
            Role::Following {
                spell: known, met, ..
            } => *met && known.leader == spell.leader,
            Role::Vacant { .. } | Role::Leading { .. } => false,
        };
        self.role = Role::Following {
            spell,
            card,
            met: met || source == Source::Leader,
            source,
            hold: None,
        };
    }

    /// The claim of the leader that is followed already.
    fn kept(&self) -> Option<Claim> {
        let Role::Following { spell, .. } = &self.role else {
            return None;
        };
        let same =
            |claim: &Claim| claim.spell.leader == spell.leader && claim.spell.term >= spell.term;
        self.claims()
            .filter(same)
            .max_by_key(|claim| (claim.spell.term, claim.source == Source::Leader))
    }

    /// The best claim that goes beyond what this member has seen; while its leader is held, only
    /// one that goes beyond that leader's.
    fn acceptable(&self, held: bool) -> Option<Claim> {
        let follows_last = |claim: &Claim| match &self.last {
            Some(last) => claim.spell.term > last.term || claim.spell == *last && !held,
            None => true,
        };
        self.claims()
            .filter(|claim| {
                claim.spell.term >= self.highest && follows_last(claim)
                    || self.has(Flaw::AcceptsOldTerms)
            })
            .max_by(|a, b| {
                let key = |claim: &Claim| (claim.spell.term, claim.source == Source::Leader);
                key(a)
                    .cmp(&key(b))
                    .then_with(|| b.spell.leader.cmp(&a.spell.leader))
            })
    }

    /// Whether the leader is still to be held for the leader, whatever others say of it: because
    /// its successor has the right of way, or because this process was stopped and has not heard
    /// it yet.
    fn is_held(&self, now: Instant) -> bool {
        let Role::Following { spell, hold, .. } = &self.role else {
            return false;
        };
        let unheard = (self.mesh.link(&spell.leader)).is_some_and(|link| link.state.is_none());
        unheard || hold.is_some_and(|until| now < until)
    }

    /// Two sides of a cut may have given one term to two leaders. After one of them, the other is
    /// followed only under a higher term: asks it to rise.
    fn refuse_equal_term(&mut self) {
        let Some(last) = &self.last else {
            return;
        };
        if !matches!(self.role, Role::Vacant { .. }) || self.highest > last.term {
            return;
        }
        let equal =
            |claim: &Claim| claim.spell.term == last.term && claim.spell.leader != last.leader;
        if self.claims().any(|claim| equal(&claim)) {
            self.highest = last.term.next();
        }
    }

    /// A leader has resigned in favour of another.
    pub(super) fn note_handover(&mut self, now: Instant, node: &NodeId, handover: &Handover) {
        let until = now + self.timing.handover_timeout;
        if handover.successor == self.me {
            let known = self
                .promise
                .as_ref()
                .is_some_and(|(term, _)| *term == handover.term);
            if !known && handover.term == self.highest {
                self.promise = Some((handover.term, until));
            }
        }
        if let Role::Following { spell, hold, .. } = &mut self.role
            && spell.leader == *node
            && spell.term == handover.term
        {
            hold.get_or_insert(until);
        }
    }

    /// Leads at once if a leader named this member its successor and nobody has led since.
    pub(super) fn take_promise(&mut self) {
        if let Some((term, _)) = self.promise
            && term == self.highest
            && self.intent.candidacy.is_some()
        {
            self.claim();
        }
    }
}
