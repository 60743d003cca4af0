//! The core in seeded worlds. A failure prints its seed; `BELLWETHER_SEED=n` replays that one, and
//! tells what happens in it. `BELLWETHER_SEEDS=n` sets through how many it lives.

mod calls;
mod clock;
mod floods;
mod foreign;
mod judge;
mod node;
mod outages;
mod pauses;
mod peers;
mod queue;
mod scenes;
mod server;
mod tests;
mod trouble;
mod watch;
mod world;

use std::time::Duration;

use crate::lease::{Flaw, LeaseConfig, core::Failure};
use calls::{Faults, Refusal};
use trouble::trouble;
use world::{MS, Micros, World};

/// For how long one leads and all follow without a break, before they count as settled.
const CALM_FOR: Micros = 2000 * MS;

/// What one world had to show.
struct Report {
    steps: u64,
    spells: u64,
    /// Rounds of questions that all confirmed.
    confirmed: u64,
    settled_after: Micros,
}

/// What may go wrong in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    /// Crashes, departures and hand-overs, stopped processes; calls are quick.
    Calm,
    /// Calls and events are also slow, late, lost, repeated and refused.
    Storm,
    /// All that, and people delete and edit the Lease.
    Hands,
    /// As in a storm, and another program holds the Lease at times.
    Foreign,
}

/// Lives through one world and checks what must hold; panics if something does not.
fn live(seed: u64, flaw: Option<Flaw>) -> Report {
    let weather = [
        Weather::Calm,
        Weather::Storm,
        Weather::Hands,
        Weather::Foreign,
    ];
    let weather = weather[[0, 1, 1, 2, 2, 2, 3][(seed % 7) as usize]];
    let size = 2 + (seed / 7 % 9) as usize;
    let config = config(seed / 63);
    let mut world = World::new(seed, size, &config, flaw);
    world.server.opaque = world.rng.u8(0..5) == 0;
    let elsewhere = world.rng.u64(0..1000);
    world.server.write_elsewhere(elsewhere);
    let watching = world.rng.u8(0..3);
    for node in &mut world.nodes {
        node.watches = watching > 1 || (watching == 1 && world.rng.bool());
    }
    if weather == Weather::Foreign {
        world.add_foreign(config.clock_drift);
    }
    for n in 0..size {
        world.nodes[n].stands = n == 0 || world.rng.u8(..) < 200;
        if n == 0 || world.rng.u8(..) < 200 {
            world.start(n);
        }
        let pause = if world.rng.bool() {
            0
        } else {
            world.rng.u64(0..2000 * MS)
        };
        world.run_until(world.now + pause);
    }
    // Some lives are quiet, and in some one trouble comes upon the other.
    let pace = [100, 300, 1000, 3000][world.rng.usize(0..4)] * MS;
    let end = world.now + 60_000 * MS;
    if weather != Weather::Calm {
        world.faults = faults(&mut world, weather);
    }
    while world.now < end {
        let pause = world.rng.u64(0..pace);
        world.run_until(world.now + pause);
        trouble(&mut world, weather);
    }
    heal(&mut world);
    let settled_after = settle(&mut world);
    rest(&mut world);
    depart(&mut world);
    Report {
        steps: world.steps,
        spells: world.judge.spells,
        confirmed: 0,
        settled_after,
    }
}

/// The defaults in half of all worlds, otherwise times that are as tight, or as loose, as they may be.
fn config(draw: u64) -> LeaseConfig {
    let mut config = LeaseConfig::new("flock", "sheep");
    let ms = Duration::from_millis;
    match draw % 6 {
        0 => {
            config.lease_duration = ms(3000);
            config.renew_deadline = ms(2000);
            config.retry_period = ms(500);
            config.fence_timeout = ms(500);
            config.clock_drift = 0.2;
        }
        1 => {
            config.lease_duration = ms(15_000);
            config.renew_deadline = ms(10_000);
            config.retry_period = ms(2000);
            config.fence_timeout = ms(4000);
        }
        2 => {
            config.lease_duration = ms(6000);
            config.renew_deadline = ms(3000);
            config.fence_timeout = ms(0);
            config.clock_drift = 1.0;
            config.jitter = 0.4;
        }
        _ => {}
    }
    config.check().expect("it can work");
    config
}

fn faults(world: &mut World, weather: Weather) -> Faults {
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

/// Everything works from now on, everybody runs who has begun, and at least one stands. What was on
/// its way arrives now or never. Refusals that order their receiver to wait end earlier, so that no
/// such wait goes on.
fn heal(world: &mut World) {
    world.faults.refused = 0;
    for n in 0..world.nodes.len() {
        if world.nodes[n].stopped {
            world.resume(n);
        }
    }
    world.run_until(world.now + world.faults.delay * 2);
    world.run_until(world.told_to_wait.max(world.now));
    world.tell(0, &"all heals");
    world.faults = Faults::none();
    world.speak_within = 100 * MS;
    world.foreign = None;
    world.flush_calls();
    // A pause that goes on leaves whoever held the Lease last to lead.
    let keeper = world.who_held_last().filter(|_| world.rng.bool());
    world.pause_by_hand(keeper.is_some());
    for n in 0..world.nodes.len() {
        if n == keeper.unwrap_or(0) {
            world.nodes[n].stands = true;
            if !world.nodes[n].takes_part() {
                world.crash(n);
                world.start(n);
            }
        }
        world.speak(n);
        if world.nodes[n].is_running() {
            world.open_watch(n);
        }
    }
}

/// Waits until one leads and all follow, and keep doing so; answers how long that took.
///
/// The bound is what the election promises: the lease duration plus two retry periods, in the time
/// of the slowest clock. One retry period is for the call that was lost as the last one, and the
/// look after it; then somebody has seen whatever holder there is, and waits for its lease to end;
/// the second one is for calls and the application's answer.
fn settle(world: &mut World) -> Micros {
    let healed = world.now;
    let bound = world.lease_duration() + 2 * world.retry_period();
    // Who has no watch learns of the leader by looking, a retry period later.
    let known = bound + world.retry_period() + 200 * MS;
    // Of whom a pause leaves to lead, there is only one to have seen it in time.
    let paused = world.server.record().is_some_and(|record| record.paused);
    let bound = if paused { known } else { bound };
    let mut settled = healed;
    while world.now < settled + CALM_FOR {
        world.run_until(world.now + 20 * MS);
        let after = world.now - healed;
        if world.leader().is_none() {
            assert!(
                after <= bound,
                "nobody leads {} ms after all has healed",
                after / MS
            );
        }
        if world.agreed().is_none() {
            assert!(
                after <= known,
                "not all follow, {} ms after all has healed",
                after / MS
            );
            settled = world.now;
        }
    }
    settled - healed
}

/// At rest a leader writes once per retry period, and who watches calls nobody.
fn rest(world: &mut World) {
    let leader = world.agreed().expect("settled");
    // What a watch was late with is looked at once more.
    world.run_until(world.now + 3 * world.retry_period());
    for node in &mut world.nodes {
        (node.calls, node.writes) = (0, 0);
    }
    let began = world.now;
    world.run_until(began + 6 * world.retry_period());
    for (n, node) in world.nodes.iter().enumerate() {
        let passed = node.clock.at(world.now) - node.clock.at(began);
        let periods = passed.div_duration_f64(world.timing.retry_period) as u64 + 1;
        let (reads, writes) = (node.calls - node.writes, node.writes);
        if n == leader {
            assert!(0 < writes && writes <= periods, "m{n} wrote {writes} times");
        } else {
            assert_eq!(writes, 0, "m{n} follows, and writes");
        }
        let most = if n == leader || node.watches {
            0
        } else {
            periods
        };
        assert!(reads <= most, "m{n} looked {reads} times");
    }
    assert_eq!(world.agreed(), Some(leader));
}

/// Everybody leaves, one after the other, in bounded time; the Lease is free then.
fn depart(world: &mut World) {
    for n in 0..world.nodes.len() {
        if world.nodes[n].takes_part() {
            world.leave(n);
        }
        world.run_until(world.now + 2 * world.retry_period());
        assert!(!world.nodes[n].is_running(), "m{n} does not come to an end");
    }
    let record = world.server.record().expect("nobody deleted it");
    assert_eq!((&record.holder, &record.claimant), (&None, &None));
}
