use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::super::roles::Roles;
use super::super::selector::Selector;
use super::flaw::Flaw;
use super::setting::Setting;
use super::{Report, live};

/// Of each setting.
const WORLDS: u64 = 1000;

#[test]
fn a_service_never_goes_back_and_ends_at_the_last_leader() {
    every::<Selector>();
}

#[test]
fn there_are_never_two_primaries_and_in_the_end_the_last_leader_is_one() {
    every::<Roles>();
}

/// A simulation that finds no planted bug proves nothing.
#[test]
fn planted_bugs_are_caught() {
    let service: fn(u64, Option<Flaw>) -> Report = live::<Selector>;
    let pods: fn(u64, Option<Flaw>) -> Report = live::<Roles>;
    let plants = [
        (Flaw::NoVersionTest, service),
        (Flaw::NoVersionTest, pods),
        (Flaw::NoTermCheck, service),
        (Flaw::NoTermCheck, pods),
        (Flaw::NoEnd, service),
        (Flaw::MarksOnlyChanges, pods),
        (Flaw::PromotesFirst, pods),
        (Flaw::Deaf, service),
    ];
    let caught = plants.map(|(flaw, live)| {
        let fails = |seed| catch_unwind(AssertUnwindSafe(|| live(seed, Some(flaw)))).is_err();
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

fn every<S: Setting>() {
    let since = Instant::now();
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("it is a number"))
    };
    let seeds = number("BELLWETHER_SEED").map_or_else(
        || 0..number("BELLWETHER_SEEDS").unwrap_or(WORLDS),
        |seed| seed..seed + 1,
    );
    let (mut writes, mut worst) = (0, (Duration::ZERO, 0));
    for seed in seeds {
        let report = catch_unwind(|| live::<S>(seed, None))
            .unwrap_or_else(|_| panic!("to replay this world: BELLWETHER_SEED={seed}"));
        writes += report.writes;
        worst = worst.max((report.settled_after, seed));
    }
    println!(
        "{writes} writes, in {:?}; settled after {:?} at worst, in world {}",
        since.elapsed(),
        worst.0,
        worst.1
    );
    assert!(writes > 0, "nothing was lived through");
}
