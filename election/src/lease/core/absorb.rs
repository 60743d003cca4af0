//! Takes facts in, without deciding anything that has to be done.

use std::time::Instant;

use crate::{
    NodeId,
    lease::{
        Flaw,
        core::{Action, Core, Event, Known, Pending, Purpose, Seen, Spell, Written},
        record::{Record, Snapshot, UNKNOWN},
    },
};

impl Core {
    /// Returns what has to be done at once.
    pub(super) fn absorb(&mut self, now: Instant, event: Event) -> Option<Action> {
        match event {
            Event::Tick => {}
            Event::Intent { intent, spoke } => {
                if intent.resignations != self.intent.resignations {
                    self.withdraw(intent.successor.clone());
                }
                self.intent = intent;
                self.spoke = spoke;
            }
            Event::Leave => {
                self.leaving = true;
                self.withdraw(None);
            }
            Event::Watch(watching) => {
                self.watching = watching;
                self.shown = false;
                if self.flaw == Some(Flaw::ForgetsPromises) {
                    self.failsafe.promise = None;
                }
            }
            Event::Shown(seen) => {
                self.shown = true;
                self.shown(now, seen);
            }
            Event::Answered(answer) => {
                let Some(call) = self.call.take() else {
                    unreachable!("an answer without a call");
                };
                match answer {
                    Ok(seen) => {
                        let missed = self.answered(now, call, seen);
                        return missed.then_some(Action::Rewatch);
                    }
                    Err(failure) => self.failed(now, call, failure),
                }
            }
            Event::Members(members) => self.make_known(members),
            Event::Asked(ask) => return Some(Action::Answer(self.asked(now, ask))),
            Event::Confirmed(round, member) => self.confirmed(now, round, &member),
        }
        None
    }

    fn withdraw(&mut self, successor: Option<NodeId>) {
        // Who is named stays so until the Lease is given up: an application that resigned may resign
        // again when it is told that nobody leads.
        if successor.is_some() || !self.releasing {
            self.successor = successor;
        }
        if self.flaw == Some(Flaw::LeadsOnAfterResignation) {
            return;
        }
        let writing = self.call.is_some_and(|call| !call.purpose.is_look());
        self.spell = None;
        // What became of them matters, and gives no right to lead any more.
        self.doubt |= !self.writes.is_empty();
        self.writes.clear();
        self.releasing |= writing || self.holds();
    }

    /// The watch may tell what is old already.
    fn shown(&mut self, now: Instant, seen: Seen) {
        let version = seen.version();
        if let Some(known) = self.known.version() {
            if version == Some(known) && matches!(seen, Seen::Present(_)) {
                self.heard = now;
                return;
            }
            let older = version.and_then(|version| version.is_before(known));
            if older == Some(true) && self.flaw != Some(Flaw::BelievesOldNews) {
                return;
            }
            // Who leads does not stop on a rumour: its next renewal finds out. Who follows loses
            // nothing by it, since it writes only upon the version that it believes in.
            if older.is_none() && self.spell.is_some() {
                return;
            }
            if older.is_none() && self.call.is_some() {
                self.rumour = version.cloned();
                return;
            }
        }
        if let Some(call) = &mut self.call {
            call.overtaken = true;
        }
        self.learn(now, seen);
    }

    /// Returns whether the watch has missed something.
    fn answered(&mut self, now: Instant, call: Pending, seen: Seen) -> bool {
        // To have looked before a write is no progress: a server may let us read, and never write.
        if call.purpose != (Purpose::Look { silence: false }) {
            (self.failures, self.conflicts) = (0, 0);
        }
        let rumour = self.rumour.take();
        self.doubt = false;
        self.renew_knowledge();
        if call.overtaken && self.is_older(&seen) {
            return false;
        }
        if let Seen::Present(seen) = &seen {
            self.doubt = rumour.is_some_and(|rumour| rumour != seen.version);
        }
        let before = self.changed;
        self.learn(now, seen);
        // The answer to a write is known by being that, whatever a server made of what was written.
        if !call.purpose.is_look()
            && self.holds()
            && let Some(write) = self.writes.pop()
        {
            self.acknowledge(now, write);
        }
        let silence = call.purpose == Purpose::Look { silence: true };
        let missed = silence
            && self.watching
            && self.changed != before
            && self.flaw != Some(Flaw::NeverRewatches);
        self.shown &= !missed;
        missed
    }

    /// A write was done, at some time after it was sent.
    fn acknowledge(&mut self, now: Instant, write: Written) {
        let goes_on = match self.spell {
            Some(spell) => spell.term == write.term,
            // A spell that ended meanwhile does not rise again: the application has been told.
            None => write.begins && self.stands() && !self.releasing,
        };
        let counted_from = if self.flaw == Some(Flaw::CountsFromTheAnswer) {
            now
        } else {
            write.sent
        };
        // Of writes upon one version, one is done.
        self.writes.clear();
        if goes_on || self.flaw == Some(Flaw::LeadsOnLateAnswers) {
            let until = counted_from + self.timing.renew_deadline;
            self.spell = Some(Spell {
                term: write.term,
                // What the members confirmed may last longer.
                until: (self.spell.take()).map_or(until, |spell| spell.until.max(until)),
            });
            // Whoever it was given to leads no more.
            self.failsafe.promise = None;
        }
    }

    /// Whether the watch told something newer than this while it was asked for.
    fn is_older(&self, seen: &Seen) -> bool {
        match (seen.version(), self.known.version()) {
            (Some(version), Some(known)) => version.is_before(known) == Some(true),
            // When an absence began is not told; a Lease that was shown meanwhile is rather newer.
            (None, Some(_)) => matches!(self.known, Known::Present(_)),
            (_, None) => false,
        }
    }

    /// From now on, this is how the Lease stands.
    fn learn(&mut self, now: Instant, seen: Seen) {
        self.heard = now;
        let seen = match seen {
            Seen::Present(seen) => seen,
            Seen::Absent(version) => {
                if !matches!(self.known, Known::Absent(_)) {
                    self.changed = now;
                }
                let version = version.or_else(|| self.known.version().cloned());
                self.known = Known::Absent(version);
                self.releasing = false;
                self.relist();
                return;
            }
        };
        let news = !self.is_as_known(&seen);
        if news {
            self.changed = now;
        }
        self.highest = self.highest.max(seen.record.term.unwrap_or_default());
        let stamp = seen.record.renewed;
        let moved = self.known.version() != Some(&seen.version);
        self.known = Known::Present(seen);
        if moved {
            self.relist();
        }
        if self.holds() {
            // That a write was done is as good from the watch, or from a look, as from its answer,
            // which may have been lost.
            let done = self.writes.iter().find(|write| Some(write.stamp) == stamp);
            if let Some(write) = done.copied() {
                self.acknowledge(now, write);
            }
        } else {
            self.releasing = false;
            self.writes.clear();
            if news && self.is_held() {
                // A race that was lost is over.
                self.conflicts = 0;
            }
            self.spell_is_lost();
        }
    }

    /// Whether it is the Lease that is known, and says the same. A version alone is no sign of life:
    /// anybody may move it; nor is a pause, which is no word of the holder's.
    fn is_as_known(&self, seen: &Snapshot) -> bool {
        let Known::Present(known) = &self.known else {
            return false;
        };
        let same_object = known.object == seen.object;
        let mut told = Record::clone(&seen.record);
        if self.flaw != Some(Flaw::TakesPausesForLife) {
            told.paused = known.record.paused;
        }
        *known.record == told && (same_object || self.flaw == Some(Flaw::IgnoresRemaking))
    }

    fn is_held(&self) -> bool {
        matches!(&self.known, Known::Present(known) if known.record.holder.is_some())
    }

    /// The Lease names another, or nobody. Only over a Lease that somebody emptied, or that was made
    /// in the place of a deleted one, a leader leads on: everybody else waits for its lease to end.
    fn spell_is_lost(&mut self) {
        if self.flaw == Some(Flaw::RenewsUnchecked) {
            return;
        }
        let Known::Present(known) = &self.known else {
            return;
        };
        let ours = |claimant: &String| *claimant == self.me || claimant == UNKNOWN;
        let emptied = known.record.holder.is_none();
        if !(emptied && known.record.claimant.as_ref().is_some_and(ours)) {
            self.spell = None;
        }
    }

    /// The application wants to lead, and has said so knowing that nobody does.
    pub(super) fn stands(&self) -> bool {
        let spoke = self.spoke || self.flaw == Some(Flaw::CampaignsUnasked);
        spoke && self.intent.candidacy.is_some() && !self.leaving
    }
}
