//! What kinds of faults there are in a world.

use std::time::Duration;

use super::{
    calls::{Faults, Refusal},
    world::{MS, World},
};
use crate::lease::core::Failure;

/// What may go wrong in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// Crashes, departures and hand-overs, stopped processes; calls are quick.
    Calm,
    /// Calls and events are also slow, late, lost, repeated and refused.
    Storm,
    /// All that, and people delete and edit the Lease.
    Hands,
    /// As in a storm, and another program holds the Lease at times.
    Foreign,
}

impl Weather {
    pub(super) fn of(seed: u64) -> Self {
        use Weather::{Calm, Foreign, Hands, Storm};
        [Calm, Storm, Storm, Hands, Hands, Hands, Foreign][(seed % 7) as usize]
    }
}

/// What the API is like, who may watch, and who else is there.
pub(super) fn surroundings(world: &mut World, weather: Weather, clock_drift: f64) {
    world.server.opaque = world.rng.u8(0..5) == 0;
    let elsewhere = world.rng.u64(0..1000);
    world.server.write_elsewhere(elsewhere);
    let watching = world.rng.u8(0..3);
    for node in &mut world.nodes {
        node.watches = watching > 1 || (watching == 1 && world.rng.bool());
    }
    if weather == Weather::Foreign {
        world.add_foreign(clock_drift);
    }
}

pub(super) fn faults(world: &mut World, weather: Weather) -> Faults {
    let rng = &mut world.rng;
    let often = |rng: &mut fastrand::Rng| [0, 0, 20, 100, 300][rng.usize(0..5)];
    let refusal = |failure, done| Refusal { failure, done };
    let busy = |wanted: Option<u64>| Failure::Busy(wanted.map(Duration::from_millis));
    let mut refusals = vec![
        refusal(Failure::Conflict, false),
        refusal(Failure::Conflict, true),
        refusal(busy(None), false),
        refusal(busy(None), true),
        refusal(busy(Some(0)), false),
        refusal(busy(Some(1000)), false),
        refusal(busy(Some(600_000)), false),
        refusal(Failure::Lost, false),
        refusal(Failure::Lost, true),
        refusal(Failure::Denied, false),
    ];
    rng.shuffle(&mut refusals);
    refusals.truncate(1 + rng.usize(0..4));
    Faults {
        delay: [20, 100, 500, 1500][rng.usize(0..4)] * MS,
        lost: often(rng),
        unanswered: often(rng),
        late: often(rng),
        repeated: often(rng),
        refused: often(rng),
        refusals,
        every_second: false,
        spares_reads: rng.u8(0..4) == 0,
        away: false,
        no_watch: false,
        lag: [0, 200, 5000][rng.usize(0..3)] * MS,
        lost_events: if weather == Weather::Calm {
            0
        } else {
            often(rng)
        },
    }
}
