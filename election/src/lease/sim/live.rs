//! One life of a world, and what its end must be like.

use std::time::Duration;

use super::{
    calls::Faults,
    node::Node,
    queue::What,
    trouble::{hands, network},
    weather::{Weather, faults, surroundings},
    world::{MS, Micros, World, micros},
};
use crate::{
    Leadership, NodeId, Term,
    lease::{Flaw, LeaseConfig},
};

/// For how long one leads and all follow without a break, before they count as settled.
const CALM_FOR: Micros = 2000 * MS;

/// What one world had to show.
pub(super) struct Report {
    pub(super) steps: u64,
    pub(super) spells: u64,
    /// Rounds of questions that all confirmed.
    pub(super) confirmed: u64,
    pub(super) settled_after: Micros,
}

/// Lives through one world and checks what must hold; panics if something does not.
pub(super) fn live(seed: u64, flaw: Option<Flaw>) -> Report {
    let weather = Weather::of(seed);
    let size = 2 + (seed / 7 % 9) as usize;
    let config = config(seed / 63);
    let mut world = World::new(seed, size, &config, flaw);
    surroundings(&mut world, weather, config.clock_drift);
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
pub(super) fn config(draw: u64) -> LeaseConfig {
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

/// Everything works from now on, everybody runs who has begun, and at least one stands. What was on
/// its way arrives now or never. Refusals that order their receiver to wait end earlier, so that no
/// such wait goes on.
pub(super) fn heal(world: &mut World) {
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
pub(super) fn settle(world: &mut World) -> Micros {
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
pub(super) fn rest(world: &mut World) {
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
pub(super) fn depart(world: &mut World) {
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

/// One thing happens, to somebody.
fn trouble(world: &mut World, weather: Weather) {
    let size = world.nodes.len();
    let n = world.rng.usize(0..size);
    // Leaders have more than their share of it.
    let n = world.leader().filter(|_| world.rng.bool()).unwrap_or(n);
    match world.rng.u8(0..10) {
        0..3 => process(world, n),
        3..6 => application(world, n),
        6 => world.server.write_elsewhere(1),
        7 if world.rng.bool() => world.trouble_pauses(),
        7 => {
            let mut rng = world.rng.fork();
            world.nodes[n].clock.set(&mut rng);
        }
        _ => match weather {
            Weather::Calm => {}
            Weather::Hands if world.rng.bool() => hands(world),
            Weather::Foreign if world.rng.bool() => world.trouble_foreign(),
            _ => network(world, n),
        },
    }
}

/// A process ends, begins, or stops for a while.
pub(super) fn process(world: &mut World, n: usize) {
    let running = world.nodes[n].is_running();
    match world.rng.u8(0..6) {
        _ if !running => world.start(n),
        0 => world.crash(n),
        1 => {
            // Restarted before anybody knows that it was gone.
            world.crash(n);
            world.start(n);
        }
        2 if !world.nodes[n].stopped && world.nodes[n].takes_part() => world.leave(n),
        _ if !world.nodes[n].stopped => {
            let longest = [1000, 5000, 20_000][world.rng.usize(0..3)] * MS;
            let pause = world.rng.u64(50 * MS..longest);
            world.stop(n, pause);
        }
        _ => {}
    }
}

pub(super) fn application(world: &mut World, n: usize) {
    if world.nodes[n].stopped || !world.nodes[n].takes_part() {
        return;
    }
    match world.rng.u8(0..4) {
        0 | 1 => {
            let other = world.rng.usize(0..world.nodes.len());
            let successor = world.nodes[other].id().filter(|_| other != n);
            world.resign(n, successor);
            if world.rng.bool() {
                // It changes its mind at once.
                world.speak(n);
            }
        }
        2 => {
            world.nodes[n].stands = !world.nodes[n].stands;
            world.speak(n);
        }
        _ => {
            let card = format!("news {}", world.rng.u8(..));
            world.wish(n, |participant| participant.announce(card.into()));
        }
    }
}

impl World {
    pub(super) fn lease_duration(&self) -> Micros {
        micros(self.timing.lease_duration)
    }

    /// Stops a process for a while.
    pub(super) fn stop(&mut self, n: usize, pause: Micros) {
        self.tell(n, &format!("stops for {} ms", pause / MS));
        let life = self.nodes[n].life;
        self.nodes[n].stopped = true;
        self.later(pause, What::Resume(n, life));
    }

    /// The one that leads and that all others follow.
    pub(super) fn agreed(&self) -> Option<usize> {
        let leader = self.leader()?;
        let spell = self.nodes[leader].leader();
        let running = || self.nodes.iter().filter(|node| node.is_running());
        running()
            .all(|node| node.leader() == spell)
            .then_some(leader)
    }

    /// The one that acts as leader.
    pub(super) fn leader(&self) -> Option<usize> {
        (0..self.nodes.len()).find(|n| self.nodes[*n].acts_at(self.now))
    }
}

impl Node {
    /// Whom it holds for the leader of which term.
    pub(super) fn leader(&self) -> Option<(NodeId, Term)> {
        match self.leadership()? {
            Leadership::Vacant => None,
            Leadership::Following { leader, term, .. } => Some((leader.clone(), *term)),
            Leadership::Leading { term, .. } => Some((self.id()?, *term)),
        }
    }
}
