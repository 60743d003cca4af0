use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use super::{
    floods,
    live::{Report, live},
    outages, paused, scenes,
    world::MS,
};
use crate::lease::Flaw;

/// What is lived through for a seed, with a flaw or without.
type Scene = fn(u64, Option<Flaw>);

/// Worlds of the main test.
const WORLDS: u64 = 1000;

/// Worlds with failsafe.
const OUTAGES: u64 = 1000;

#[test]
fn worlds_keep_what_is_promised() {
    tour(WORLDS, |seed| live(seed, None));
}

#[test]
fn worlds_with_failsafe_keep_what_is_promised() {
    let confirmed = tour(OUTAGES, |seed| outages::outlive(seed, None));
    assert!(confirmed > 0, "nobody was kept through an outage");
}

/// Lives through the worlds and prints what they had to show; how many rounds were confirmed.
fn tour(worlds: u64, world: impl Fn(u64) -> Report + Sync) -> u64 {
    let since = Instant::now();
    let count = std::env::var("BELLWETHER_SEEDS").ok();
    let count = count.map_or(worlds, |count| {
        count.parse().expect("BELLWETHER_SEEDS is a number")
    });
    let reports = each(count, world);
    let steps: u64 = reports.iter().map(|report| report.steps).sum();
    let spells: u64 = reports.iter().map(|report| report.spells).sum();
    let settled = || reports.iter().map(|report| report.settled_after / MS);
    let worst = settled().zip(0..).max().expect("there are worlds");
    let confirmed: u64 = reports.iter().map(|report| report.confirmed).sum();
    println!(
        "{} worlds, {steps} steps, {spells} spells, {confirmed} confirmed rounds in {:?}; settled after {} ms on average, {} ms at worst (world {})",
        reports.len(),
        since.elapsed(),
        settled().sum::<u64>() / reports.len() as u64,
        worst.0,
        worst.1,
    );
    confirmed
}

/// A simulation that finds no planted bug proves nothing.
#[test]
fn planted_bugs_are_caught() {
    let world: Scene = |seed, flaw| {
        live(seed, flaw);
    };
    let outage: Scene = |seed, flaw| {
        outages::outlive(seed, flaw);
    };
    let plants: &[(Flaw, Scene)] = &[
        (
            Flaw::AsksWhomItReadOf,
            outages::whoever_may_be_listed_is_asked,
        ),
        (
            Flaw::AsksWhomItWrote,
            outages::whoever_may_be_listed_is_asked,
        ),
        (Flaw::BelievesOldNews, world),
        (Flaw::CampaignsUnasked, world),
        (Flaw::CountsFromTheAnswer, world),
        (Flaw::CountsFromTheConfirmation, outage),
        (Flaw::CreatesAsHolder, scenes::a_late_creation_names_nobody),
        (Flaw::CreatesAtOnce, world),
        (Flaw::ForgetsDeletedTerms, world),
        (Flaw::ForgetsPromises, outage),
        (Flaw::ForgetsWhoHeld, paused::a_paused_leader_hands_over),
        (Flaw::ForgivesTheSilent, outage),
        (Flaw::IgnoresPauses, world),
        (Flaw::IgnoresPromises, outage),
        (Flaw::IgnoresRemaking, world),
        (Flaw::IgnoresSuccessors, scenes::the_successor_comes_next),
        (Flaw::KeepsTheTerm, world),
        (
            Flaw::KeepsTheUnwanted,
            scenes::a_late_acquisition_is_released,
        ),
        (Flaw::LeadsOnAfterResignation, world),
        (Flaw::LeadsOnLateAnswers, world),
        (Flaw::LosesPauses, world),
        (Flaw::MixesRounds, outage),
        (Flaw::NeverRewatches, scenes::a_silent_watch_is_replaced),
        (Flaw::ReleasesWithoutVersion, world),
        (Flaw::RenewsUnchecked, world),
        (Flaw::RetriesAtOnce, floods::nobody_floods_the_api),
        (Flaw::StampsByTheClock, world),
        (Flaw::TakesPausesForLife, paused::a_paused_group_waits),
        (Flaw::TakesUnlisted, outage),
        (Flaw::TakesWhatNamesIt, world),
        (Flaw::TrustsOtherClocks, world),
        (Flaw::WritesWithoutVersion, world),
    ];
    let caught: Vec<(Flaw, Option<u64>)> = plants
        .iter()
        .map(|(flaw, scene)| {
            let fails = |seed| catch_unwind(AssertUnwindSafe(|| scene(seed, Some(*flaw)))).is_err();
            (*flaw, (0..WORLDS).find(|seed| fails(*seed)))
        })
        .collect();
    for (flaw, seed) in &caught {
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

/// Worlds of each scene.
const SCENES: u64 = 60;

macro_rules! scenes {
    ($module:ident: $($name:ident)*) => { $(
        #[test]
        fn $name() {
            each(SCENES, |seed| $module::$name(seed, None));
        }
    )* };
}

scenes! { scenes:
    a_dead_leader_is_replaced
    a_dead_successor_is_not_waited_for
    a_late_acquisition_is_released
    a_late_creation_names_nobody
    a_leader_bears_a_busybody
    a_leader_outlives_its_lease
    a_release_is_taken_at_once
    a_second_spell_has_a_new_term
    a_silent_watch_is_replaced
    every_second_call_suffices
    every_second_call_suffices_to_begin
    others_programs_are_followed
    the_first_one_waits
    the_successor_comes_next
}

scenes! { outages:
    a_leader_hands_over_after_an_outage
    an_outage_interrupts_nobody
    one_silent_member_ends_it
    who_is_not_listed_waits
    whoever_may_be_listed_is_asked
}

scenes! { paused:
    a_leader_bears_pauses
    a_paused_group_waits
    a_paused_leader_hands_over
}

#[test]
fn nobody_floods_the_api() {
    each(SCENES, |seed| floods::nobody_floods_the_api(seed, None));
}
