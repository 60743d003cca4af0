//! Seeded worlds of nodes: a [`Core`](super::Core) each, a model server, a clock that drifts, a
//! network that is cut; and an election that keeps its contract and no more, or the real candidates
//! for a Lease and the API that they compete by.
//!
//! `BELLWETHER_SEEDS` sets how many worlds are run, `BELLWETHER_SEED` replays one and prints what
//! happens in it.

mod agent;
mod bug;
mod checks;
mod data;
mod election;
mod faults;
mod lease;
mod leases;
mod ledger;
mod mesh;
mod message;
mod network;
mod passports;
mod pauses;
mod plan;
mod port;
mod server;
mod servers;
mod strikes;
mod tell;
mod world;

use std::time::Instant;

use super::Flaw;
use bug::Bug;
use ledger::Tale;
use plan::Elected;
use world::World;

/// How many worlds are run, unless the environment says otherwise.
const SEEDS: u64 = 1_000;

#[expect(
    clippy::disallowed_methods,
    reason = "worlds count from some instant; which one does not matter"
)]
fn epoch() -> Instant {
    Instant::now()
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

/// Lives through one world; why it must not be so, if anything was wrong.
fn run(seed: u64, elected: Elected, bug: Option<Bug>, trace: bool) -> Result<Tale, String> {
    let world = move || World::new(seed, elected, bug, epoch(), trace).run();
    std::panic::catch_unwind(world).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        let said = said.unwrap_or_default();
        Err(format!("a core or the model panicked: {said}"))
    })
}

/// Lives through so many worlds, or through the one that the environment names.
fn every_world(elected: Elected, seeds: u64) {
    if let Some(seed) = from_environment("BELLWETHER_SEED") {
        run(seed, elected, None, true).unwrap();
        return;
    }
    let seeds = from_environment("BELLWETHER_SEEDS").unwrap_or(seeds);
    let threads = 2;
    let share = |first: u64| {
        let (mut tale, mut failures) = (Tale::default(), Vec::new());
        for seed in (first..seeds).step_by(threads) {
            match run(seed, elected, None, false) {
                Ok(told) => tale = tale.and(told),
                Err(why) => failures.push(format!("seed {seed}: {why}")),
            }
        }
        (tale, failures)
    };
    let shares: Vec<_> = std::thread::scope(|scope| {
        let share = &share;
        let handles: Vec<_> = (0..threads as u64)
            .map(|first| scope.spawn(move || share(first)))
            .collect();
        let joined = handles.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .map(|share| share.expect("worlds do not panic"))
            .collect()
    });
    let (tales, failures): (Vec<_>, Vec<_>) = shares.into_iter().unzip();
    let (tale, failures) = (
        tales.into_iter().fold(Tale::default(), Tale::and),
        failures.concat(),
    );
    let shown = failures[..failures.len().min(20)].join("\n");
    assert!(
        failures.is_empty(),
        "{} of {seeds} worlds failed; replay one with BELLWETHER_SEED\n{shown}",
        failures.len()
    );
    println!("{seeds} worlds: {tale:?}");
    let happened = [tale.promotions, tale.acknowledged, tale.lost];
    assert!(!happened.contains(&0), "too little happened: {tale:?}");
}

#[test]
fn every_world_recovers_and_keeps_what_it_can() {
    every_world(Elected::Anyhow, SEEDS);
}

/// A simulator that does not find a planted bug proves nothing.
fn finds(flaw: Flaw, within: u64) {
    finds_in(Elected::Anyhow, Bug::Sidecar(flaw), within);
}

fn finds_in(elected: Elected, bug: Bug, within: u64) {
    let fails = |seed| Some((seed, run(seed, elected, Some(bug), false).err()?));
    let Some((seed, why)) = (0..within).find_map(fails) else {
        panic!("{bug:?} went unnoticed in {within} worlds");
    };
    println!("{bug:?} is found by seed {seed}: {why}");
}

#[test]
fn following_the_empty_is_found() {
    finds(Flaw::FollowsEmpty, 3_000);
}

#[test]
fn not_fencing_is_found() {
    finds(Flaw::DoesNotFence, 3_000);
}

#[test]
fn ignoring_data_is_found() {
    finds(Flaw::IgnoresData, 3_000);
}

#[test]
fn serving_before_promotion_is_found() {
    finds(Flaw::ServesBeforePromotion, 3_000);
}

#[test]
fn ignoring_a_restart_is_found() {
    finds(Flaw::IgnoresRestart, 3_000);
}

#[test]
fn handing_over_early_is_found() {
    finds(Flaw::HandsOverEarly, 3_000);
}

#[test]
fn forgetting_to_resume_is_found() {
    finds(Flaw::ForgetsToResume, 3_000);
}

#[test]
fn not_waiting_for_the_last_writes_is_found() {
    finds(Flaw::SkipsCatchingUp, 3_000);
}

#[test]
fn ignoring_the_end_of_a_lease_is_found() {
    finds(Flaw::IgnoresUntil, 3_000);
}

#[test]
fn ignoring_a_deposition_is_found() {
    finds(Flaw::IgnoresDeposition, 3_000);
}

#[test]
fn serving_without_a_passport_is_found() {
    finds(Flaw::ForgetsPassport, 3_000);
}

#[test]
fn a_term_that_does_not_grow_is_found() {
    finds(Flaw::KeepsTerm, 3_000);
}

#[test]
fn a_passport_that_is_written_once_is_found() {
    finds(Flaw::StampsOnce, 3_000);
}

#[test]
fn ignoring_marks_is_found() {
    finds(Flaw::IgnoresMarks, 3_000);
}

#[test]
fn ignoring_the_group_is_found() {
    finds(Flaw::IgnoresGroup, 3_000);
}

#[test]
fn ignoring_a_flush_is_found() {
    finds(Flaw::IgnoresFlush, 3_000);
}

#[test]
fn demanding_no_replicas_is_found() {
    finds(Flaw::DemandsNothing, 3_000);
}
