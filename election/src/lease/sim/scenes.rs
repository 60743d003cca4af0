//! Worlds in which one thing happens, and its outcome is known beforehand.

use uuid::Uuid;

use super::{
    calls::{Faults, Refusal},
    world::{MS, Micros, World},
};
use crate::{
    Leadership, NodeId, Term,
    lease::{Flaw, LeaseConfig, core::Failure, record::identity},
};

/// What a few calls and an application's answer take.
pub(super) const SOON: Micros = 300 * MS;

/// A world of this many members who all stand and watch, of whom one leads and the others follow.
pub(super) fn flock(seed: u64, size: usize, flaw: Option<Flaw>) -> (World, usize) {
    let config = LeaseConfig::new("flock", "sheep");
    let mut world = World::new(seed, size, &config, flaw);
    world.speak_within = 30 * MS;
    world.server.write_elsewhere(seed);
    for n in 0..size {
        world.start(n);
    }
    let leader = agree(&mut world, 7000 * MS);
    (world, leader)
}

/// Waits until one leads and all follow.
pub(super) fn agree(world: &mut World, within: Micros) -> usize {
    let end = world.now + within;
    while world.now < end {
        world.run_until(world.now + 5 * MS);
        if let Some(leader) = world.agreed() {
            return leader;
        }
    }
    panic!("not one leader that all follow, after {} ms", within / MS);
}

pub(super) fn term(world: &World, n: usize) -> Term {
    world.nodes[n].leads().expect("it leads")
}

/// Somebody who is not there.
fn nobody() -> NodeId {
    NodeId {
        member: "shorn".into(),
        incarnation: Uuid::from_u128(7),
    }
}

/// Lets time pass, in which the leader leads without a break under one term.
pub(super) fn leads_on(world: &mut World, leader: usize, time: Micros) {
    let term = term(world, leader);
    let end = world.now + time;
    while world.now < end {
        world.run_until(world.now + 10 * MS);
        assert!(
            world.nodes[leader].acts_at(world.now) && world.nodes[leader].leads() == Some(term),
            "m{leader} does not lead under {term} any more at {} ms",
            world.now / MS
        );
    }
}

/// Who finds no Lease waits until nobody can lead who lost it, then leads.
pub(super) fn the_first_one_waits(seed: u64, flaw: Option<Flaw>) {
    let config = LeaseConfig::new("flock", "sheep");
    let mut world = World::new(seed, 1, &config, flaw);
    world.start(0);
    let waits = world.lease_duration() - 1000 * MS;
    world.run_until(waits);
    assert_eq!(world.nodes[0].leads(), None, "too early");
    agree(&mut world, 1000 * MS + 2000 * MS);
}

/// A release is taken over at once, under a higher term.
pub(super) fn a_release_is_taken_at_once(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = flock(seed, 2 + (seed % 4) as usize, flaw);
    let before = term(&world, leader);
    world.nodes[leader].stands = false;
    if seed.is_multiple_of(2) {
        world.resign(leader, None);
    } else {
        world.leave(leader);
    }
    let next = agree(&mut world, SOON);
    assert_eq!(term(&world, next), before.next());
}

/// A leader that dies is replaced after its lease and one retry period.
pub(super) fn a_dead_leader_is_replaced(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = flock(seed, 2 + (seed % 4) as usize, flaw);
    let pause = world.rng.u64(0..2000 * MS);
    world.run_until(world.now + pause);
    world.crash(leader);
    let within = world.lease_duration() + world.retry_period();
    agree(&mut world, within);
}

/// The named successor comes next, even if it is slow to answer; the others hold back.
pub(super) fn the_successor_comes_next(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = flock(seed, 3 + (seed % 4) as usize, flaw);
    let next = (leader + 1) % world.nodes.len();
    let mut successor = world.nodes[next].id().expect("it runs");
    if seed.is_multiple_of(2) {
        // Who names it may not know its incarnation.
        successor.incarnation = Uuid::nil();
    }
    world.nodes[leader].stands = false;
    world.nodes[next].slow_to_speak = world.rng.u64(0..500 * MS);
    world.resign(leader, Some(successor));
    assert_eq!(agree(&mut world, 500 * MS + SOON), next);
}

/// A successor that is not there costs one retry period.
pub(super) fn a_dead_successor_is_not_waited_for(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = flock(seed, 2 + (seed % 4) as usize, flaw);
    world.nodes[leader].stands = false;
    world.resign(leader, Some(nobody()));
    let hold = world.retry_period() * 9 / 10;
    world.run_until(world.now + hold);
    assert_eq!(world.leader(), None, "the others hold back");
    agree(&mut world, SOON);
}

/// A write that arrives when its sender has given up to lead does not keep the Lease from others.
pub(super) fn a_late_acquisition_is_released(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = flock(seed, 2, flaw);
    let other = 1 - leader;
    world.nodes[leader].stands = false;
    world.faults = Faults {
        late: 1000,
        ..Faults::none()
    };
    // Its own release is late, too.
    world.resign(leader, None);
    world.run_until(world.now + 9000 * MS);
    world.nodes[other].stands = false;
    world.resign(other, None);
    world.faults = Faults::none();
    for _ in 0..25 {
        world.run_until(world.now + 1000 * MS);
        world.flush_calls();
        world.run_until(world.now + 2 * world.retry_period() + SOON);
        let holder = world
            .server
            .record()
            .expect("nobody deleted it")
            .holder
            .clone();
        assert_eq!(holder, None, "held, and nobody wants it");
    }
}

/// Who lost its lease and takes it up again does so under a new term.
pub(super) fn a_second_spell_has_a_new_term(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = flock(seed, 1, flaw);
    let before = term(&world, leader);
    let away = world.rng.u64(5000 * MS..9000 * MS);
    world.faults.away = true;
    world.cut_watch(leader);
    world.run_until(world.now + away);
    assert_eq!(world.nodes[leader].leads(), None, "the API is away");
    world.faults.away = false;
    agree(&mut world, 3000 * MS);
    assert!(term(&world, leader) > before);
}

/// A leader leads on when its Lease is deleted or emptied, as often as one likes; nobody else leads.
pub(super) fn a_leader_outlives_its_lease(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = flock(seed, 2 + (seed % 4) as usize, flaw);
    world.server.opaque = seed.is_multiple_of(5);
    for _ in 0..12 {
        match world.rng.u8(0..3) {
            0 => world.delete_lease(),
            1 => world.edit_lease(|record| record.holder = None),
            _ => world.edit_lease(|_| {}),
        }
        let pause = world.rng.u64(0..2000 * MS);
        leads_on(&mut world, leader, pause);
    }
    leads_on(&mut world, leader, 5000 * MS);
    assert_eq!(world.agreed(), Some(leader));
}

/// Somebody touches the Lease whenever it was written.
pub(super) fn a_leader_bears_a_busybody(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = flock(seed, 2, flaw);
    for _ in 0..10_000 {
        let before = world.server.snapshot();
        world.run_until(world.now + MS);
        if world.server.snapshot() != before {
            world.edit_lease(|_| {});
        }
        assert!(
            world.nodes[leader].acts_at(world.now),
            "m{leader} lost its lease"
        );
    }
}

/// A leader leads on while every second of its calls fails, in whatever way.
pub(super) fn every_second_call_suffices(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = flock(seed, 3, flaw);
    every_second_fails(&mut world, seed);
    leads_on(&mut world, leader, 60_000 * MS);
}

/// And so it is with becoming one.
pub(super) fn every_second_call_suffices_to_begin(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = flock(seed, 3, flaw);
    every_second_fails(&mut world, seed);
    world.crash(leader);
    if seed % 4 < 2 {
        world.delete_lease();
    }
    let end = world.now + world.lease_duration() + 10 * world.retry_period();
    while world.leader().is_none() {
        assert!(world.now < end, "nobody leads");
        world.run_until(world.now + 10 * MS);
    }
}

fn every_second_fails(world: &mut World, seed: u64) {
    let failures = [
        Failure::Lost,
        Failure::Lost,
        Failure::Conflict,
        Failure::Conflict,
        Failure::Busy(None),
        Failure::Busy(Some(std::time::Duration::from_secs(1))),
    ];
    let watches = world.rng.bool();
    if !watches {
        for n in 0..3 {
            world.cut_watch(n);
            world.nodes[n].watches = false;
        }
    }
    let failure = failures[(seed % 6) as usize];
    world.faults.every_second = true;
    // No server refuses a read because of a conflict.
    world.faults.spares_reads = failure == Failure::Conflict || world.rng.bool();
    world.faults.refusals = vec![Refusal {
        failure,
        done: seed.is_multiple_of(2) && !matches!(failure, Failure::Busy(_)),
    }];
    world.tell(0, &world.faults);
}

/// A call that would make a Lease comes late: another leads by now, whose Lease was deleted too.
pub(super) fn a_late_creation_names_nobody(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = flock(seed, 2, flaw);
    world.faults.late = 1000;
    world.delete_lease();
    world.run_until(world.now + 1500 * MS);
    world.faults.late = 0;
    // It is busy with something else, when the other one takes over.
    world.stop(leader, 12_000 * MS);
    let end = world.now + 12_500 * MS;
    while world.now < end && world.leader().is_none_or(|n| n == leader) {
        world.run_until(world.now + 10 * MS);
    }
    world.resume(leader);
    world.delete_lease();
    world.flush_calls();
    world.run_until(world.now + 15_000 * MS);
    agree(&mut world, 1000 * MS);
}

/// A watch that died without a word is found out and replaced, and what it shows is seen at once again.
pub(super) fn a_silent_watch_is_replaced(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = flock(seed, 2, flaw);
    let other = 1 - leader;
    world.running(other).stream.silent = true;
    world.run_until(world.now + 4 * world.retry_period());
    world.nodes[leader].stands = false;
    world.resign(leader, None);
    assert_eq!(agree(&mut world, SOON), other);
}

/// The Lease names a leader who is none of us, and is followed, under no term of its own.
pub(super) fn others_programs_are_followed(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = flock(seed, 2, flaw);
    let before = term(&world, leader);
    world.crash(leader);
    world.edit_lease(|record| record.holder = Some("controller-7d9f".into()));
    world.run_until(world.now + 1000 * MS);
    let followed = Leadership::Following {
        leader: NodeId {
            member: "controller-7d9f".into(),
            incarnation: Uuid::nil(),
        },
        card: bytes::Bytes::new(),
        term: before,
    };
    assert_eq!(world.nodes[1 - leader].leadership(), Some(&followed));
    let within = world.lease_duration() + SOON;
    let next = agree(&mut world, within);
    assert_eq!(term(&world, next), before.next());
    let holder = world.nodes[next].id().map(|id| identity(&id));
    assert_eq!(
        world
            .server
            .record()
            .and_then(|record| record.holder.clone()),
        holder
    );
}
