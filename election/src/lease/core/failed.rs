//! What follows from a call that came to nothing: how long to wait, and what is in doubt.

use std::time::{Duration, Instant};

use crate::lease::{
    Flaw,
    core::{Core, Failure, Pending, Purpose},
};

impl Core {
    /// A call came to nothing.
    pub(super) fn failed(&mut self, now: Instant, call: Pending, failure: Failure) {
        self.count(failure);
        let pause = self.pause(failure);
        let pause = self.draw_out(pause);
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
        self.doubt |= self.is_unsure(call, failure);
    }

    /// Conflicts make a row of their own: an API that answers is not the one that was away.
    fn count(&mut self, failure: Failure) {
        if failure == Failure::Conflict {
            self.conflicts = self.conflicts.saturating_add(1);
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
        }
    }

    /// For how long a failure makes this member wait.
    fn pause(&self, failure: Failure) -> Duration {
        let retry_period = self.timing.retry_period;
        // A leader has no time to lose.
        let longest = match self.spell {
            Some(_) => retry_period / 4,
            None => retry_period,
        };
        let stepped = |row: u32| (retry_period / 32 * 2u32.pow(row.min(5))).min(longest);
        let pause = stepped(self.failures).max(retry_period / 4);
        match failure {
            _ if self.flaw == Some(Flaw::RetriesAtOnce) => Duration::ZERO,
            // What has changed is found out at once, if it was the first time.
            Failure::Conflict if self.conflicts == 1 => Duration::ZERO,
            Failure::Conflict => stepped(self.conflicts),
            Failure::Lost => pause,
            // Never so soon that a server which says zero is asked all the time.
            Failure::Busy(wanted) => {
                let wanted = wanted.unwrap_or_default();
                pause.max(wanted.min(self.timing.renew_deadline))
            }
            Failure::Denied if self.spell.is_some() => retry_period,
            Failure::Denied => retry_period * 10,
        }
    }

    /// Whether the Lease has to be looked at before the next write.
    fn is_unsure(&self, call: Pending, failure: Failure) -> bool {
        match failure {
            // What the watch showed meanwhile settles what became of a write.
            _ if call.purpose.is_look() || call.overtaken => false,
            Failure::Conflict => true,
            // With or without a lost renewal, the Lease names this member: the next one finds out.
            Failure::Lost if matches!(call.purpose, Purpose::Renew(_)) && self.holds() => false,
            // Other writes are repeated as they are, too, but only every other time: who is not
            // answered at all may be wrong about how the Lease stands.
            Failure::Lost => self.failures.is_multiple_of(2),
            // Refused for now, and refused for good, leave what is known as it was.
            Failure::Busy(_) | Failure::Denied => false,
        }
    }

    /// The time, and up to a share of it more, so that members do not act in step.
    fn draw_out(&mut self, time: Duration) -> Duration {
        time.mul_f64(1.0 + self.timing.jitter * self.random.f64())
    }
}
