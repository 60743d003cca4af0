//! Two leaders that meet. Both comparing would not do: the ages that they know of each other
//! differ by the time a message takes, so both might stay, or both step down. Of each two, the
//! one with the smaller name judges, and the other waits for its word.

use std::time::Instant;

use super::{Core, Role, is_better};
use crate::{
    NodeId, Term,
    timestamp::{
        Flaw,
        message::{MAX_OVERRULED, Spell, Stance, State},
    },
};

impl Core {
    /// Whether this leader has to step down: by its own judgement of a bigger name, or because
    /// another member has judged.
    pub(super) fn is_beaten(&self, now: Instant, term: Term) -> bool {
        if self.has(Flaw::NeverStepsDown) {
            return false;
        }
        let mine = Spell {
            term,
            leader: self.me.clone(),
        };
        self.mesh.states().any(|(node, state)| {
            state.overruled.contains(&mine)
                || self.me < *node && leads(state) && self.is_worse_than(now, node)
        })
    }

    /// The term to rise to, if this leader's is not above all others: it has to be, so that its
    /// loser and the loser's followers can follow it. While another leads, only the judge of the
    /// two rises, or the two would outbid each other without end.
    pub(super) fn raised_term(&self, now: Instant, term: Term) -> Option<Term> {
        let overruled = self.overruled(now);
        let rival = self
            .claims()
            .any(|claim| claim.spell.leader != self.me && !overruled.contains(&claim.spell));
        let disputed = overruled.iter().any(|spell| spell.term >= term);
        (!rival && (self.highest > term || disputed)).then(|| self.highest.next())
    }

    /// The leaders that this member finds to be the worse of two.
    pub(super) fn overruled(&self, now: Instant) -> Vec<Spell> {
        let spells = self.leaders_in_sight();
        let worse: Vec<Spell> = match &self.role {
            Role::Leading { .. } => spells
                .filter(|spell| self.me < spell.leader && !self.is_worse_than(now, &spell.leader))
                .collect(),
            // Leaders that could settle it themselves had time to do so: they do not hear each
            // other, and this member hears both.
            _ if self.duel_is_overdue(now) => {
                let spells: Vec<Spell> = spells.collect();
                let best = spells
                    .iter()
                    .max_by(|a, b| self.compare(now, a, b))
                    .cloned();
                spells
                    .into_iter()
                    .filter(|spell| Some(spell) != best.as_ref())
                    .collect()
            }
            _ => Vec::new(),
        };
        worse.into_iter().take(MAX_OVERRULED).collect()
    }

    /// Keeps the time since which this member, leading nobody itself, hears several leaders.
    pub(super) fn watch_duel(&mut self, now: Instant) {
        if self.leaders_in_sight().count() < 2 {
            self.duel_since = None;
        } else {
            self.duel_since.get_or_insert(now);
        }
    }

    fn duel_is_overdue(&self, now: Instant) -> bool {
        self.duel_since
            .is_some_and(|since| now >= since + self.timing.lost_after)
    }

    fn leaders_in_sight(&self) -> impl Iterator<Item = Spell> {
        self.mesh
            .states()
            .filter_map(|(node, state)| match state.stance {
                Stance::Leading { term } => Some(Spell {
                    term,
                    leader: node.clone(),
                }),
                Stance::Following { .. } | Stance::Vacant { .. } => None,
            })
    }

    fn is_worse_than(&self, now: Instant, node: &NodeId) -> bool {
        let mine = self.candidacy(now).unwrap_or_default();
        let theirs = self.candidacy_of(now, node).unwrap_or_default();
        is_better((&theirs, node), (&mine, &self.me))
    }

    fn compare(&self, now: Instant, a: &Spell, b: &Spell) -> std::cmp::Ordering {
        let candidacy = |spell: &Spell| {
            let candidacy = self.candidacy_of(now, &spell.leader).unwrap_or_default();
            (candidacy, spell.leader.clone())
        };
        let (a, b) = (candidacy(a), candidacy(b));
        is_better((&a.0, &a.1), (&b.0, &b.1)).cmp(&is_better((&b.0, &b.1), (&a.0, &a.1)))
    }
}

fn leads(state: &State) -> bool {
    matches!(state.stance, Stance::Leading { .. })
}
