//! Worlds in which one thing happens, and its outcome is known beforehand.

use super::{
    CALM_FOR, settle,
    world::{MS, Micros, Weather, World},
};
use crate::timestamp::Flaw;

/// The first vote, and the one after the leader's death, choose by rank, then by age.
pub(super) fn the_best_is_chosen(seed: u64, flaw: Option<Flaw>) {
    let size = 3 + (seed % 3) as usize;
    let mut world = World::new(seed, size, Weather::Calm, flaw);
    world.delay = 10 * MS;
    // Names say nothing: the last may start first. Between two starts lies more than a message
    // takes, so that the ages differ visibly.
    let mut order: Vec<usize> = (0..size).collect();
    world.rng.shuffle(&mut order);
    world.speak_within = 30 * MS;
    for n in &order {
        // Drift would soon outweigh these small differences.
        world.nodes[*n].clock.steady();
        world.nodes[*n].rank = Some(world.rng.u8(0..2));
        world.start(*n);
        world.run_until(world.now + 60 * MS);
    }
    settle(&mut world);
    for _ in 0..2 {
        let leader = world.agreed().expect("settled");
        let best = (order.iter().enumerate())
            .filter(|(_, n)| world.nodes[**n].is_running())
            .max_by_key(|(age, n)| (world.nodes[**n].rank, std::cmp::Reverse(*age)));
        assert_eq!(
            best.map(|(_, n)| *n),
            Some(leader),
            "of {order:?} the best leads"
        );
        world.crash(leader);
        settle(&mut world);
    }
}

/// Two leaders that meet settle within two heartbeats and the time that messages take.
pub(super) fn two_leaders_settle(seed: u64, flaw: Option<Flaw>) {
    let size = 2 + (seed % 4) as usize;
    let mut world = World::new(seed, size, Weather::Storm, flaw);
    let border = world.rng.usize(1..size);
    for n in 0..size {
        world
            .cuts
            .extend((0..border).flat_map(|a| (border..size).map(move |b| (a, b))));
        world.nodes[n].rank = Some(world.rng.u8(0..2));
        // Often at once, so that the leaders are hardly of different age.
        world.start(n);
        let pause = if world.rng.bool() {
            0
        } else {
            world.rng.u64(0..300 * MS)
        };
        world.run_until(world.now + pause);
    }
    world.run_until(world.now + 3000 * MS);
    let leaders: Vec<usize> = (0..size)
        .filter(|n| world.nodes[*n].claims_to_lead())
        .collect();
    let [a, b] = leaders[..] else {
        panic!("one leader on each side, not {leaders:?}")
    };
    let ranks = [a, b].map(|n| world.nodes[n].rank);
    world.cuts.clear();
    let limit = world.now + 3000 * MS;
    while !(world.nodes[a].hears(&world.nodes[b]) && world.nodes[b].hears(&world.nodes[a])) {
        assert!(world.now < limit, "they never meet");
        world.run_until(world.now + MS);
    }
    let heartbeat = Micros::try_from(world.timing.heartbeat.as_micros()).expect("short");
    world.run_until(world.now + 2 * heartbeat + 4 * world.delay);
    let leading = [a, b].map(|n| world.nodes[n].claims_to_lead());
    assert!(
        leading[0] != leading[1],
        "after two heartbeats they lead: {leading:?}"
    );
    settle(&mut world);
    let winner = world.agreed().expect("settled");
    if ranks[0] != ranks[1] {
        let best = if ranks[0] > ranks[1] { a } else { b };
        assert_eq!(winner, best, "the higher rank remains");
    }
    assert!(winner == a || winner == b, "a third one leads");
}

/// A member that hears two leaders which do not hear each other ends one.
pub(super) fn no_two_leaders_around_a_member(seed: u64, flaw: Option<Flaw>) {
    let mut world = World::new(seed, 3, Weather::Storm, flaw);
    let middle = world.rng.usize(0..3);
    let [a, b] = [(middle + 1) % 3, (middle + 2) % 3];
    for n in 0..3 {
        world.nodes[n].rank = (n != middle).then(|| world.rng.u8(0..2));
    }
    world.cuts.extend([(0, 1), (0, 2), (1, 2)]);
    for n in 0..3 {
        world.start(n);
    }
    world.run_until(world.now + 3000 * MS);
    assert!([a, b].iter().all(|n| world.nodes[*n].claims_to_lead()));
    world.cuts = [(a.min(b), a.max(b))].into();
    settle(&mut world);
    world.run_until(world.now + CALM_FOR);
    assert!(world.agreed().is_some());
}
