//! The clocks of a machine: one that only runs, and one that people set.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::world::Micros;
use crate::lease::{core::Now, record::Wall};

/// The world's time is that of the slowest clock that is allowed; others run up to the allowed drift
/// faster. The time of day is off by hours, and is set back and forth.
pub(super) struct Clock {
    base: Instant,
    rate: f64,
    wall: Wall,
    /// The time of day stands still.
    stuck: bool,
}

impl Clock {
    /// The extremes are drawn most often, since bounds are met there.
    pub(super) fn drifting(rng: &mut Rng, drift: f64) -> Self {
        let share = match rng.u8(0..3) {
            0 => 0.0,
            1 => 1.0,
            _ => rng.f64(),
        };
        let mut clock = Self {
            base: Instant::now() + Duration::from_secs(rng.u64(0..100_000)),
            rate: 1.0 + drift * share,
            wall: 1_700_000_000_000_000,
            stuck: rng.u8(0..8) == 0,
        };
        clock.set(rng);
        clock
    }

    /// Lets the time of day pass, if it stood still.
    pub(super) fn unstick(&mut self) {
        self.stuck = false;
    }

    /// Sets the time of day.
    pub(super) fn set(&mut self, rng: &mut Rng) {
        let hour = 3_600_000_000;
        self.wall += match rng.u8(0..3) {
            0 => rng.i64(-10 * hour..10 * hour),
            1 => rng.i64(-10_000_000..10_000_000),
            _ => 0,
        };
    }

    pub(super) fn now(&self, now: Micros) -> Now {
        let passed = if self.stuck { 0 } else { now };
        Now {
            at: self.at(now),
            wall: self.wall + i64::try_from(passed).expect("worlds are short"),
        }
    }

    pub(super) fn at(&self, now: Micros) -> Instant {
        self.base + Duration::from_micros(now).mul_f64(self.rate)
    }

    /// When this clock shows that time; rounded up, so that the time has come by this clock too.
    pub(super) fn real(&self, at: Instant) -> Micros {
        let local = at.saturating_duration_since(self.base);
        u64::try_from(local.div_f64(self.rate).as_micros()).expect("worlds are short") + 1
    }
}
