//! Somebody pauses and resumes automatic failover, and what comes of it is known beforehand.

use super::{
    scenes::{SOON, agree, flock, leads_on, term},
    world::{MS, World},
};
use crate::lease::Flaw;

impl World {
    /// Somebody pauses, or resumes.
    pub(super) fn pause_by_hand(&mut self, paused: bool) {
        self.edit_lease(|record| record.paused = paused);
    }

    pub(super) fn trouble_pauses(&mut self) {
        let paused = self.server.record().is_some_and(|record| record.paused);
        // It is not paused for most of the time, so that something happens.
        let pause = !paused && self.rng.u8(0..3) == 0;
        if paused != pause {
            self.pause_by_hand(pause);
        }
    }

    /// Who may lead although it is paused, if it ever was held.
    pub(super) fn who_held_last(&self) -> Option<usize> {
        self.pauses.last
    }
}

/// Nobody takes over from a leader that dies while paused. It leads again when it is back, or another
/// does at once when somebody resumes.
pub(super) fn a_paused_group_waits(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = flock(seed, 2 + (seed % 4) as usize, flaw);
    let before = term(&world, leader);
    world.pause_by_hand(true);
    let pause = world.rng.u64(0..2000 * MS);
    leads_on(&mut world, leader, pause);
    if seed.is_multiple_of(3) {
        world.nodes[leader].stands = false;
        world.leave(leader);
    } else {
        world.crash(leader);
    }
    let until = world.now + 3 * world.lease_duration();
    let dead = world.now + world.lease_duration();
    while world.now < until {
        world.run_until(world.now + 10 * MS);
        assert!(world.now < dead || world.leader().is_none(), "it is paused");
    }
    if seed.is_multiple_of(2) {
        world.nodes[leader].stands = true;
        world.start(leader);
        // A new life has to see for itself that nobody renews.
        let within = world.lease_duration() + world.retry_period();
        assert_eq!(agree(&mut world, within), leader);
    } else {
        world.pause_by_hand(false);
        assert_ne!(agree(&mut world, SOON), leader);
    }
    let now = world.leader().expect("agreed");
    assert!(term(&world, now) > before);
}

/// A leader that names its successor is followed by it, paused or not; one that names nobody may come
/// back itself.
pub(super) fn a_paused_leader_hands_over(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = flock(seed, 3, flaw);
    world.pause_by_hand(true);
    let pause = world.rng.u64(0..2000 * MS);
    world.run_until(world.now + pause);
    let next = (leader + 1) % 3;
    let mut successor = world.nodes[next].id().expect("it runs");
    if seed.is_multiple_of(2) {
        successor.incarnation = uuid::Uuid::nil();
    }
    world.resign(leader, Some(successor));
    world.speak(leader);
    assert_eq!(agree(&mut world, SOON), next);
    world.nodes[next].stands = false;
    world.resign(next, None);
    let pause = world.rng.u64(0..2 * world.lease_duration());
    let until = world.now + pause;
    while world.now < until {
        world.run_until(world.now + 10 * MS);
        assert_eq!(world.leader(), None, "it is paused");
    }
    world.nodes[next].stands = true;
    world.speak(next);
    assert_eq!(agree(&mut world, SOON), next);
}

/// Pausing and resuming again and again disturbs no leader.
pub(super) fn a_leader_bears_pauses(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = flock(seed, 3, flaw);
    for round in 0..40 {
        world.pause_by_hand(round % 2 == 0);
        let pause = world.rng.u64(0..700 * MS);
        leads_on(&mut world, leader, pause);
    }
    assert_eq!(world.agreed(), Some(leader));
}
