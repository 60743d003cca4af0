//! Takes facts in, without deciding anything that has to be done.

use std::time::{Duration, Instant};

use crate::{
    NodeId,
    lease::{
        Flaw,
        core::{Core, Event, Failure, Known, Pending, Purpose, Seen, Spell, Written},
        record::{Snapshot, UNKNOWN},
    },
};

impl Core {
    /// Returns whether the watch has missed something.
    pub(super) fn absorb(&mut self, now: Instant, event: Event) -> bool {
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
            }
            Event::Shown(seen) => {
                self.shown = true;
                self.shown(now, seen);
            }
            Event::Answered(answer) => {
                let Some(call) = self.call.take() else {
                    unreachable!("an answer without a call");
                };
                return match answer {
                    Ok(seen) => self.answered(now, call, seen),
                    Err(failure) => {
                        self.failed(now, call, failure);
                        false
                    }
                };
            }
        }
        false
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
        self.writes.clear();
        self.releasing |= writing || self.holds();
    }

    /// The watch may tell what is old already.
    fn shown(&mut self, now: Instant, seen: Seen) {
        let version = match &seen {
            Seen::Present(snapshot) => Some(&snapshot.version),
            Seen::Absent(version) => version.as_ref(),
        };
        if let Known::Present(known) = &self.known {
            if version == Some(&known.version) {
                self.heard = now;
                return;
            }
            let older = version.and_then(|version| version.is_before(&known.version));
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
            self.spell = Some(Spell {
                term: write.term,
                until: counted_from + self.timing.renew_deadline,
            });
        }
    }

    fn is_older(&self, seen: &Seen) -> bool {
        match (seen, &self.known) {
            (Seen::Present(seen), Known::Present(known)) => {
                seen.version.is_before(&known.version) == Some(true)
            }
            // What is newer than an absence cannot be told.
            (Seen::Absent(_), Known::Present(_)) => true,
            _ => false,
        }
    }

    /// From now on, this is how the Lease stands.
    fn learn(&mut self, now: Instant, seen: Seen) {
        self.heard = now;
        let Seen::Present(seen) = seen else {
            if !matches!(self.known, Known::Absent) {
                self.changed = now;
            }
            self.known = Known::Absent;
            self.releasing = false;
            return;
        };
        if !self.is_as_known(&seen) {
            self.changed = now;
        }
        self.highest = self.highest.max(seen.record.term.unwrap_or_default());
        let stamp = seen.record.renewed;
        self.known = Known::Present(seen);
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
            self.spell_is_lost();
        }
    }

    /// Whether it is the Lease that is known, and says the same. A version alone is no sign of life:
    /// anybody may move it.
    fn is_as_known(&self, seen: &Snapshot) -> bool {
        let Known::Present(known) = &self.known else {
            return false;
        };
        let same_object = known.object == seen.object;
        known.record == seen.record && (same_object || self.flaw == Some(Flaw::IgnoresRemaking))
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

    fn failed(&mut self, now: Instant, call: Pending, failure: Failure) {
        let pause = self.pause(failure);
        let mut pause = self.draw_out(pause);
        if self.flaw == Some(Flaw::RetriesAtOnce) {
            pause = Duration::ZERO;
        }
        // What was waited for the answer counts; a refusal's wait begins with it.
        let from = match failure {
            Failure::Lost => call.sent,
            _ => now,
        };
        self.not_before = now.max(from + pause);
        let retry_period = self.timing.retry_period;
        if let Some(spell) = self.spell {
            // One more try has to fit into the lease.
            let last = spell.until.checked_sub(retry_period).unwrap_or(now);
            self.not_before = self.not_before.min(last.max(now + retry_period / 4));
        }
        self.doubt |= self.is_unsure(call.purpose, failure);
    }

    /// For how long a failure makes this member wait.
    fn pause(&mut self, failure: Failure) -> Duration {
        let retry_period = self.timing.retry_period;
        // A leader has no time to lose.
        let longest = match self.spell {
            Some(_) => retry_period / 4,
            None => retry_period,
        };
        let stepped = |row: u32| (retry_period / 16 * 2u32.pow(row.min(5) - 1)).min(longest);
        if failure == Failure::Conflict {
            self.conflicts = self.conflicts.saturating_add(1);
            self.failures = 0;
            // What has changed is found out at once, if it was the first time.
            return match self.conflicts {
                1 => Duration::ZERO,
                row => stepped(row),
            };
        }
        self.failures = self.failures.saturating_add(1);
        let pause = stepped(self.failures).max(retry_period / 4);
        match failure {
            Failure::Conflict | Failure::Lost => pause,
            Failure::Busy(wanted) => {
                let wanted = wanted.unwrap_or_default();
                pause.max(wanted.min(self.timing.renew_deadline))
            }
            Failure::Denied if self.spell.is_some() => retry_period,
            Failure::Denied => retry_period * 10,
        }
    }

    /// Whether the Lease has to be looked at before the next write.
    fn is_unsure(&self, purpose: Purpose, failure: Failure) -> bool {
        match (purpose, failure) {
            (Purpose::Look { .. }, _) => false,
            (_, Failure::Conflict) => true,
            // With or without it, the Lease names this member: the next one finds out.
            (Purpose::Renew(_), Failure::Lost) => !self.holds(),
            (_, Failure::Lost) => true,
            // Refused for now, and refused for good, leave what is known as it was.
            (_, Failure::Busy(_) | Failure::Denied) => false,
        }
    }

    /// The time, and up to a share of it more, so that members do not act in step.
    pub(super) fn draw_out(&mut self, time: Duration) -> Duration {
        time.mul_f64(1.0 + self.timing.jitter * self.random.f64())
    }

    /// The application wants to lead, and has said so knowing that nobody does.
    pub(super) fn stands(&self) -> bool {
        let spoke = self.spoke || self.flaw == Some(Flaw::CampaignsUnasked);
        spoke && self.intent.candidacy.is_some() && !self.leaving
    }
}
