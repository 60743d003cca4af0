//! Worlds in which one thing is wrong for good: nobody may flood the API because of it.

use std::time::Duration;

use super::{
    calls::Refusal,
    scenes::flock,
    world::{MS, Micros, World},
};
use crate::lease::{Flaw, core::Failure};

/// Retry periods for which a fault lasts.
const PERIODS: u64 = 60;

/// Calls of one member in that time, at most: two in a period, a look and a write.
const MOST_CALLS: u64 = PERIODS * 2 + 10;

/// The same, if the answers order it to wait; a leader has its lease to lose, and asks more often.
const PATIENT_CALLS: u64 = 22;

/// The same, if somebody changes the Lease ten times in a period.
const BUSY_CALLS: u64 = PERIODS * 6;

/// A group in which one leads, one does not stand, and one leaves; and the same fault for all of them.
pub(super) fn nobody_floods_the_api(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = flock(seed, 4, flaw);
    if seed.is_multiple_of(2) {
        (0..4).for_each(|n| {
            world.cut_watch(n);
            world.nodes[n].watches = false;
        });
    }
    if seed.is_multiple_of(3) {
        // Nobody leads when it begins.
        world.crash(leader);
        world.start(leader);
    }
    let most = break_for_good(&mut world, seed);
    world.nodes[1].stands = false;
    world.speak(1);
    world.leave(2);
    let before: Vec<u64> = world.nodes.iter().map(|node| node.calls).collect();
    let end = world.now + PERIODS * world.retry_period();
    while world.now < end {
        world.run_until(world.now + 100 * MS);
        if seed % 17 == 16 {
            touch(&mut world);
        }
    }
    for (n, (node, before)) in world.nodes.iter().zip(before).enumerate() {
        let calls = node.calls - before;
        assert!(
            calls <= most,
            "m{n} called {calls} times in {PERIODS} retry periods"
        );
    }
}

/// Answers how often each member may call.
fn break_for_good(world: &mut World, seed: u64) -> u64 {
    let refuse = |world: &mut World, failure, done, spares_reads| {
        world.faults.refused = 1000;
        world.faults.refusals = vec![Refusal { failure, done }];
        world.faults.spares_reads = spares_reads;
    };
    let busy = |ms: Option<u64>| Failure::Busy(ms.map(Duration::from_millis));
    let slow: Micros = 3000 * MS;
    match seed % 17 {
        0 => refuse(world, Failure::Conflict, false, true),
        1 => refuse(world, Failure::Conflict, true, true),
        2 => refuse(world, Failure::Lost, false, true),
        3 => refuse(world, Failure::Lost, true, true),
        4 => refuse(world, Failure::Lost, false, false),
        5 => refuse(world, Failure::Lost, true, false),
        6 => refuse(world, busy(None), false, true),
        7 => refuse(world, busy(None), true, true),
        8 => refuse(world, busy(Some(0)), false, false),
        9 => refuse(world, busy(Some(600_000)), false, false),
        10 => refuse(world, Failure::Denied, false, true),
        11 => refuse(world, Failure::Denied, false, false),
        12 => world.faults.delay = slow,
        13 => world.faults.away = true,
        14 => world.faults.lag = slow,
        15 => world.faults.lost_events = 500,
        _ => {}
    }
    world.tell(0, &world.faults);
    if seed % 17 == 14 {
        (0..4).for_each(|n| world.open_watch(n));
    }
    match seed % 17 {
        9 | 11 => PATIENT_CALLS,
        16 => BUSY_CALLS,
        _ => MOST_CALLS,
    }
}

/// People who cannot leave it alone.
fn touch(world: &mut World) {
    match world.rng.u8(0..4) {
        0 => world.delete_lease(),
        1 => world.edit_lease(|record| record.holder = None),
        _ => world.edit_lease(|_| {}),
    }
}
