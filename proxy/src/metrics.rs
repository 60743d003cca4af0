//! How long requests take, for each family of commands.

use std::array;

use crate::commands::Family;

/// The buckets of a histogram: bucket `n` counts what took less than 2^n µs, and not less than the
/// one before. The last one counts all the rest, from 4 s on.
pub(crate) const BUCKETS: usize = 24;

/// How long requests of one family took.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Latencies {
    pub(crate) buckets: [u64; BUCKETS],
    /// In all.
    pub(crate) micros: u64,
}

/// Latencies of one worker.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    families: [Latencies; Family::ALL.len()],
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            families: array::from_fn(|_| Latencies::default()),
        }
    }
}

impl Metrics {
    /// So many requests were answered, each after so long.
    #[inline]
    pub(crate) fn answered(&mut self, family: Family, micros: u32, requests: u32) {
        let bucket = (u32::BITS - micros.leading_zeros()) as usize;
        let latencies = &mut self.families[family as usize];
        latencies.buckets[bucket.min(BUCKETS - 1)] += u64::from(requests);
        latencies.micros += u64::from(micros) * u64::from(requests);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, other) in self.families.iter_mut().zip(&other.families) {
            for (sum, other) in sum.buckets.iter_mut().zip(&other.buckets) {
                *sum += other;
            }
            sum.micros += other.micros;
        }
    }

    pub(crate) fn families(&self) -> impl Iterator<Item = (Family, &Latencies)> {
        Family::ALL.into_iter().zip(&self.families)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(metrics: &Metrics, family: Family) -> Vec<(usize, u64)> {
        let buckets = metrics.families[family as usize].buckets;
        buckets
            .into_iter()
            .enumerate()
            .filter(|(_, n)| *n > 0)
            .collect()
    }

    #[test]
    fn a_bucket_ends_before_its_power_of_two() {
        let mut metrics = Metrics::default();
        for micros in [0, 1, 2, 3, 4, 1023, 1024, (1 << 22) - 1, 1 << 22, u32::MAX] {
            metrics.answered(Family::List, micros, 1);
        }
        let wanted = [
            (0, 1),
            (1, 1),
            (2, 2),
            (3, 1),
            (10, 1),
            (11, 1),
            (22, 1),
            (23, 2),
        ];
        assert_eq!(counted(&metrics, Family::List), wanted);
        assert_eq!(counted(&metrics, Family::Set), []);
    }
}
