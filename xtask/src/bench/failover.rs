//! Write gaps: a writer appends 1, 2, 3, … while something is killed, stopped or handed over.

mod group;
mod sentinel;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bellwether_testkit::{Comparison, Record};

use super::table::{Table, median_and_worst, millis};

/// A gap without a fault that is longer than this says that the machine is too busy to measure on.
const QUIET: Duration = Duration::from_millis(20);

/// How the measurement is made.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each fault is tried.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only faults whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// The agent to measure, instead of one that is built from here.
    #[arg(long)]
    agent: Option<PathBuf>,
    /// Where to leave the agents' logs of each try.
    #[arg(long)]
    logs: Option<PathBuf>,
    /// Leave Sentinel out.
    #[arg(long)]
    alone: bool,
}

/// What is done to the primary's node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    None,
    RedisKilled,
    NodeKilled,
    RedisStopped,
    NodeStopped,
    AgentKilled,
    AgentStopped,
    Planned,
    RedisRestartedEmpty,
    RedisRestartedPlainly,
}

impl Fault {
    const ALL: [Self; 10] = [
        Self::None,
        Self::RedisKilled,
        Self::NodeKilled,
        Self::RedisStopped,
        Self::NodeStopped,
        Self::AgentKilled,
        Self::AgentStopped,
        Self::Planned,
        Self::RedisRestartedEmpty,
        Self::RedisRestartedPlainly,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::None => "no fault",
            Self::RedisKilled => "redis-server killed",
            Self::NodeKilled => "agent and redis-server killed",
            Self::RedisStopped => "redis-server stopped",
            Self::NodeStopped => "agent and redis-server stopped",
            Self::AgentKilled => "agent killed",
            Self::AgentStopped => "agent stopped",
            Self::Planned => "planned: SIGTERM to the agent",
            Self::RedisRestartedEmpty => "redis-server restarted empty",
            Self::RedisRestartedPlainly => "the same, booted plainly writable",
        }
    }

    /// Whether Sentinel can be put to the same test. (Its agent is no proxy: without it, nothing
    /// happens.)
    fn suits_sentinel(self) -> bool {
        matches!(
            self,
            Self::None
                | Self::RedisKilled
                | Self::NodeKilled
                | Self::RedisStopped
                | Self::NodeStopped
                | Self::Planned
        )
    }
}

/// What one try showed.
#[derive(Debug)]
struct Outcome {
    /// From the start of the first process until every node serves.
    formed: Duration,
    gap: Duration,
    errors: usize,
    missing: usize,
    /// What must never be: a repeated or reordered number, a loss that was not the tail, an
    /// acknowledgement of a continued primary that was not kept, several primaries at the end.
    violations: Vec<String>,
    primaries: usize,
}

/// The longest time without an acknowledgement, and what became of the writes.
fn judge(
    record: &Record,
    comparison: &Comparison,
    fault_at: Instant,
    formed: Duration,
    primaries: usize,
) -> Outcome {
    let mut violations = Vec::new();
    let (gap, ended) = record.gap(fault_at).unwrap_or((Duration::MAX, fault_at));
    if record.finished.is_none_or(|finished| ended >= finished) {
        violations.push("writes did not go on".to_owned());
    }
    if comparison.repeated > 0 || !comparison.in_order {
        violations.push(format!(
            "{} repeated, in order: {}",
            comparison.repeated, comparison.in_order
        ));
    }
    if !comparison.lost_only_the_tail(&record.acknowledged, ended) {
        violations.push("a lost write lies before a kept one".to_owned());
    }
    if primaries != 1 {
        violations.push(format!("{primaries} primaries"));
    }
    Outcome {
        formed,
        gap,
        errors: record.errors.len(),
        missing: comparison.missing.len(),
        violations,
        primaries,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum System {
    Bellwether,
    Sentinel,
}

/// Runs all faults in turn, as often as asked for, and prints a table.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    bellwether_testkit::install::redis_server()?;
    let agent = match &arguments.agent {
        Some(agent) => agent.clone(),
        None => group::build_agent()?,
    };
    let wanted = |fault: &&Fault| {
        let only = arguments.only.as_deref().unwrap_or("");
        **fault == Fault::None || fault.name().contains(only)
    };
    let faults: Vec<_> = Fault::ALL.iter().filter(wanted).copied().collect();
    let mut outcomes: BTreeMap<(Fault, System), Vec<Outcome>> = BTreeMap::new();
    for round in 1..=arguments.rounds {
        for fault in &faults {
            let mut systems = vec![System::Bellwether];
            if fault.suits_sentinel() && !arguments.alone {
                systems.push(System::Sentinel);
            }
            for system in systems {
                let outcome = match system {
                    System::Bellwether => {
                        group::try_fault(&agent, *fault, arguments.logs.as_deref())?
                    }
                    System::Sentinel => sentinel::try_fault(*fault)?,
                };
                println!(
                    "round {round}, {system:?}, {}: gap {}, {} errors, {} missing{}",
                    fault.name(),
                    millis(outcome.gap),
                    outcome.errors,
                    outcome.missing,
                    outcome
                        .violations
                        .iter()
                        .map(|v| format!("; VIOLATION: {v}"))
                        .collect::<String>(),
                );
                outcomes.entry((*fault, system)).or_default().push(outcome);
            }
        }
    }
    print(&outcomes);
    verdict(&outcomes)
}

fn print(outcomes: &BTreeMap<(Fault, System), Vec<Outcome>>) {
    let mut table = Table::new([
        "fault",
        "system",
        "tries",
        "gap, median",
        "gap, worst",
        "errors",
        "missing",
        "primaries",
    ]);
    for ((fault, system), tries) in outcomes {
        let gaps: Vec<_> = tries.iter().map(|outcome| outcome.gap).collect();
        let (median, worst) = median_and_worst(&gaps).unwrap_or_default();
        let list = |number: fn(&Outcome) -> usize| {
            let all: Vec<_> = tries
                .iter()
                .map(|outcome| number(outcome).to_string())
                .collect();
            all.join(" ")
        };
        table.row(vec![
            fault.name().to_owned(),
            format!("{system:?}"),
            tries.len().to_string(),
            millis(median),
            millis(worst),
            list(|outcome| outcome.errors),
            list(|outcome| outcome.missing),
            list(|outcome| outcome.primaries),
        ]);
    }
    for system in [System::Bellwether, System::Sentinel] {
        let formed: Vec<_> = outcomes
            .iter()
            .filter(|((_, by), _)| *by == system)
            .flat_map(|(_, tries)| tries.iter().map(|outcome| outcome.formed))
            .collect();
        if let Some((median, worst)) = median_and_worst(&formed) {
            table.row(vec![
                "formed from cold".to_owned(),
                format!("{system:?}"),
                formed.len().to_string(),
                millis(median),
                millis(worst),
                String::new(),
                String::new(),
                String::new(),
            ]);
        }
    }
    println!();
    table.print();
}

/// The run counts only on a quiet machine, and fails if anything happened that never may.
fn verdict(outcomes: &BTreeMap<(Fault, System), Vec<Outcome>>) -> Result<()> {
    let mut quiet: Vec<_> = outcomes
        .get(&(Fault::None, System::Bellwether))
        .into_iter()
        .flatten()
        .map(|outcome| outcome.gap)
        .collect();
    quiet.sort_unstable();
    let violations: Vec<_> = outcomes
        .iter()
        .filter(|((fault, system), _)| {
            *system == System::Bellwether && *fault != Fault::RedisRestartedPlainly
        })
        .flat_map(|((fault, _), tries)| {
            let all = tries.iter().flat_map(|outcome| &outcome.violations);
            all.map(|violation| format!("{}: {violation}", fault.name()))
        })
        .collect();
    ensure!(
        violations.is_empty(),
        "violations: {}",
        violations.join("; ")
    );
    if let Some(longest) = quiet.last() {
        ensure!(
            *longest <= QUIET,
            "this run is void: without a fault there was a gap of {}, above {}",
            millis(*longest),
            millis(QUIET)
        );
    }
    Ok(())
}
