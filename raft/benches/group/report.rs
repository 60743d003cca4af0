//! Medians, and which limits were missed.

use std::{collections::BTreeMap, time::Duration};

use crate::{flock::Measured, hand_over::Gaps};

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    runs: BTreeMap<(&'static str, usize), Vec<Measured>>,
    /// How often a second the disk syncs, before each durable run.
    pub(crate) syncs: Vec<f64>,
    /// Runs that ended with an error, such as a leader lost.
    pub(crate) broken: usize,
}

impl Report {
    pub(crate) fn add(&mut self, storage: &'static str, in_flight: usize, measured: Measured) {
        let runs = self.runs.entry((storage, in_flight)).or_default();
        runs.push(measured);
    }

    /// Prints tables; whether all limits were met.
    pub(crate) fn print(&self, gaps: &Gaps) -> bool {
        println!(
            "\nMedians of interleaved rounds; CPU of all three processes, clients included.\n"
        );
        println!(
            "| storage | in flight | runs | commands/s | worst | p50 µs | p99 µs | CPU µs/command |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        for ((storage, in_flight), runs) in &self.runs {
            let of = |value: fn(&Measured) -> f64| median(runs.iter().map(value));
            let worst = runs
                .iter()
                .map(Measured::rate)
                .fold(f64::INFINITY, f64::min);
            println!(
                "| {storage} | {in_flight} | {} | {:.0} | {worst:.0} | {:.0} | {:.0} | {:.2} |",
                runs.len(),
                of(Measured::rate),
                of(|run| run.load.p50 as f64),
                of(|run| run.load.p99 as f64),
                of(|run| run.cpu),
            );
        }
        let syncs = median(self.syncs.iter().copied());
        let best = self.syncs.iter().copied().fold(0.0, f64::max);
        println!(
            "\nThe disk itself: {syncs:.0} syncs/s of 4 KiB, one after the other (best {best:.0})."
        );
        let (gap, worst) = median_and_worst(&gaps.handed_over);
        let (quiet, worst_quiet) = median_and_worst(&gaps.quiet);
        println!(
            "A write gap, {} times: {gap:.1} ms (worst {worst:.1} ms) at a hand-over, {quiet:.1} ms \
             (worst {worst_quiet:.1} ms) without.",
            gaps.handed_over.len()
        );
        let missed = self.missed(gap);
        for limit in &missed {
            println!("missed: {limit}");
        }
        missed.is_empty()
    }

    fn missed(&self, gap: f64) -> Vec<String> {
        let mut missed = Vec::new();
        for (in_flight, least) in [(64, 200_000.0), (1024, 400_000.0)] {
            let rate = self.median("memory", in_flight, Measured::rate);
            if rate < least {
                missed.push(format!(
                    "memory, {in_flight} in flight: {rate:.0}/s, not {least:.0}/s"
                ));
            }
        }
        let cpu = self.median("memory", 1024, |run| run.cpu);
        // Also if nothing was measured.
        if cpu > 3.0 || cpu == 0.0 {
            missed.push(format!(
                "memory, 1024 in flight: {cpu:.2} µs of CPU a command, not 3"
            ));
        }
        if gap > 20.0 {
            missed.push(format!("hand-over: {gap:.1} ms, not 20 ms"));
        }
        if self.broken > 0 {
            missed.push(format!("{} runs ended with an error", self.broken));
        }
        missed
    }

    fn median(&self, storage: &'static str, in_flight: usize, of: fn(&Measured) -> f64) -> f64 {
        let runs = self.runs.get(&(storage, in_flight));
        median(runs.into_iter().flatten().map(of))
    }
}

/// In milliseconds.
fn median_and_worst(times: &[Duration]) -> (f64, f64) {
    let millis = times.iter().map(|time| time.as_secs_f64() * 1000.0);
    (median(millis.clone()), millis.fold(0.0, f64::max))
}

/// The middle of some numbers, of none 0.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
