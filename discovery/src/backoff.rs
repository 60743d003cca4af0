//! How long to wait after a failure: a pure core.
#![deny(clippy::disallowed_methods)]

use std::time::Duration;

/// The first retry comes after this.
const FIRST: Duration = Duration::from_millis(100);

/// Pauses that double with each failure in a row, up to a bound.
#[derive(Debug)]
pub(crate) struct Backoff {
    max: Duration,
    /// In a row, since the last success.
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(max: Duration) -> Self {
        Self { max, failures: 0 }
    }

    /// Whether the last try failed.
    pub(crate) fn in_outage(&self) -> bool {
        self.failures > 0
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// After a failure: doubles from 100 ms to the bound, of which `chance`, from 0 to 1, takes
    /// away up to half, so that members that lost their source together do not return together.
    pub(crate) fn failed(&mut self, chance: f64) -> Duration {
        let doubled = FIRST * (1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        jittered(doubled.min(self.max), chance)
    }
}

/// Takes away up to half of a pause.
pub(crate) fn jittered(pause: Duration, chance: f64) -> Duration {
    pause.mul_f64(1.0 - chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn retries_slow_down_to_a_bound_and_a_success_resets_them() {
        let mut backoff = Backoff::new(2 * SECOND);
        let pauses: Vec<u128> = (0..7).map(|_| backoff.failed(0.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(backoff.failed(1.0), SECOND);
        for _ in 0..100 {
            assert!(backoff.failed(0.5) <= 2 * SECOND);
        }
        assert!(backoff.in_outage());
        backoff.succeeded();
        assert!(!backoff.in_outage());
        assert_eq!(backoff.failed(0.0).as_millis(), 100);
    }
}
