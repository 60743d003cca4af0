//! Leading through an outage of the API, by what the members confirm.
//!
//! A leader whose renewals fail asks everybody whom the Lease may list. Who confirms promises to
//! take the Lease from nobody for as long as a lease lasts, by its own clock, from the question on.
//! When all have confirmed one round, the leader's lease counts from the beginning of that round: a
//! promise stands for what an unchanged Lease stands for otherwise, and the times relate in the same
//! way. Who is not listed never takes the Lease from its holder. A promise dies with its process:
//! who starts anew has to see the Lease unchanged for as long as a promise lasts.
//!
//! So who writes to take the Lease from a holder knows that its spell is over, and a spell that is
//! over never rises again. That is why a late write of such a member can do no harm to a leader that
//! is confirmed.

use std::{collections::BTreeSet, time::Instant};

use bytes::Bytes;

use crate::{
    NodeId, Term,
    lease::{
        Flaw,
        core::{Action, Core, Known, Now},
        failsafe::{Ask, Confirming, Refusal, Verdict},
        record::{Record, identity, write_list},
        status::Listing,
    },
};

/// What a core knows of failsafe, both as one that asks and as one that is asked.
#[derive(Debug, Default)]
pub(super) struct Failsafe {
    /// Whom this member lists when it leads, itself included; `None` if nobody may be listed.
    pub(super) list: Option<BTreeSet<String>>,
    /// Whether members are made known at all.
    on: bool,
    /// Whoever is listed in the Lease as it stands, or would be by a write that may have been done.
    /// `None` if it may list nobody, and be taken by anybody.
    listed: Option<BTreeSet<String>>,
    round: Option<Round>,
    /// Counts rounds, so that no answer is taken for that of another one.
    rounds: u64,
    /// Who did not confirm the last round that is over.
    silent: BTreeSet<String>,
    pub(super) promise: Option<Promise>,
    /// The term of a promise that is over, until the Lease has been looked at.
    outlived: Option<Term>,
}

/// All are asked at once.
#[derive(Debug)]
struct Round {
    number: u64,
    term: Term,
    begun: Instant,
    missing: BTreeSet<String>,
}

/// Until then, the Lease is not taken from anybody.
#[derive(Clone, Debug)]
pub(super) struct Promise {
    pub(super) leader: NodeId,
    pub(super) term: Term,
    pub(super) card: Bytes,
    pub(super) until: Instant,
}

impl Core {
    /// Takes over whom discovery knows.
    pub(super) fn make_known(&mut self, peers: BTreeSet<String>) {
        let mut all = peers;
        all.insert(self.node.member.clone());
        self.failsafe.on = true;
        self.failsafe.list = is_sane(&all).then_some(all);
    }

    /// A write is about to be sent that lists these, and may be done at any time.
    pub(super) fn list(&mut self) -> Option<BTreeSet<String>> {
        let list = self.failsafe.list.clone();
        let before = self.failsafe.listed.take();
        self.failsafe.listed = match (before, &list) {
            (before, _) if self.flaw == Some(Flaw::AsksWhomItReadOf) => before,
            (Some(_), list) if self.flaw == Some(Flaw::AsksWhomItWrote) => list.clone(),
            (Some(before), Some(list)) => Some(&before | list),
            // With it or without it, there may be no list.
            _ => None,
        };
        list
    }

    /// The Lease has another version than was known, so that no earlier write can be done any more.
    pub(super) fn relist(&mut self) {
        self.failsafe.listed = match &self.known {
            Known::Present(seen) if self.holds() => seen.record.listed.clone(),
            _ => None,
        };
        if let Known::Present(seen) = &self.known
            && seen.record.is_released()
            && (self.failsafe.promise.as_ref()).is_some_and(|it| seen.record.term >= Some(it.term))
        {
            // The leader that asked for it, or a later one, gave the Lease up.
            self.failsafe.promise = None;
        }
    }

    /// Whom to ask now, if renewals fail and somebody is listed.
    fn doubted(&self) -> Option<&BTreeSet<String>> {
        let fails = self.failures > 0 && self.spell.is_some() && self.holds();
        let listed = self.failsafe.listed.as_ref().filter(|_| fails)?;
        listed
            .iter()
            .any(|name| *name != self.node.member)
            .then_some(listed)
    }

    /// Begins a round if it is time to.
    pub(super) fn ask(&mut self, now: Instant) -> Option<Action> {
        let Some(listed) = self.doubted() else {
            self.failsafe.round = None;
            self.failsafe.silent.clear();
            return None;
        };
        if self.ask_at(now) > now {
            return None;
        }
        let mut others = listed.clone();
        others.remove(&self.node.member);
        let term = self.spell.expect("who asks leads").term;
        let failsafe = &mut self.failsafe;
        failsafe.rounds += 1;
        let round = Round {
            number: failsafe.rounds,
            term,
            begun: now,
            missing: others.clone(),
        };
        if let Some(over) = failsafe.round.replace(round) {
            failsafe.silent = over.missing;
        }
        let ask = Ask {
            leader: self.node.clone(),
            term,
            card: self.intent.card.clone(),
            promise: self.timing.lease_duration,
        };
        Some(Action::Ask(self.failsafe.rounds, ask, others))
    }

    /// When the next round begins, if one has to.
    fn ask_at(&self, now: Instant) -> Instant {
        let term = self.spell.map(|spell| spell.term);
        match &self.failsafe.round {
            Some(round) if Some(round.term) == term => round.begun + self.timing.retry_period,
            _ => now,
        }
    }

    /// The same for a timer.
    pub(super) fn asks_at(&self, now: Instant) -> Option<Instant> {
        self.doubted().map(|_| self.ask_at(now))
    }

    /// A member has promised what a round asked for.
    pub(super) fn confirmed(&mut self, now: Instant, number: u64, member: &str) {
        let (Some(round), Some(spell)) = (&mut self.failsafe.round, &mut self.spell) else {
            return;
        };
        let other = round.number != number && self.flaw != Some(Flaw::MixesRounds);
        if other || round.term != spell.term {
            return;
        }
        round.missing.remove(member);
        let enough = usize::from(self.flaw == Some(Flaw::ForgivesTheSilent));
        if round.missing.len() > enough {
            return;
        }
        let counted_from = if self.flaw == Some(Flaw::CountsFromTheConfirmation) {
            now
        } else {
            round.begun
        };
        // What the API acknowledged may last longer.
        spell.until = spell.until.max(counted_from + self.timing.renew_deadline);
    }

    /// A leader asks this member to confirm it, and is answered.
    pub(super) fn asked(&mut self, now: Instant, ask: Ask) -> Verdict {
        if let Some(refusal) = self.refusal(now, &ask) {
            return Verdict::Refused(refusal);
        }
        if self.writes.iter().any(|write| write.begins) {
            // They were decided on a Lease that this leader has written over.
            self.writes.clear();
            self.doubt = true;
        }
        self.highest = self.highest.max(ask.term);
        let until = now + ask.promise;
        let earlier = self.failsafe.promise.take();
        self.failsafe.promise = Some(Promise {
            until: earlier.map_or(until, |earlier| earlier.until.max(until)),
            leader: ask.leader,
            term: ask.term,
            card: ask.card,
        });
        Verdict::Confirmed
    }

    /// None of this can be asked by a leader whose lease lasts, if nobody has meddled with the
    /// Lease: then it is better to be wrong on this side.
    fn refusal(&self, now: Instant, ask: &Ask) -> Option<Refusal> {
        if self.spell.is_some() {
            return Some(Refusal::Leads);
        }
        let superseded = Some(Refusal::Superseded(self.highest));
        if ask.term < self.highest {
            return superseded;
        }
        let known = self
            .record()
            .filter(|record| record.term == Some(ask.term))?;
        let other = (known.holder.as_ref()).is_some_and(|holder| *holder != identity(&ask.leader));
        if other || known.is_released() {
            return superseded;
        }
        let taking = |sent: Instant| now < sent + self.timing.renew_deadline;
        let mut begun = self.writes.iter().filter(|write| write.begins);
        begun
            .any(|write| taking(write.sent))
            .then_some(Refusal::Takes)
    }

    /// After a promise, what is known of the Lease may be older than that: then it is looked at.
    pub(super) fn end_promise_in_time(&mut self, now: Instant) {
        let promise = &mut self.failsafe.promise;
        let Some(over) = promise.take_if(|promise| now >= promise.until) else {
            return;
        };
        if self
            .record()
            .is_none_or(|record| record.term < Some(over.term))
        {
            self.failsafe.outlived = Some(over.term);
            self.doubt = true;
        }
    }

    /// The Lease has been looked at.
    pub(super) fn renew_knowledge(&mut self) {
        self.failsafe.outlived = None;
    }

    /// Whether a leader of this term was followed by one whose end this member has seen.
    pub(super) fn is_outlived(&self, term: Term) -> bool {
        self.failsafe.outlived.is_some_and(|over| term < over)
    }

    /// The promise that binds this member.
    pub(super) fn promised(&self, now: Instant) -> Option<&Promise> {
        let promise = self.failsafe.promise.as_ref();
        promise.filter(|promise| now < promise.until)
    }

    /// Until when it binds; the beginning of time if there is none.
    pub(super) fn bound_until(&self, now: Instant) -> Instant {
        match self.promised(now) {
            Some(promise) if self.flaw != Some(Flaw::IgnoresPromises) => promise.until,
            _ => now,
        }
    }

    fn record(&self) -> Option<&Record> {
        match &self.known {
            Known::Present(seen) => Some(&seen.record),
            _ => None,
        }
    }

    /// Whether this member is kept from the Lease because the holder's list does not name it.
    pub(crate) fn listing(&self, now: Now) -> Listing {
        let leads = self.spell.is_some() || self.holds();
        match self.record() {
            Some(record) if !leads && !self.is_told(record) => {
                match now.at < self.expiry(now, record) {
                    true => Listing::Unlisted,
                    false => Listing::Stranded,
                }
            }
            _ => Listing::Open,
        }
    }

    /// How failsafe stands; `None` if it is off.
    pub(crate) fn confirming(&self, now: Instant) -> Option<Confirming> {
        if !self.failsafe.on {
            return None;
        }
        let listed = self
            .failsafe
            .listed
            .as_ref()
            .filter(|_| self.spell.is_some());
        Some(Confirming {
            members: listed.into_iter().flatten().cloned().collect(),
            asking: self.failsafe.round.is_some(),
            silent: self.failsafe.silent.iter().cloned().collect(),
            promised_to: self
                .promised(now)
                .map(|promise| promise.leader.member.clone()),
        })
    }
}

/// Whether these may be listed: somebody else is there, and what is written can be read again.
fn is_sane(list: &BTreeSet<String>) -> bool {
    list.len() > 1 && crate::lease::record::read_list(&write_list(list)) == *list
}
