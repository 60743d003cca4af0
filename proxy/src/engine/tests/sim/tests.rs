//! Worlds by the hundred, and the mistakes that they must find.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::World;
use crate::engine::planted::Bug;
use crate::engine::planted::tests::plant;

/// Worlds of the main test.
const WORLDS: u64 = 500;

/// What became of a world.
struct Report {
    steps: usize,
    successes: usize,
}

fn live(seed: u64) -> Report {
    let mut world = World::new(seed);
    world.run();
    Report {
        steps: world.steps,
        successes: world.clients.iter().map(|client| client.successes).sum(),
    }
}

#[test]
fn worlds_keep_what_is_promised() {
    let count = std::env::var("BELLWETHER_SEEDS").ok();
    let count = count.map_or(WORLDS, |count| {
        count.parse().expect("BELLWETHER_SEEDS is a number")
    });
    let outcomes = each(count);
    let failures: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err())
        .collect();
    let failed: Vec<_> = failures
        .iter()
        .take(20)
        .map(|failure| failure.as_str())
        .collect();
    assert!(
        failures.is_empty(),
        "{} worlds broke a promise:\n{}",
        failures.len(),
        failed.join("\n")
    );
    let reports: Vec<_> = outcomes.into_iter().flatten().collect();
    let steps: usize = reports.iter().map(|report| report.steps).sum();
    let successes: usize = reports.iter().map(|report| report.successes).sum();
    println!(
        "{} worlds, {steps} steps, {successes} commands succeeded",
        reports.len()
    );
    assert!(successes > 10 * reports.len(), "the worlds are too bad");
}

/// A simulation that finds no planted bug proves nothing.
#[test]
fn planted_bugs_are_caught() {
    let bugs = [
        Bug::DeliverStale,
        Bug::OutstayLease,
        Bug::RepeatUnknown,
        Bug::RepeatWrites,
        Bug::ResendExec,
        Bug::ForgetWatch,
        Bug::ForgetSettings,
        Bug::MixProfiles,
        Bug::DenySent,
        Bug::SkipDiscardSlot,
        Bug::GiveToNext,
        Bug::LendUncleaned,
        Bug::ReadOvertakes,
    ];
    must_be_caught(&bugs, |_| true);
}

/// The same, of worlds where clients are closed with their primary alone.
#[test]
fn planted_bugs_are_caught_where_clients_are_closed() {
    let bugs = [
        Bug::OutstayLease,
        Bug::KeepOrphans,
        Bug::AdmitOrphans,
        Bug::MuteOrphans,
    ];
    must_be_caught(&bugs, |seed| World::new(seed).closes);
}

/// Finds a world for each bug that breaks a promise, among those that count.
fn must_be_caught(bugs: &[Bug], counts: impl Fn(u64) -> bool) {
    let mut all = true;
    for bug in bugs {
        let mut seeds = (0..WORLDS).filter(|seed| counts(*seed));
        plant(Some(*bug));
        let caught = seeds.find_map(|seed| try_to_live(seed).err());
        plant(None);
        println!("{bug:?}: {caught:?}");
        all &= caught.is_some();
    }
    assert!(all, "some go unnoticed");
}

/// Runs a world for each seed on two threads, or for the one that the environment names.
fn each(count: u64) -> Vec<Result<Report, String>> {
    let named = std::env::var("BELLWETHER_SEED").ok();
    let named = named.map(|seed| seed.parse().expect("BELLWETHER_SEED is a number"));
    let seeds: Vec<u64> = named.map_or_else(|| (0..count).collect(), |seed| vec![seed]);
    let run = |seeds: &[u64]| -> Vec<_> { seeds.iter().map(|seed| try_to_live(*seed)).collect() };
    let (left, right) = seeds.split_at(seeds.len() / 2);
    std::thread::scope(|scope| {
        let right = scope.spawn(|| run(right));
        let mut outcomes = run(left);
        let joined = right.join();
        outcomes.extend(joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        outcomes
    })
}

fn try_to_live(seed: u64) -> Result<Report, String> {
    catch_unwind(AssertUnwindSafe(|| live(seed))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        format!("BELLWETHER_SEED={seed}: {:.300}", text.unwrap_or_default())
    })
}
