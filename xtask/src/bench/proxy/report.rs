//! The tables of a run, and which limits were missed.

use std::collections::BTreeSet;

use super::{
    rounds::{Measured, Pair},
    spread::Spread,
    workload::{Limit, Workload},
};
use crate::bench::table::Table;

/// Our own proxy, in the variant that limits are checked for.
const OURS: usize = 0;

/// Ours beside its limits, then everything.
pub(super) fn print(measured: &Measured, names: &[&str]) {
    println!("\nMedians (and quartiles). Ratios are to redis-server asked directly.\n");
    limits(measured).print();
    println!();
    everything(measured, names).print();
    let (disturbed, all) = disturbed(measured);
    println!("\nOther programs disturbed {disturbed} of {all} pairs of runs.");
}

/// How many pairs of runs something disturbed, and how many there are.
pub(super) fn disturbed(measured: &Measured) -> (usize, usize) {
    let all = measured.values().flatten();
    let disturbed = all.clone().filter(|pair| pair.is_disturbed());
    (disturbed.count(), all.count())
}

fn limits(measured: &Measured) -> Table {
    let mut table = Table::new([
        "workload",
        "requests/s, ratio",
        "at least (aim)",
        "",
        "CPU, ratio",
        "at most (aim)",
        "",
    ]);
    for workload in workloads(measured) {
        let pairs = &measured[&(workload, OURS)];
        let (rate, cpu) = (spread(pairs, Pair::rate), spread(pairs, Pair::cpu));
        let limits = workload.limits();
        table.row(vec![
            workload.name(),
            rate.to_string(),
            shown(limits.rate),
            verdict(|limit| rate.median >= limit, limits.rate).to_owned(),
            cpu.to_string(),
            shown(limits.cpu),
            verdict(|limit| cpu.median <= limit, limits.cpu).to_owned(),
        ]);
    }
    table
}

fn shown(limit: Limit) -> String {
    format!("{:.2} ({:.2})", limit.limit, limit.aim)
}

fn verdict(holds: impl Fn(f64) -> bool, limit: Limit) -> &'static str {
    if holds(limit.aim) {
        "met, the aim too"
    } else if holds(limit.limit) {
        "met"
    } else {
        "missed"
    }
}

fn everything(measured: &Measured, names: &[&str]) -> Table {
    let mut table = Table::new([
        "workload",
        "through",
        "requests/s",
        "ratio",
        "CPU µs/command",
        "ratio",
        "redis-server's µs/command",
        "p99 ms",
        "ratio",
    ]);
    let number = |spread: Spread, digits| format!("{:.digits$}", spread.median);
    for workload in workloads(measured) {
        let direct: Vec<_> = measured
            .range((workload, 0)..=(workload, usize::MAX))
            .flat_map(|(_, pairs)| pairs)
            .copied()
            .collect();
        table.row(vec![
            workload.name(),
            "(directly)".to_owned(),
            number(spread(&direct, |pair| pair.direct.service.rate), 0),
            String::new(),
            String::new(),
            String::new(),
            number(spread(&direct, |pair| pair.direct.server_cpu), 2),
            number(spread(&direct, |pair| pair.direct.service.p99), 2),
            String::new(),
        ]);
        for (place, name) in names.iter().enumerate() {
            let pairs = &measured[&(workload, place)];
            table.row(vec![
                workload.name(),
                (*name).to_owned(),
                number(spread(pairs, |pair| pair.through.service.rate), 0),
                spread(pairs, Pair::rate).to_string(),
                number(spread(pairs, |pair| pair.through.proxy_cpu), 2),
                spread(pairs, Pair::cpu).to_string(),
                number(spread(pairs, |pair| pair.through.server_cpu), 2),
                number(spread(pairs, |pair| pair.through.service.p99), 2),
                spread(pairs, Pair::p99).to_string(),
            ]);
        }
    }
    table
}

/// What our own proxy did not reach.
pub(super) fn missed(measured: &Measured) -> Vec<String> {
    let mut missed = Vec::new();
    for workload in workloads(measured) {
        let pairs = &measured[&(workload, OURS)];
        let (rate, cpu) = (spread(pairs, Pair::rate), spread(pairs, Pair::cpu));
        let (name, limits) = (workload.name(), workload.limits());
        if rate.median < limits.rate.limit {
            let (reached, limit) = (rate.median, limits.rate.limit);
            missed.push(format!("{name} {reached:.2} of the speed, not {limit:.2}"));
        }
        if cpu.median > limits.cpu.limit {
            let (spent, limit) = (cpu.median, limits.cpu.limit);
            missed.push(format!("{name} {spent:.2} of the CPU time, not {limit:.2}"));
        }
    }
    missed
}

fn workloads(measured: &Measured) -> BTreeSet<Workload> {
    measured.keys().map(|(workload, _)| *workload).collect()
}

fn spread(pairs: &[Pair], value: impl Fn(&Pair) -> f64) -> Spread {
    Spread::of(pairs.iter().map(value))
}
