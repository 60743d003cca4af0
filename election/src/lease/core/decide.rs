//! Decides what to do next about the Lease.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{
    Term,
    lease::{
        Flaw,
        core::{Call, Core, Known, Now, Pending, Plan, Purpose, Written},
        record::{Record, Snapshot, UNKNOWN, Version, WALL_LIMIT, Wall, identity},
    },
};

impl Core {
    /// What to do next, if no call is under way.
    pub(super) fn plan(&self, now: Now) -> Plan {
        let wish = self.wish(now);
        match wish {
            Plan::Now(_) if now.at < self.not_before => Plan::At(self.not_before),
            Plan::At(at) => Plan::At(at.max(self.not_before)),
            wish @ Plan::Now(_) => wish,
        }
    }

    /// The same without regard to failures.
    fn wish(&self, now: Now) -> Plan {
        if self.doubt {
            return Plan::Now(Purpose::Look { silence: false });
        }
        match &self.known {
            Known::Nothing => Plan::Now(Purpose::Look { silence: false }),
            Known::Absent(_) => match self.spell {
                Some(spell) if self.flaw == Some(Flaw::CreatesAsHolder) => {
                    Plan::Now(Purpose::Renew(spell.term))
                }
                // A leader forms one too, and writes over it: that takes nothing but a version. To
                // make one that names it could come late, under another leader, after a second
                // deletion.
                None if !self.stands() => self.look(now),
                _ => Plan::Now(Purpose::Form),
            },
            Known::Present(seen) => {
                if self.holds() {
                    self.held(now, seen)
                } else if let Some(spell) = self.spell {
                    // Over a Lease that was made in the place of a deleted one.
                    Plan::Now(Purpose::Renew(spell.term))
                } else {
                    self.wait(now, seen)
                }
            }
        }
    }

    /// The Lease names this member.
    fn held(&self, now: Now, seen: &Snapshot) -> Plan {
        let record = &seen.record;
        let unwanted = self.spoke
            && self.intent.candidacy.is_none()
            && self.flaw != Some(Flaw::KeepsTheUnwanted);
        if self.releasing || self.leaving || (self.spell.is_none() && unwanted) {
            return Plan::Now(Purpose::Release);
        }
        let Some(spell) = self.spell else {
            // A spell that ran out, or a write that was done after all; or somebody else's, which
            // it promised to respect, if this is not known to be the Lease's latest state.
            return self.acquire(now, seen, now.at);
        };
        let listed = record.listed == self.failsafe.list;
        let period = match record.card == self.intent.card {
            true if listed => self.timing.retry_period,
            // The others wait for the card that says what came of the spell.
            false if self.began => Duration::ZERO,
            _ => self.timing.retry_period / 4,
        };
        match self.wrote.map(|wrote| wrote + period) {
            // One that may have failed is repeated at once.
            Some(at) if now.at < at && self.writes.is_empty() => Plan::At(at),
            _ => Plan::Now(Purpose::Renew(spell.term)),
        }
    }

    /// Somebody else may hold the Lease, and this member does not lead.
    fn wait(&self, now: Now, seen: &Snapshot) -> Plan {
        let record = &seen.record;
        if self.is_barred(record) || !self.is_told(record) {
            return self.look(now);
        }
        self.acquire(now, seen, self.free_at(now, record))
    }

    /// To take a Lease that is free from then on, if this member wants it, and has not promised
    /// anything else.
    fn acquire(&self, now: Now, seen: &Snapshot, free_at: Instant) -> Plan {
        if !self.stands() {
            return self.look(now);
        }
        let free_at = free_at.max(self.bound_until(now.at));
        if now.at < free_at {
            return match self.look(now) {
                Plan::At(at) => Plan::At(at.min(free_at)),
                look @ Plan::Now(_) => look,
            };
        }
        let term = self.next_term(&seen.version, &seen.record);
        Plan::Now(Purpose::Acquire(term))
    }

    /// Whether a pause keeps this member from the Lease, which is then as far away as one that is
    /// renewed. What is known is the version that a write names: whoever pauses meanwhile wins.
    fn is_barred(&self, record: &Record) -> bool {
        record.paused
            && !record.is_left_to(&self.node.member)
            && self.flaw != Some(Flaw::IgnoresPauses)
    }

    /// Whether this member can know when the holder leads no more. If not, it waits until who can has
    /// taken the Lease, or its holder has released it.
    pub(super) fn is_told(&self, record: &Record) -> bool {
        record.tells(&self.node.member) || self.flaw == Some(Flaw::TakesUnlisted)
    }

    /// From when on this member may take a Lease that does not name it.
    fn free_at(&self, now: Now, record: &Record) -> Instant {
        match (&record.holder, &record.claimant) {
            _ if self.flaw == Some(Flaw::RenewsUnchecked) && self.wrote.is_some() => now.at,
            (Some(_), _) => self.expiry(now, record),
            // Nobody released it: somebody emptied it by hand, or made it after a deletion, and
            // the claimant may not know yet.
            (None, Some(_)) if self.flaw != Some(Flaw::CreatesAtOnce) => {
                self.changed + self.duration(record)
            }
            (None, _) => match &record.successor {
                Some(successor)
                    if !self.is_called(successor) && self.flaw != Some(Flaw::IgnoresSuccessors) =>
                {
                    self.changed + self.timing.retry_period
                }
                _ => now.at,
            },
        }
    }

    /// A successor may be named without its incarnation, by who does not know it.
    fn is_called(&self, successor: &str) -> bool {
        successor == self.me || successor == self.node.member
    }

    /// When to look at the Lease, if nothing else is to be done. A leader that renews is heard of
    /// by the watch; when it is silent for longer, the watch may be broken. (A leader's clock may be
    /// slower than this one, and its retry period longer.) Of a Lease that does not exist a watch
    /// shows nothing when it begins.
    fn look(&self, now: Now) -> Plan {
        let silence = (self.timing.retry_period * 2).mul_f64(1.0 + self.timing.clock_drift);
        let patience = match &self.known {
            _ if !(self.watching && self.shown) => self.timing.retry_period,
            Known::Present(seen) => silence.max(self.duration(&seen.record) / 3),
            _ => silence,
        };
        let at = self.heard + patience;
        if now.at < at {
            Plan::At(at)
        } else {
            Plan::Now(Purpose::Look { silence: true })
        }
    }

    /// Higher than all terms that this member has seen. A Lease without a term is new: then no
    /// smaller than its version, which has grown over its deletion, so that the term is higher than
    /// those that nobody who lives has seen, too. (Every spell costs a write, so no term ever gets
    /// ahead of the versions.)
    fn next_term(&self, version: &Version, record: &Record) -> Term {
        if self.flaw == Some(Flaw::KeepsTheTerm)
            && self.holds()
            && let Some(term) = record.term
        {
            return term;
        }
        let next = self.highest.next();
        match record.term {
            Some(_) => next,
            None if self.flaw == Some(Flaw::ForgetsDeletedTerms) => next,
            None => next.max(Term(version.number().unwrap_or_default())),
        }
    }

    /// Orders the call for this.
    pub(super) fn begin(&mut self, now: Now, purpose: Purpose) -> Call {
        self.call = Some(Pending {
            sent: now.at,
            purpose,
            overtaken: false,
        });
        let (version, before) = match &self.known {
            Known::Present(seen) => (Some(seen.version.clone()), (*seen.record).clone()),
            _ => (None, Record::default()),
        };
        let unversioned = match purpose {
            Purpose::Release => self.flaw == Some(Flaw::ReleasesWithoutVersion),
            _ => self.flaw == Some(Flaw::WritesWithoutVersion),
        };
        let record = match purpose {
            Purpose::Look { .. } => return Call::Read,
            Purpose::Form => return Call::Create(self.formed()),
            Purpose::Acquire(term) => self.led(now, term, true, &before),
            Purpose::Renew(term) => self.led(now, term, false, &before),
            Purpose::Release => self.released(now, &before),
        };
        match version {
            None => Call::Create(record),
            Some(_) if unversioned => Call::Write(None, record),
            Some(version) => Call::Write(Some(version), record),
        }
    }

    /// The Lease under this member, by which it begins or keeps a spell.
    fn led(&mut self, now: Now, term: Term, begins: bool, before: &Record) -> Record {
        let stamp = self.stamp(now, before);
        self.wrote = Some(now.at);
        self.began = begins;
        // What was sent earlier than this could not prolong anything any more.
        let renew_deadline = self.timing.renew_deadline;
        (self.writes).retain(|write| now.at < write.sent + renew_deadline);
        self.writes.push(Written {
            stamp,
            sent: now.at,
            term,
            begins,
        });
        let listed = self.list();
        Record {
            holder: Some(self.me.clone()),
            duration: self.timing.lease_duration,
            acquired: if begins {
                Some(now.wall)
            } else {
                before.acquired
            },
            renewed: Some(stamp),
            transitions: before.transitions.max(0).saturating_add(i32::from(begins)),
            term: Some(term),
            claimant: Some(self.me.clone()),
            card: self.intent.card.clone(),
            successor: None,
            last: Some(self.node.member.clone()),
            paused: before.paused && self.flaw != Some(Flaw::LosesPauses),
            listed,
        }
    }

    /// The Lease after this member, as client-go leaves one: empty, and a second long.
    fn released(&mut self, now: Now, before: &Record) -> Record {
        Record {
            holder: None,
            duration: Duration::from_secs(1),
            acquired: Some(now.wall),
            renewed: Some(self.stamp(now, before)),
            transitions: before.transitions.max(0),
            term: Some(self.highest),
            claimant: None,
            card: Bytes::new(),
            successor: self.successor.as_ref().map(identity),
            last: (self.flaw != Some(Flaw::ForgetsWhoHeld)).then(|| self.node.member.clone()),
            paused: before.paused,
            listed: None,
        }
    }

    /// The time of day, but later than what was written before, and than what this member wrote in
    /// vain: what others observe has to change, also if this clock was set back, and each write has
    /// to be told from all others.
    fn stamp(&mut self, now: Now, before: &Record) -> Wall {
        let floor = before.renewed.filter(|time| *time < WALL_LIMIT);
        let stamp = match floor.max(self.stamp) {
            Some(floor) if self.flaw != Some(Flaw::StampsByTheClock) => now.wall.max(floor + 1),
            _ => now.wall,
        };
        self.stamp = Some(stamp);
        stamp
    }

    /// A Lease where there is none. It was perhaps deleted under a leader, who knows nothing of it
    /// yet: nobody holds it, and it has to stay so for the whole of its duration before it is taken.
    /// Whether it was paused, nobody can know who was not there.
    fn formed(&self) -> Record {
        Record {
            duration: self.timing.lease_duration,
            claimant: Some(UNKNOWN.into()),
            ..Record::default()
        }
    }
}
