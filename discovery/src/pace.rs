//! When to ask again: a pure core.
#![deny(clippy::disallowed_methods)]

use std::time::Duration;

use crate::DnsConfig;
use crate::backoff::Backoff;

/// Tells the pause before the next question from how the last ones went.
#[derive(Debug)]
pub(crate) struct Pace {
    min: Duration,
    max: Duration,
    max_empty: Duration,
    retries: Backoff,
}

impl Pace {
    pub(crate) fn new(config: &DnsConfig) -> Self {
        Self {
            min: config.min_interval,
            max: config.max_interval,
            max_empty: config.max_empty_interval,
            retries: Backoff::new(config.max_retry_interval),
        }
    }

    /// Whether the last question was not answered.
    pub(crate) fn in_outage(&self) -> bool {
        self.retries.in_outage()
    }

    /// After an answer that holds for `ttl`. An empty one is asked again sooner: whoever is alone
    /// does not want to stay so.
    pub(crate) fn answered(&mut self, ttl: Duration, empty: bool) -> Duration {
        self.retries.succeeded();
        let max = if empty {
            self.max.min(self.max_empty)
        } else {
            self.max
        };
        ttl.min(max).max(self.min)
    }

    /// After a failure; `chance` is from 0 to 1.
    pub(crate) fn failed(&mut self, chance: f64) -> Duration {
        self.retries.failed(chance)
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
            retries: Backoff::new(2 * SECOND),
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
    fn an_answer_ends_an_outage() {
        let mut pace = pace();
        assert_eq!(pace.failed(0.0).as_millis(), 100);
        assert_eq!(pace.failed(0.0).as_millis(), 200);
        assert!(pace.in_outage());
        pace.answered(SECOND, false);
        assert!(!pace.in_outage());
        assert_eq!(pace.failed(0.0).as_millis(), 100);
    }
}
