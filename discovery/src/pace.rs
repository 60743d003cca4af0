//! When to ask again: a pure core.
#![deny(clippy::disallowed_methods)]

use std::time::Duration;

use crate::DnsConfig;

/// The first retry comes after this.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Tells the pause before the next question from how the last ones went.
#[derive(Debug)]
pub(crate) struct Pace {
    min: Duration,
    max: Duration,
    max_empty: Duration,
    max_retry: Duration,
    /// In a row, since the last answer.
    failures: u32,
}

impl Pace {
    pub(crate) fn new(config: &DnsConfig) -> Self {
        Self {
            min: config.min_interval,
            max: config.max_interval,
            max_empty: config.max_empty_interval,
            max_retry: config.max_retry_interval,
            failures: 0,
        }
    }

    /// Whether the last question was not answered.
    pub(crate) fn in_outage(&self) -> bool {
        self.failures > 0
    }

    /// After an answer that holds for `ttl`. An empty one is asked again sooner: whoever is alone
    /// does not want to stay so.
    pub(crate) fn answered(&mut self, ttl: Duration, empty: bool) -> Duration {
        self.failures = 0;
        let max = if empty {
            self.max.min(self.max_empty)
        } else {
            self.max
        };
        ttl.min(max).max(self.min)
    }

    /// After a failure: doubles from 100 ms to the bound, of which `chance`, from 0 to 1, takes
    /// away up to half, so that members that lost their resolver together do not return together.
    pub(crate) fn failed(&mut self, chance: f64) -> Duration {
        let doubled = FIRST_RETRY * (1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.max_retry).mul_f64(1.0 - chance / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace() -> Pace {
        Pace {
            min: SECOND / 4,
            max: 30 * SECOND,
            max_empty: SECOND,
            max_retry: 2 * SECOND,
            failures: 0,
        }
    }

    #[test]
    fn the_ttl_holds_within_bounds() {
        let mut pace = pace();
        for (ttl, empty, pause) in [
            (Duration::ZERO, false, SECOND / 4),
            (5 * SECOND, false, 5 * SECOND),
            (86_400 * SECOND, false, 30 * SECOND),
            (Duration::ZERO, true, SECOND / 4),
            (5 * SECOND, true, SECOND),
        ] {
            assert_eq!(pace.answered(ttl, empty), pause, "{ttl:?} {empty}");
        }
    }

    #[test]
    fn retries_slow_down_to_a_bound_and_an_answer_resets_them() {
        let mut pace = pace();
        let pauses: Vec<u128> = (0..7).map(|_| pace.failed(0.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(pace.failed(1.0), SECOND);
        for _ in 0..100 {
            assert!(pace.failed(0.5) <= 2 * SECOND);
        }
        assert!(pace.in_outage());
        pace.answered(SECOND, false);
        assert!(!pace.in_outage());
        assert_eq!(pace.failed(0.0).as_millis(), 100);
    }
}
