//! Worlds with failsafe, in which the API is away for some or for all most of the time.

use super::{
    calls::{Faults, LATE, Refusal},
    live::{Report, application, config, depart, heal, process, rest, settle},
    scenes::{SOON, agree, leads_on, term},
    weather::{Weather, faults},
    world::{MS, Micros, World},
};
use crate::lease::{Flaw, LeaseConfig, core::Failure};

/// Lives through one world and checks what must hold, and that all is well again when it has healed.
pub(super) fn outlive(seed: u64, flaw: Option<Flaw>) -> Report {
    let size = 2 + (seed % 4) as usize;
    let config = config(seed / 8);
    let mut world = World::new(seed, size, &config, flaw);
    world.peers.on = true;
    // Whoever deletes a Lease says thereby that none of those who are listed live: others take it
    // then. So it is deleted only where all are listed, always.
    let varied = seed / 4 % 2 == 1;
    world.server.opaque = world.rng.u8(0..5) == 0;
    for n in 0..size {
        world.nodes[n].watches = world.rng.u8(0..4) > 0;
        world.nodes[n].roster = (0..size).collect();
        world.start(n);
    }
    if world.rng.bool() {
        world.faults = faults(&mut world, Weather::Storm);
    }
    let settled = world.now + world.lease_duration() * 2;
    world.run_until(settled);
    let pace = [300, 1000, 3000][world.rng.usize(0..3)] * MS;
    let end = world.now + 60_000 * MS;
    while world.now < end {
        let pause = world.rng.u64(0..pace);
        world.run_until(world.now + pause);
        trouble(&mut world, varied);
    }
    // Who is listed has to be there, and wish to lead: nobody else takes the Lease.
    world.heal_peers();
    for n in 0..size {
        world.nodes[n].stands = true;
        if !world.nodes[n].takes_part() {
            world.crash(n);
            world.start(n);
        }
    }
    heal(&mut world);
    let settled_after = settle(&mut world);
    let questions = world.peers.questions;
    rest(&mut world);
    assert_eq!(world.peers.questions, questions, "nobody asks without need");
    depart(&mut world);
    Report {
        steps: world.steps,
        spells: world.judge.spells,
        confirmed: world.peers.confirmed,
        settled_after,
    }
}

fn trouble(world: &mut World, varied: bool) {
    let n = world.rng.usize(0..world.nodes.len());
    // Leaders have more than their share of it.
    let n = world.leader().filter(|_| world.rng.bool()).unwrap_or(n);
    match world.rng.u8(0..20) {
        0..14 => world.trouble_peers(n, varied),
        14..16 => process(world, n),
        16 => application(world, n),
        17 => {
            let mut rng = world.rng.fork();
            world.nodes[n].clock.set(&mut rng);
        }
        18 => world.edit_lease(|record| record.holder = None),
        _ if !varied => world.delete_lease(),
        _ => world.edit_lease(|_| {}),
    }
}

/// Members who all know all others, and whom the Lease lists; who leads.
fn listed_flock(seed: u64, size: usize, flaw: Option<Flaw>) -> (World, usize) {
    let config = LeaseConfig::new("flock", "sheep");
    let mut world = World::new(seed, size, &config, flaw);
    world.peers.on = true;
    world.speak_within = 30 * MS;
    for n in 0..size {
        world.nodes[n].roster = (0..size).collect();
        world.start(n);
    }
    let leader = agree(&mut world, 7000 * MS);
    let listed = world.now + 2 * world.retry_period();
    world.run_until(listed);
    (world, leader)
}

/// The API is away for some, in one way or another.
fn outage(world: &mut World, seed: u64, leader: usize) {
    match seed % 4 {
        0 => {
            world.faults.away = true;
            (0..world.nodes.len()).for_each(|n| world.cut_watch(n));
        }
        1 => cut(world, leader),
        2 => (0..world.nodes.len()).for_each(|n| cut(world, n)),
        _ => {
            world.faults.refused = 1000;
            let failure = [Failure::Denied, Failure::Busy(None), Failure::Lost];
            let failure = failure[(seed / 4 % 3) as usize];
            // Who follows and is denied waits for people.
            world.faults.spares_reads = failure == Failure::Denied || seed.is_multiple_of(8);
            world.faults.refusals = vec![Refusal {
                failure,
                done: false,
            }];
        }
    }
}

fn cut(world: &mut World, n: usize) {
    world.nodes[n].cut = true;
    world.cut_watch(n);
}

fn end_outage(world: &mut World) {
    world.faults = Faults::none();
    for n in 0..world.nodes.len() {
        world.nodes[n].cut = false;
        world.open_watch(n);
    }
}

/// A member, but not this one.
fn another(world: &mut World, than: usize) -> usize {
    let size = world.nodes.len();
    (than + 1 + world.rng.usize(0..size - 1)) % size
}

/// While all members confirm, a leader leads through an outage, all follow it, and it hands over at
/// once when that has ended.
pub(super) fn an_outage_interrupts_nobody(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = listed_flock(seed, 2 + (seed % 5) as usize, flaw);
    outage(&mut world, seed, leader);
    for second in 0..60 {
        leads_on(&mut world, leader, 1000 * MS);
        assert_eq!(world.agreed(), Some(leader));
        if second == 20 && seed.is_multiple_of(3) {
            // One that is there again before it is asked twice.
            let n = another(&mut world, leader);
            world.crash(n);
            world.start(n);
            leads_on(&mut world, leader, 1500 * MS);
        }
    }
    assert!(world.peers.confirmed >= 50);
    end_outage(&mut world);
    leads_on(&mut world, leader, 7000 * MS);
    assert_eq!(world.agreed(), Some(leader));
    let before = term(&world, leader);
    world.nodes[leader].stands = false;
    world.resign(leader, None);
    let next = agree(&mut world, SOON);
    assert_eq!(term(&world, next), before.next());
}

/// A release ends all promises, even one that was just given.
pub(super) fn a_leader_hands_over_after_an_outage(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = listed_flock(seed, 2 + (seed % 3) as usize, flaw);
    outage(&mut world, seed, leader);
    leads_on(&mut world, leader, 9000 * MS);
    end_outage(&mut world);
    // It is acknowledged once more.
    leads_on(&mut world, leader, 600 * MS);
    world.nodes[leader].stands = false;
    world.resign(leader, None);
    // The others may just have found the API away once more.
    let within = world.retry_period() + SOON;
    agree(&mut world, within);
}

/// One member that does not confirm: the leader leads no longer than without failsafe, and who can
/// reach the API takes over.
pub(super) fn one_silent_member_ends_it(seed: u64, flaw: Option<Flaw>) {
    let (mut world, leader) = listed_flock(seed, 3 + (seed % 3) as usize, flaw);
    let silent = another(&mut world, leader);
    let pause = world.rng.u64(0..20_000 * MS);
    outage(&mut world, seed / 3, leader);
    leads_on(&mut world, leader, pause);
    match seed % 3 {
        0 => world.crash(silent),
        1 => world.stop(silent, 100_000 * MS),
        _ => {
            world
                .peers
                .cut
                .insert((leader.min(silent), leader.max(silent)));
        }
    }
    let deadline = world.now + micros_of(&world) + world.retry_period();
    world.run_until(deadline);
    assert!(
        !world.nodes[leader].acts_at(world.now),
        "it was not confirmed"
    );
    if seed / 3 % 4 == 1 {
        // The others reach the API, and promised nothing for long. But a renewal may come late.
        let end = world.now + LATE + world.lease_duration() + world.retry_period();
        while world.leader().is_none() {
            assert!(world.now < end, "nobody leads");
            world.run_until(world.now + 10 * MS);
        }
    } else {
        for _ in 0..200 {
            world.run_until(world.now + 100 * MS);
            assert_eq!(world.leader(), None, "without the API");
        }
    }
}

fn micros_of(world: &World) -> Micros {
    super::world::micros(world.timing.renew_deadline)
}

/// Who joins while the leader cannot list it waits, and follows who leads.
pub(super) fn who_is_not_listed_waits(seed: u64, flaw: Option<Flaw>) {
    let size = 3 + (seed % 3) as usize;
    let config = LeaseConfig::new("flock", "sheep");
    let mut world = World::new(seed, size, &config, flaw);
    world.peers.on = true;
    world.speak_within = 30 * MS;
    let last = size - 1;
    for n in 0..last {
        world.nodes[n].roster = (0..last).collect();
        world.start(n);
    }
    let leader = agree(&mut world, 7000 * MS);
    let listed = world.now + 2 * world.retry_period();
    world.run_until(listed);
    cut(&mut world, leader);
    leads_on(&mut world, leader, 5000 * MS);
    world.nodes[last].roster = (0..size).collect();
    world.start(last);
    leads_on(&mut world, leader, 30_000 * MS);
    assert_eq!(world.agreed(), Some(leader));
    // When all who are listed have died, somebody has to say so.
    (0..last).for_each(|n| world.crash(n));
    let waits = world.now + 5 * world.lease_duration();
    while world.now < waits {
        world.run_until(world.now + 100 * MS);
        assert_eq!(world.leader(), None, "it cannot know that nobody leads");
    }
    if seed.is_multiple_of(2) {
        world.edit_lease(|record| record.listed = None);
    } else {
        world.delete_lease();
    }
    let within = world.lease_duration() + 2 * world.retry_period();
    assert_eq!(agree(&mut world, within), last);
}

/// A write that was done, and whose answer was lost, lists a member that has to be asked, too.
pub(super) fn whoever_may_be_listed_is_asked(seed: u64, flaw: Option<Flaw>) {
    let size = 3;
    let config = LeaseConfig::new("flock", "sheep");
    let mut world = World::new(seed, size, &config, flaw);
    world.peers.on = true;
    world.speak_within = 30 * MS;
    // One of them is known from the beginning, the other later; or the other way round.
    let grows = seed.is_multiple_of(2);
    for n in 0..size {
        world.nodes[n].roster = (0..size).collect();
    }
    world.start(0);
    let leader = agree(&mut world, 8000 * MS);
    let (few, all): (Vec<usize>, Vec<usize>) = (vec![0, 1], vec![0, 1, 2]);
    let (before, after) = if grows { (few, all) } else { (all, few) };
    world.nodes[leader].roster = before.into_iter().collect();
    world.tell_roster(leader);
    let listed = world.now + 2 * world.retry_period();
    world.run_until(listed);
    (1..size).for_each(|n| world.start(n));
    world.run_until(world.now + 1000 * MS);
    // The next writes are done and not answered, or neither.
    world.faults = Faults {
        unanswered: if grows { 1000 } else { 0 },
        lost: if grows { 0 } else { 1000 },
        ..Faults::none()
    };
    world.nodes[leader].roster = after.into_iter().collect();
    world.tell_roster(leader);
    world.cut_watch(leader);
    world.nodes[leader].watches = false;
    world.run_until(world.now + 1100 * MS);
    world.faults = Faults::none();
    cut(&mut world, leader);
    // Who is listed is cut off from the leader, and takes the Lease when it may.
    world.peers.cut.insert((0, 2));
    world.run_until(world.now + 20_000 * MS);
    let next = world.leader();
    assert!(next.is_some_and(|next| next != leader), "{next:?} leads");
}

impl World {
    /// Something happens to what members know and hear of each other, or to one's way to the API.
    pub(super) fn trouble_peers(&mut self, n: usize, varied: bool) {
        let size = self.nodes.len();
        match self.rng.u8(0..8) {
            0 => {
                self.faults.away = false;
                self.nodes.iter_mut().for_each(|node| node.cut = false);
                self.tell(0, &"the API is back for all");
            }
            1 => {
                self.faults.away = true;
                self.tell(0, &"the API is away");
                (0..size).for_each(|n| self.cut_watch(n));
            }
            2 | 3 => {
                self.nodes[n].cut = true;
                self.tell(n, &"is cut off from the API");
                self.cut_watch(n);
            }
            4 => {
                let other = self.rng.usize(0..size);
                let pair = (n.min(other), n.max(other));
                if other != n && !self.peers.cut.remove(&pair) {
                    self.peers.cut.insert(pair);
                }
                self.tell(0, &("who cannot reach whom", &self.peers.cut));
            }
            5 => {
                self.peers.cut.clear();
                self.peers.delay = [20, 100, 500, 1500][self.rng.usize(0..4)] * MS;
                self.peers.lost = [0, 0, 0, 100][self.rng.usize(0..4)];
                self.peers.late = [0, 0, 50, 200][self.rng.usize(0..4)];
            }
            _ if varied => {
                let other = self.rng.usize(0..size);
                let knows = !self.nodes[n].roster.remove(&other);
                if knows {
                    self.nodes[n].roster.insert(other);
                }
                self.tell(n, &(if knows { "knows" } else { "forgets" }, other));
                self.tell_roster(n);
            }
            _ => {}
        }
    }
}
