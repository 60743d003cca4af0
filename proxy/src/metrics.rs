//! How long requests take, for each family of commands.

use crate::commands::Family;

/// The buckets of a histogram: bucket `n` counts what took less than 2^n µs, and not less than the
/// one before.
pub(crate) const BUCKETS: usize = 24;

/// Latencies of one worker.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    families: [[u64; BUCKETS]; Family::ALL.len()],
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            families: [[0; BUCKETS]; Family::ALL.len()],
        }
    }
}

impl Metrics {
    /// So many requests were answered after so long.
    #[inline]
    pub(crate) fn answered(&mut self, family: Family, micros: u32) {
        let bucket = (u32::BITS - micros.leading_zeros()) as usize;
        self.families[family as usize][bucket.min(BUCKETS - 1)] += 1;
    }
}
