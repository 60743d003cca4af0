//! Takes facts in, without deciding anything that has to be done.

use std::time::{Duration, Instant};

use crate::{
    Term,
    lease::{
        Flaw,
        core::{Core, Event, Failure, Known, Pending, Purpose, Seen, Spell},
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
                    self.withdraw();
                }
                self.intent = intent;
                self.spoke = spoke;
            }
            Event::Leave => {
                self.leaving = true;
                self.withdraw();
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

    fn withdraw(&mut self) {
        let writing = self.call.is_some_and(|call| !call.purpose.is_look());
        self.spell = None;
        self.releasing = writing || self.holds();
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
            if older == Some(true) {
                return;
            }
            // Who may lead does not stop on a rumour; who follows loses nothing by it, since it
            // writes only upon the version that it believes in.
            if older.is_none() && self.call.is_some() {
                self.rumour = version.cloned();
                return;
            }
            if older.is_none() && self.spell.is_some() {
                self.doubt = true;
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
        self.failures = 0;
        if call.overtaken && self.is_older(&seen) {
            return false;
        }
        let before = self.changed;
        let rumour = self.rumour.take();
        self.doubt = match &seen {
            Seen::Present(seen) => rumour.is_some_and(|rumour| rumour != seen.version),
            Seen::Absent(_) => false,
        };
        self.learn(now, seen);
        let (Purpose::Acquire(term) | Purpose::Renew(term)) = call.purpose else {
            let silence = call.purpose == Purpose::Look { silence: true };
            let missed = silence && self.watching && self.changed != before;
            self.shown &= !missed;
            return missed;
        };
        self.led_by(now, call, term);
        false
    }

    /// This member's write for a spell of this term was done.
    fn led_by(&mut self, now: Instant, call: Pending, term: Term) {
        let counted_from = if self.flaw == Some(Flaw::CountsFromTheAnswer) {
            now
        } else {
            call.sent
        };
        let until = counted_from + self.timing.renew_deadline;
        let goes_on = match call.purpose {
            // A spell that ended meanwhile does not rise again: the application has been told.
            Purpose::Renew(_) => self.spell.is_some_and(|spell| spell.term == term),
            _ => self.stands() && !self.releasing,
        };
        let goes_on = goes_on || self.flaw == Some(Flaw::LeadsOnLateAnswers);
        if goes_on && self.holds() {
            self.spell = Some(Spell { term, until });
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
        self.known = Known::Present(seen);
        if !self.holds() {
            self.releasing = false;
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
        self.failures = self.failures.saturating_add(1);
        let retry_period = self.timing.retry_period;
        let stepped = (retry_period / 16 * 2u32.pow(self.failures.min(5) - 1)).min(retry_period);
        let pause = match failure {
            // What has changed is found out at once, if it was the first time.
            Failure::Conflict if self.failures == 1 => Duration::ZERO,
            Failure::Conflict => stepped,
            Failure::Busy(Some(wanted)) => wanted.min(self.timing.renew_deadline),
            Failure::Busy(None) | Failure::Lost => stepped.max(retry_period / 4),
            Failure::Denied if self.spell.is_some() => retry_period,
            Failure::Denied => retry_period * 10,
        };
        let pause = self.draw_out(pause);
        // What was waited for the answer counts; a refusal's wait begins with it.
        let from = match failure {
            Failure::Lost => call.sent,
            _ => now,
        };
        self.not_before = now.max(from + pause);
        if let Some(spell) = self.spell {
            // One more try has to fit into the lease.
            let last = spell.until.checked_sub(retry_period).unwrap_or(now);
            self.not_before = self.not_before.min(last.max(now + retry_period / 4));
        }
        // Refused for now, and refused for good, leave what is known as it was.
        let unsure = matches!(failure, Failure::Conflict | Failure::Lost);
        if unsure && !call.purpose.is_look() {
            self.doubt = true;
        }
    }

    /// The time, and up to a share of it more, so that members do not act in step.
    pub(super) fn draw_out(&mut self, time: Duration) -> Duration {
        time.mul_f64(1.0 + self.timing.jitter * self.random.f64())
    }

    /// The application wants to lead, and has said so knowing that nobody does.
    pub(super) fn stands(&self) -> bool {
        self.spoke && self.intent.candidacy.is_some() && !self.leaving
    }
}
