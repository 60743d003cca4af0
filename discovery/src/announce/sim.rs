//! The core in seeded worlds, with late, lost and repeated calls. A failure prints its seed;
//! `BELLWETHER_SEED=n` lives through that world alone,
//! `BELLWETHER_SEEDS=n` through so many.

mod api;
mod flaw;
mod network;
mod setting;
mod tests;
mod world;

use std::time::Duration;

use self::flaw::Flaw;
use self::setting::Setting;
use self::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// When all has healed, the announcement is right within this: a silent watch, a pause for
/// what the API refused, and some calls.
const HEALED_WITHIN: Duration = Duration::from_secs(60);

/// What one world had to show.
struct Report {
    writes: u64,
    settled_after: Duration,
}

/// Lives through one world and checks what must hold; panics if something does not.
fn live<S: Setting>(seed: u64, flaw: Option<Flaw>) -> Report {
    let mut world = World::<S>::new(seed, flaw);
    while world.elapsed() < 60 * SECOND {
        let pause = world.rng.u64(0..3000);
        world.run_for(Duration::from_millis(pause));
        trouble(&mut world);
    }
    world.heal();
    if world.hands {
        world.edit();
    }
    let healed = world.elapsed();
    while !world.is_right() {
        world.run_for(SECOND / 4);
        assert!(
            world.elapsed() - healed < HEALED_WITHIN,
            "not right {HEALED_WITHIN:?} after all has healed: {:?}",
            world.api.objects()
        );
    }
    let settled_after = world.elapsed() - healed;
    // What is still under way to the API may come, and must do nothing.
    world.run_for(100 * SECOND);
    let writes = world.writes_sent;
    world.run_for(100 * SECOND);
    assert!(
        world.is_right(),
        "right no more: {:?}; {:?}",
        world.api.objects(),
        world.told()
    );
    assert_eq!(world.writes_sent, writes, "no write at rest");
    Report {
        writes,
        settled_after,
    }
}

/// Something goes wrong, or is wished.
fn trouble<S: Setting>(world: &mut World<S>) {
    let node = world.rng.usize(0..world.nodes.len());
    match world.rng.u8(0..10) {
        0..3 => world.elect(node),
        3 => world.depose(node),
        4 => world.renew(node),
        5 => world.stop(node),
        6 => world.api.cut_watches(),
        7 if world.hands => world.edit(),
        8 if world.hands => world.recreate(),
        _ => world.turn_weather(),
    }
}
