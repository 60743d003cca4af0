use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use super::{
    live,
    scenes::{no_two_leaders_around_a_member, the_best_is_chosen, two_leaders_settle},
    world::MS,
};
use crate::timestamp::Flaw;

/// What is lived through for a seed, with a flaw or without.
type Scene = fn(u64, Option<Flaw>);

/// Worlds of the main test.
const WORLDS: u64 = 1000;

/// Worlds of each scene.
const SCENES: u64 = 100;

#[test]
fn worlds_keep_what_is_promised() {
    let since = Instant::now();
    let count = std::env::var("BELLWETHER_SEEDS").ok();
    let count = count.map_or(WORLDS, |count| {
        count.parse().expect("BELLWETHER_SEEDS is a number")
    });
    let reports = each(count, |seed| live(seed, None));
    let steps: u64 = reports.iter().map(|report| report.steps).sum();
    let settled = || reports.iter().map(|report| report.settled_after / MS);
    let worst = settled().zip(0..).max().expect("there are worlds");
    println!(
        "{} worlds, {steps} steps in {:?}; settled after {} ms on average, {} ms at worst (world {})",
        reports.len(),
        since.elapsed(),
        settled().sum::<u64>() / reports.len() as u64,
        worst.0,
        worst.1,
    );
}

#[test]
fn the_best_leads() {
    each(SCENES, |seed| the_best_is_chosen(seed, None));
}

#[test]
fn leaders_that_meet_settle_soon() {
    each(SCENES, |seed| two_leaders_settle(seed, None));
}

#[test]
fn leaders_that_cannot_meet_settle_too() {
    each(SCENES, |seed| no_two_leaders_around_a_member(seed, None));
}

/// A simulation that finds no planted bug proves nothing.
#[test]
fn planted_bugs_are_caught() {
    let world: Scene = |seed, flaw| {
        live(seed, flaw);
    };
    let plants: [(Flaw, Scene); 13] = [
        (Flaw::AcceptsOldTerms, world),
        (Flaw::ElectsTheUnwilling, world),
        (Flaw::IgnoresAge, the_best_is_chosen),
        (Flaw::IgnoresStalls, world),
        (Flaw::KeepsTermOnClaim, world),
        (Flaw::LeadsOnAfterResignation, world),
        (Flaw::LeadsWithoutVotes, world),
        (Flaw::MixesUpLives, world),
        (Flaw::NeverStepsDown, world),
        (Flaw::NeverStepsDown, two_leaders_settle),
        (Flaw::NeverStepsDown, no_two_leaders_around_a_member),
        (Flaw::RenewsInSilence, world),
        (Flaw::VotesUnheard, the_best_is_chosen),
    ];
    let caught = plants.map(|(flaw, scene)| {
        let fails = |seed| catch_unwind(AssertUnwindSafe(|| scene(seed, Some(flaw)))).is_err();
        (flaw, (0..WORLDS).find(|seed| fails(*seed)))
    });
    for (flaw, seed) in caught {
        println!("{flaw:?} is caught in world {seed:?}");
    }
    assert!(
        caught.iter().all(|(_, seed)| seed.is_some()),
        "some go unnoticed"
    );
}

/// Runs a world for each seed on two threads, or for the one that the environment names.
fn each<T: Send>(count: u64, world: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let named = std::env::var("BELLWETHER_SEED").ok();
    let named = named.map(|seed| seed.parse().expect("BELLWETHER_SEED is a number"));
    let seeds: Vec<u64> = named.map_or_else(|| (0..count).collect(), |seed| vec![seed]);
    let run = |seeds: &[u64]| -> Vec<T> {
        let live = |seed: &u64| {
            catch_unwind(AssertUnwindSafe(|| world(*seed)))
                .unwrap_or_else(|_| panic!("to replay this world: BELLWETHER_SEED={seed}"))
        };
        seeds.iter().map(live).collect()
    };
    let (left, right) = seeds.split_at(seeds.len() / 2);
    std::thread::scope(|scope| {
        let right = scope.spawn(|| run(right));
        let mut reports = run(left);
        reports.extend(
            right
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        );
        reports
    })
}
