//! When to try again: after failures, and against somebody who undoes what was done.
#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::config::AnnouncerConfig;
use crate::backoff::Backoff;

/// The second repair of an object comes not sooner than this after the first.
const FIRST_REPAIR: Duration = Duration::from_secs(1);

/// What the API server asks for where its answer shows no number that kube would pass on.
const USUAL_PAUSE: Duration = Duration::from_secs(1);

/// The API may ask for a pause as long as this many times the one for what it refuses.
const MOST_PATIENCE: u32 = 6;

/// Pauses after failures.
#[derive(Debug)]
pub(super) struct Pace {
    backoff: Backoff,
    refusals: Backoff,
    /// The longest pause that the API may ask for.
    patience: Duration,
    /// A failure this long after the last one is the first of another row.
    calm: Duration,
    last: Option<Instant>,
}

impl Pace {
    pub(super) fn new(config: &AnnouncerConfig) -> Self {
        Self {
            backoff: Backoff::new(config.max_retry_interval),
            refusals: Backoff::new(config.max_refused_interval),
            patience: config.max_refused_interval * MOST_PATIENCE,
            calm: 2 * config.max_refused_interval,
            last: None,
        }
    }

    /// After a failure that may pass by itself: doubles with each in a row, up to the bound.
    pub(super) fn failed(&mut self, now: Instant, chance: f64) -> Duration {
        self.begin(now);
        self.backoff.failed(chance)
    }

    /// After a conflict: the first in a row costs no time, since reading again resolves it.
    pub(super) fn conflicted(&mut self, now: Instant, chance: f64) -> Duration {
        self.begin(now);
        let is_first = !self.backoff.in_outage();
        let pause = self.backoff.failed(chance);
        if is_first { Duration::ZERO } else { pause }
    }

    /// When the API asks for a pause: not shorter, and with `chance` up to half as much longer. It
    /// is not believed without bound.
    pub(super) fn asked(&mut self, now: Instant, pause: Option<Duration>, chance: f64) -> Duration {
        let asked = pause.unwrap_or(USUAL_PAUSE);
        let asked = asked.min(self.patience);
        let own = self.failed(now, chance);
        own.max(asked.mul_f64(1.0 + chance / 2.0))
    }

    /// After a refusal that only people can lift. The first retries come soon all the same, because
    /// an API server that has just started knows nobody's permissions.
    pub(super) fn refused(&mut self, now: Instant, chance: f64) -> Duration {
        self.begin(now);
        self.refusals.failed(chance)
    }

    fn begin(&mut self, now: Instant) {
        let since = self.last.map(|last| now.saturating_duration_since(last));
        if since.is_some_and(|since| since >= self.calm) {
            self.backoff.succeeded();
            self.refusals.succeeded();
        }
        self.last = Some(now);
    }
}

/// How often each object was written in this term.
#[derive(Clone, Debug)]
pub(super) struct Repairs {
    max: Duration,
    written: BTreeMap<String, Written>,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    times: u32,
    last: Instant,
}

impl Repairs {
    pub(super) fn new(config: &AnnouncerConfig) -> Self {
        Self {
            max: config.max_repair_interval,
            written: BTreeMap::new(),
        }
    }

    pub(super) fn wrote(&mut self, object: &str, now: Instant) {
        let times = match self.written.get(object) {
            Some(before) if !self.is_calm(before, now) => before.times.saturating_add(1),
            _ => 1,
        };
        let written = Written { times, last: now };
        self.written.insert(object.into(), written);
        // The names of pods that are long gone.
        let max = self.max;
        self.written
            .retain(|_, it| now.saturating_duration_since(it.last) < 2 * max);
    }

    /// From when on an object may be written. The first write of a term and the first repair are
    /// not held back; the pauses after that double.
    pub(super) fn ready_at(&self, object: &str, now: Instant) -> Instant {
        match self.written.get(object) {
            Some(written) if written.times > 1 && !self.is_calm(written, now) => {
                let doubled = FIRST_REPAIR * (1 << (written.times - 2).min(16));
                written.last + doubled.min(self.max)
            }
            _ => now,
        }
    }

    fn is_calm(&self, written: &Written, now: Instant) -> bool {
        now.saturating_duration_since(written.last) >= 2 * self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::now()
    }

    fn pace() -> Pace {
        Pace::new(&AnnouncerConfig::new("leader"))
    }

    #[test]
    fn retries_slow_down_to_a_bound_and_begin_anew_after_calm() {
        let (mut pace, mut now) = (pace(), start());
        for expected in [100, 200, 400, 800, 1600, 2000, 2000] {
            let pause = pace.failed(now, 0.0);
            assert_eq!(pause, expected * MS);
            now += pause + SECOND;
        }
        assert_eq!(pace.failed(now, 1.0), SECOND);
        now += 20 * SECOND;
        assert_eq!(pace.failed(now, 0.0), 100 * MS);
    }

    #[test]
    fn the_first_conflict_is_resolved_at_once() {
        let (mut pace, now) = (pace(), start());
        assert_eq!(pace.conflicted(now, 0.0), Duration::ZERO);
        assert_eq!(pace.conflicted(now, 0.0), 200 * MS);
        assert_eq!(pace.conflicted(now + 20 * SECOND, 0.0), Duration::ZERO);
    }

    #[test]
    fn the_api_is_obeyed_within_bounds() {
        let (mut pace, now) = (pace(), start());
        assert_eq!(pace.asked(now, None, 0.0), SECOND);
        assert_eq!(pace.asked(now, Some(3 * SECOND), 0.0), 3 * SECOND);
        assert_eq!(pace.asked(now, Some(4 * SECOND), 1.0), 6 * SECOND);
        assert_eq!(pace.asked(now, Some(Duration::MAX), 0.0), 60 * SECOND);
    }

    #[test]
    fn refusals_slow_down_further() {
        let (mut pace, mut now) = (pace(), start());
        for expected in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            let pause = pace.refused(now, 0.0);
            assert_eq!(pause, expected * MS);
            now += pause + SECOND;
        }
        assert_eq!(pace.failed(now, 0.0), 100 * MS, "another kind of failure");
    }

    #[test]
    fn repairs_slow_down_while_somebody_fights() {
        let mut repairs = Repairs::new(&AnnouncerConfig::new("leader"));
        let mut now = start();
        for expected in [0, 0, 1, 2, 4, 8, 16, 30, 30] {
            let ready_at = repairs.ready_at("a", now);
            assert_eq!(ready_at - now, expected * SECOND);
            now = ready_at;
            repairs.wrote("a", now);
        }
        assert_eq!(repairs.ready_at("b", now), now);
        now += 60 * SECOND;
        assert_eq!(repairs.ready_at("a", now), now);
        repairs.wrote("a", now);
        assert_eq!(repairs.ready_at("a", now), now);
    }
}
