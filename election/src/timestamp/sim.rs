//! The core in seeded worlds. A failure prints its seed; `BELLWETHER_SEED=n` replays that one, and
//! tells what happens in it. `BELLWETHER_SEEDS=n` sets through how many it lives.

mod network;
mod node;
mod scenes;
mod tests;
mod world;

use crate::timestamp::Flaw;
use world::{MS, Micros, Weather, World};

/// After all has healed, one leads and all follow within this.
const HEALED_WITHIN: Micros = 4000 * MS;

/// For how long they do so without a break, before they count as settled.
const CALM_FOR: Micros = 1500 * MS;

/// What one world had to show.
struct Report {
    steps: u64,
    settled_after: Micros,
}

/// Lives through one world and checks what must hold; panics if something does not.
fn live(seed: u64, flaw: Option<Flaw>) -> Report {
    let weather = [Weather::Calm, Weather::Stops, Weather::Storm][(seed % 3) as usize];
    let size = 2 + (seed / 3 % 4) as usize;
    let mut world = World::new(seed, size, weather, flaw);
    if weather == Weather::Storm {
        world.loss = [0, 5, 20][world.rng.usize(0..3)];
        world.delay = [5, 50, 300][world.rng.usize(0..3)] * MS;
    }
    for n in 0..size {
        draw_rank(&mut world, n);
        if n == 0 || world.rng.u8(..) < 200 {
            world.start(n);
        }
        let pause = if world.rng.bool() {
            0
        } else {
            world.rng.u64(0..600 * MS)
        };
        world.run_until(world.now + pause);
    }
    // Some lives are quiet, and in some one trouble comes upon the other.
    let pace = [200, 600, 1500][world.rng.usize(0..3)] * MS;
    let end = world.now + 8000 * MS;
    while world.now < end {
        let pause = world.rng.u64(0..pace);
        world.run_until(world.now + pause);
        trouble(&mut world);
    }
    heal(&mut world);
    let settled_after = settle(&mut world);
    Report {
        steps: world.steps,
        settled_after,
    }
}

fn draw_rank(world: &mut World, n: usize) {
    // The first always stands, so that there is somebody to lead.
    let stands = n == 0 || world.rng.u8(..) < 200;
    world.nodes[n].rank = stands.then(|| world.rng.u8(0..2));
}

/// Something goes wrong, or is wished.
fn trouble(world: &mut World) {
    let size = world.nodes.len();
    let (n, other) = (world.rng.usize(0..size), world.rng.usize(0..size));
    // Leaders have more than their share of it.
    let leader = (0..size).find(|n| world.nodes[*n].claims_to_lead());
    let n = leader.filter(|_| world.rng.bool()).unwrap_or(n);
    let running = world.nodes[n].is_running();
    let idle = world.nodes[n].stopped || !running;
    match world.rng.u8(0..12) {
        0..3 if !running => world.start(n),
        0 if running => world.crash(n),
        1 if !idle => world.leave(n),
        2 if running => {
            // Restarted before the others know that it was gone.
            world.crash(n);
            world.start(n);
        }
        3..5 if !idle => {
            let heir = world.nodes[other].id().filter(|_| other != n);
            let event = world.nodes[n].wish(|participant| participant.resign(heir));
            world.step(n, event);
        }
        5 if !idle => {
            draw_rank(world, n);
            let event = world.nodes[n].speak();
            world.step(n, event);
        }
        6 if !idle => {
            let event = world.nodes[n].wish(|participant| participant.announce("news".into()));
            world.step(n, event);
        }
        7..10 if world.weather != Weather::Calm && !idle => {
            let pause = world.rng.u64(50 * MS..5000 * MS);
            world.stop(n, pause);
        }
        10..12 if world.weather == Weather::Storm => cut(world),
        _ => {}
    }
}

/// Cuts a pair, or the network in two; or heals all.
fn cut(world: &mut World) {
    let size = world.nodes.len();
    match world.rng.u8(0..4) {
        0 => world.cuts.clear(),
        1 => {
            let side: Vec<bool> = (0..size).map(|_| world.rng.bool()).collect();
            let pairs = (0..size).flat_map(|a| (a..size).map(move |b| (a, b)));
            world
                .cuts
                .extend(pairs.filter(|(a, b)| side[*a] != side[*b]));
        }
        _ => {
            let (a, b) = (world.rng.usize(0..size), world.rng.usize(0..size));
            if a != b {
                world.cuts.insert((a.min(b), a.max(b)));
            }
        }
    }
}

fn heal(world: &mut World) {
    world.tell(0, &"all heals");
    world.cuts.clear();
    world.loss = 0;
    world.delay = 20 * MS;
    for n in 0..world.nodes.len() {
        if world.nodes[n].stopped {
            world.resume(n);
        }
        if n == 0 && !world.nodes[n].is_running() {
            world.start(n);
        }
        if n == 0 {
            world.nodes[n].rank.get_or_insert(0);
            let event = world.nodes[n].speak();
            world.step(n, event);
        }
    }
}

/// Waits until one leads and all follow, and keep doing so; answers how long that took.
fn settle(world: &mut World) -> Micros {
    let healed = world.now;
    let mut settled = healed;
    while world.now < settled + CALM_FOR {
        world.run_until(world.now + 20 * MS);
        if world.agreed().is_none() {
            settled = world.now;
        }
        assert!(
            settled <= healed + HEALED_WITHIN,
            "not one leader that all follow, {} ms after all has healed",
            HEALED_WITHIN / MS
        );
    }
    settled - healed
}
