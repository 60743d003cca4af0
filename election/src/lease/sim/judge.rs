//! Judges by real time, which nobody in a world knows.

use std::time::Instant;

use super::world::{Micros, World};
use crate::{Leadership, Term};

/// What all claims to leadership have to be like together.
#[derive(Default)]
pub(super) struct Judge {
    /// Whoever looks at the larger world has to notice.
    pub(super) blind: bool,
    claims: Vec<Claim>,
    /// The term of the latest spell.
    highest: Term,
    pub(super) spells: u64,
}

/// A spell, as whoever acts by it understands it.
struct Claim {
    /// `None`: somebody else's program.
    who: Option<(usize, u64)>,
    /// Until when it may be acted by, and it may be stopped to act: by its own clock, as real time.
    end: Micros,
}

impl World {
    /// A member tells its application who leads.
    pub(super) fn judge(&mut self, n: usize, leadership: &Leadership, begins: Option<Term>) {
        if self.judge.blind {
            return;
        }
        let who = Some((n, self.nodes[n].life));
        match leadership {
            Leadership::Leading { until, .. } => {
                let until = until.expect("there is a lease");
                self.check_until(n, until);
                if let Some(term) = begins {
                    self.check_term(n, term);
                }
                let end = self.nodes[n].clock.real(until + self.fence_timeout);
                self.claim(who, end);
            }
            // It may have been told so before its lease ended.
            _ => {
                let fenced = self.nodes[n].clock.at(self.now) + self.fence_timeout;
                let fenced = self.nodes[n].clock.real(fenced);
                self.give_up(who, fenced);
            }
        }
    }

    /// Somebody leads until then, and has stopped by then.
    pub(super) fn claim(&mut self, who: Option<(usize, u64)>, end: Micros) {
        let now = self.now;
        self.judge.claims.retain(|claim| claim.end > now);
        if let Some(other) = self.judge.claims.iter().find(|claim| claim.who != who) {
            let name = |who: Option<(usize, u64)>| {
                who.map_or("the other program".into(), |(n, life)| {
                    format!("m{n} ({life})")
                })
            };
            panic!(
                "{} leads at {} ms, when {} may still act for {} us",
                name(who),
                now / 1000,
                name(other.who),
                other.end - now,
            );
        }
        match self.judge.claims.first_mut() {
            Some(claim) => claim.end = claim.end.max(end),
            None => self.judge.claims.push(Claim { who, end }),
        }
    }

    /// Somebody has stopped by then.
    pub(super) fn give_up(&mut self, who: Option<(usize, u64)>, by: Micros) {
        for claim in &mut self.judge.claims {
            if claim.who == who {
                claim.end = claim.end.min(by);
            }
        }
    }

    /// The application of a member has stopped, and says so.
    pub(super) fn stops(&mut self, n: usize) {
        let who = Some((n, self.nodes[n].life));
        self.give_up(who, self.now);
    }

    fn check_term(&mut self, n: usize, term: Term) {
        self.judge.spells += 1;
        // Nobody can know of a term that was deleted with the Lease, if versions do not order.
        if !(self.server.opaque && self.server.deleted) {
            assert!(
                term > self.judge.highest,
                "m{n} leads under {term}, after {}",
                self.judge.highest
            );
        }
        self.judge.highest = self.judge.highest.max(term);
    }

    /// A lease rests on a write of the member's own that was done, and on when it was sent.
    fn check_until(&self, n: usize, until: Instant) {
        let running = self.nodes[n].running.as_ref().expect("it publishes");
        let sent = running
            .renewed
            .unwrap_or_else(|| panic!("m{n} leads without a write"));
        assert!(
            until <= sent + self.timing.renew_deadline,
            "m{n} leads for longer than it renewed"
        );
    }
}
